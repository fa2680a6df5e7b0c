"""The studies that chaos runs: every isolation, searcher and way with failures; objectives that log what they do."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

TRIALS = 200

# One line for each start and end, by a single write to a file outside the study: what was executed is counted from it.
OBJECTIVE = """\
import os
import time

from autotune.errors import Infeasible

FLAKY, BROKEN, BAD, LOGS, PAUSE_S = {flaky}, {broken}, {bad}, {logs}, {pause_s}
HANDLE = os.open(os.environ["CHAOS_LOG"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)


def note(what, number, attempt):
    os.write(HANDLE, f"{{what}} {{number}} {{attempt}} {{os.getpid()}}\\n".encode())


def is_one_of(number, every):
    return bool(every) and number % every == every - 1


def objective(params, trial):
    number = trial.number
    note("start", number, trial.attempt)
    if is_one_of(number, LOGS):
        trial.log("half", params["x"] / 2)
    time.sleep(PAUSE_S + number * 7919 % 26 / 1000)
    if is_one_of(number, BROKEN) or (is_one_of(number, FLAKY) and trial.attempt == 1):
        note("fail", number, trial.attempt)
        raise RuntimeError(f"trial {{number}} cannot work")
    if is_one_of(number, LOGS):
        for epoch in range(3):
            trial.report(epoch, params["x"] + epoch)
    note("end", number, trial.attempt)
    if is_one_of(number, BAD):
        raise Infeasible("declared by the trial")
    return {{"loss": (params["x"] - 0.3) ** 2 + params["k"], "number": number}}
"""

PROGRAM = """\
import json, os, sys, time

number, x, k = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
handle = os.open(os.environ["CHAOS_LOG"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)


def note(what):
    os.write(handle, f"{what} {number} {os.environ['AUTOTUNE_ATTEMPT']} {os.getpid()}\\n".encode())


note("start")
time.sleep(0.005 + number * 7919 % 26 / 1000)
with open(os.environ["AUTOTUNE_RESULT"], "w") as file:
    json.dump({"loss": (x - 0.3) ** 2 + k, "number": number}, file)
note("end")
"""

_SPACE = {"x": {"type": "uniform", "low": 0.0, "high": 1.0}, "k": {"type": "choice", "options": [0, 1, 2]}}
_GRID = {"x": {"type": "choice", "options": [n / 20 for n in range(20)]}, "k": {"type": "int", "low": 0, "high": 10}}


@dataclass(frozen=True)
class Shape:
    """A kind of study; of every ``n`` trials one is flaky (fails once), broken (always), bad (infeasible), or logs.

    Where trials are slow, what a killed Snakemake orphaned is still at work when the next one starts: they overlap.
    """

    name: str
    options: dict[str, Any]
    flaky: int = 0
    broken: int = 0
    bad: int = 0
    logs: int = 0
    pause_s: float = 0.005
    space: dict[str, Any] = field(default_factory=lambda: _SPACE)

    def planned_failures(self, number: int) -> int:
        """Return how often the trial fails by itself and is to run again."""
        if self.broken and number % self.broken == self.broken - 1:
            return int(self.options.get("attempts", 1)) - 1
        return int(bool(self.flaky) and number % self.flaky == self.flaky - 1)

    def write(self, folder: Path) -> None:
        """Write the study file and the objective into the folder."""
        folder.mkdir(parents=True)
        kinds: dict[str, float] = {"flaky": self.flaky, "broken": self.broken, "bad": self.bad, "logs": self.logs}
        kinds["pause_s"] = self.pause_s
        (folder / "objective.py").write_text(OBJECTIVE.format(**kinds))
        (folder / "program.py").write_text(PROGRAM)
        study = {"max_trials": TRIALS, "trials_per_job": 25, "seed": 7, "space": self.space, **self.options}
        if "command" not in study:
            study["objective"] = "objective:objective"
        (folder / "study.yaml").write_text(yaml.safe_dump(study))


_RECORD = {"on_failure": "record", "attempts": 2}
_SLOTS = {"trials_per_job": 50, "slots_per_job": 3}
_COMMAND = "python -I -S program.py {trial_number} {x} {k}"

SHAPES = (
    Shape("trial-random", {"isolation": "trial", "algo": "random"}, logs=3, pause_s=0.03),
    Shape("worker-sobol-flaky", {"isolation": "worker", "algo": "sobol"}, flaky=20, logs=4),
    Shape("trial-grid-record", {"isolation": "trial", "algo": "grid", **_RECORD}, broken=25, logs=6, space=_GRID),
    Shape("none-lhs", {"isolation": "none", "algo": "lhs", "trials_per_job": 50}, bad=30, logs=5, pause_s=0.04),
    Shape("command-random", {"isolation": "trial", "algo": "random", "command": _COMMAND}),
    Shape(
        "worker-auto-bad",
        {"isolation": "worker", "algo": "random", "trials_per_job": "auto"},
        bad=10,
        logs=2,
        pause_s=0.03,
    ),
    Shape("none-sobol-record", {"isolation": "none", "algo": "sobol", **_RECORD}, broken=40, logs=7),
    Shape("trial-slots-flaky", {"isolation": "trial", "algo": "lhs", **_SLOTS}, flaky=25, logs=4, pause_s=0.03),
    Shape("worker-grid-record", {"isolation": "worker", "algo": "grid", **_RECORD}, broken=30, bad=9, space=_GRID),
)
