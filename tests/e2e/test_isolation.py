"""Which process runs which trial under ``isolation: trial``."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

NOTES = """
import os, signal

def objective(params, trial):
    with open("calls.txt", "a") as calls:
        calls.write(f"{trial.number} {os.getpid()} {os.getppid()}\\n")
    if trial.number == 3:
        raise ValueError("three")
    if trial.number == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    if trial.number == 7:
        os.kill(os.getppid(), signal.SIGKILL)
        signal.pause()
    return {"loss": params["x"]}
"""


HALF_AN_ANSWER = """
import contextlib, os, signal, struct

def objective(params, trial):
    if trial.number == 1:
        for name in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):  # one that is closed, or for reading
                if int(name) > 2 and os.readlink(f"/proc/self/fd/{name}").startswith("pipe:"):
                    os.write(int(name), struct.pack("<q", 1_000_000) + b"the beginning of a large answer")
        os.kill(os.getpid(), signal.SIGKILL)
    if trial.number == 2:
        return {"loss": params["x"]} | {f"a metric with a long name, number {place}": 1.0 for place in range(10_000)}
    return {"loss": params["x"]}
"""


def result(folder: Path, number: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / f".autotune/trials/trial_{number:05d}.json").read_bytes())
    return found


def test_the_process_that_forks_the_trials_does_nothing_else(
    tmp_path: Path, cli: Any, write_study: Callable[..., Path], environment: Any
) -> None:
    write_study(tmp_path, source=NOTES, max_trials=10, trials_per_job=10)
    assert cli("plan", "study.yaml").returncode == 0
    name = json.loads((tmp_path / ".autotune/batches/index.json").read_bytes())["batches"][0]
    job = subprocess.Popen(
        [sys.executable, "-m", "autotune.cli", "run-batch", name],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
    )
    job.communicate(timeout=60)
    calls = [line.split() for line in (tmp_path / "calls.txt").read_text().splitlines()]
    assert [int(number) for number, *_ in calls] == list(range(10))
    assert len({pid for _, pid, _ in calls}) == 10
    parents = [int(parent) for *_, parent in calls]
    assert job.pid not in parents  # whoever forks and goes on working pays for each page that it writes to
    assert len(set(parents[:6])) == 1  # an exception harms no other trial
    assert parents[5] != parents[6] == parents[7]  # nor does what a crash leaves in the pipes
    assert parents[7] != parents[8] == parents[9]
    assert result(tmp_path, 3)["error"] == "ValueError: three"
    for number in (5, 7):  # itself, and with its parent
        assert result(tmp_path, number)["error"].startswith("the trial was killed by SIGKILL (signal 9)")
    assert {result(tmp_path, number)["state"] for number in (0, 1, 2, 4, 6, 8, 9)} == {"complete"}


@pytest.mark.parametrize("isolation", ["trial", "worker"])
def test_a_trial_that_is_killed_in_the_middle_of_its_answer_has_crashed(
    isolation: str, tmp_path: Path, cli: Any, write_study: Callable[..., Path]
) -> None:
    write_study(tmp_path, source=HALF_AN_ANSWER, max_trials=4, trials_per_job=4, isolation=isolation)
    assert cli("plan", "study.yaml").returncode == 0
    name = json.loads((tmp_path / ".autotune/batches/index.json").read_bytes())["batches"][0]
    assert cli("run-batch", name, timeout=60).returncode == 1
    assert result(tmp_path, 1)["error"].startswith("the trial was killed by SIGKILL (signal 9)")
    assert {result(tmp_path, number)["state"] for number in (0, 2, 3)} == {"complete"}
    assert len(result(tmp_path, 2)["metrics"]) == 10_001  # more than a pipe holds
