"""What a plan will take, by a pilot or by finished trials, and budgets that are refused beforehand or spent."""

from __future__ import annotations

import json
import logging
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autotune import Study, StudyConfig
from autotune.algorithms.random import RandomSearch
from autotune.snakemake import command
from autotune.spaces import SearchSpace, Uniform
from autotune.storage import StudyDir

Cli = Callable[..., subprocess.CompletedProcess[str]]

SLEEP_S = 0.2
OBJECTIVE = f"""\
import time
from pathlib import Path


def objective(params, trial):
    with open(Path(__file__).with_name("executions.txt"), "a") as log:
        log.write(f"{{trial.number}}\\n")
    time.sleep({SLEEP_S})
    return {{"loss": (params["x"] - 0.3) ** 2}}
"""


def executed(folder: Path) -> list[int]:
    path = folder / "executions.txt"
    return sorted(map(int, path.read_text().split())) if path.exists() else []


def estimated(cli: Cli, *flags: str) -> dict[str, Any]:
    done = cli("plan", "study.yaml", "--dry-run", "--json", *flags)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def hours(trials: float) -> dict[str, float]:
    return {"hours": trials * SLEEP_S / 3600}


def test_without_a_measurement_it_says_so_and_writes_nothing(tmp_path: Path, write_study: Any, cli: Cli) -> None:
    write_study(tmp_path, source=OBJECTIVE, max_trials=9, trials_per_job=2)
    dry = cli("plan", "study.yaml", "--dry-run")
    assert "9 of 9 trials to run in 5 jobs; how long is not known" in dry.stdout
    assert "--pilot 3" in dry.stdout
    assert estimated(cli)["wall_s"] is None
    assert not (tmp_path / ".autotune").exists()


def test_a_pilot_runs_the_first_trials_and_keeps_them(tmp_path: Path, write_study: Any, cli: Cli) -> None:
    write_study(tmp_path, source=OBJECTIVE, max_trials=9, trials_per_job=4)
    piloted = cli("plan", "study.yaml", "--dry-run", "--pilot", "3", "-j", "2")
    assert piloted.returncode == 0, piloted.stderr
    assert "estimate: 6 of 9 trials to run in 2 jobs" in piloted.stdout
    assert executed(tmp_path) == [0, 1, 2]
    found = estimated(cli, "-j", "2")
    low, mean, high = found["wall_s"]
    assert low <= mean <= high
    assert 4 * SLEEP_S <= mean < 8 * SLEEP_S, "the longer of two jobs side by side has four trials"
    assert 6 * SLEEP_S <= found["hours"][1] * 3600 < 12 * SLEEP_S
    assert (found["measured"], found["to_run"], found["jobs"], found["gpu_hours"]) == (3, 6, 2, [0, 0, 0])
    assert estimated(cli, "-j", "1")["wall_s"][1] > 1.4 * mean
    assert cli("study", "study.yaml").returncode == 0
    assert executed(tmp_path) == [*range(9)], "nothing ran twice"


def test_a_pilot_of_an_adaptive_study_runs_some_of_its_first_round(tmp_path: Path, write_study: Any, cli: Cli) -> None:
    write_study(tmp_path, source=OBJECTIVE, algo="auto", max_trials=8, batch_size=4, trials_per_job=4)
    assert cli("plan", "study.yaml", "--pilot", "2").returncode == 0
    assert executed(tmp_path) == [0, 1]
    low_s = estimated(cli, "-j", "4")["wall_s"][0]
    assert low_s >= 5.5 * SLEEP_S, "two are left of the first round, and the second one waits for them"


def test_a_budget_that_cannot_hold_the_study_is_refused(tmp_path: Path, write_study: Any, cli: Cli) -> None:
    write_study(tmp_path, source=OBJECTIVE, max_trials=4)
    assert cli("study", "study.yaml").returncode == 0
    before = (tmp_path / ".autotune/study.json").read_bytes()
    write_study(tmp_path, source=OBJECTIVE, max_trials=40, budget=hours(10))
    for command_ in (["plan", "study.yaml", "--dry-run"], ["plan", "study.yaml"], ["study", "study.yaml"]):
        refused = cli(*command_)
        assert refused.returncode == 2
        assert "`budget.hours` must hold the study: 4 trials that are done took" in refused.stderr
        assert refused.stderr.count("\n") == 1
    assert (tmp_path / ".autotune/study.json").read_bytes() == before
    assert cli("plan", "study.yaml", "--budget", f"hours={hours(100)['hours']}").returncode == 0


def test_a_pilot_is_what_a_budget_is_judged_by(tmp_path: Path, write_study: Any, cli: Cli) -> None:
    write_study(tmp_path, source=OBJECTIVE, max_trials=40, budget=hours(10))
    refused = cli("plan", "study.yaml", "--pilot", "3")
    assert refused.returncode == 2
    assert "(by 3 trials of this study)" in refused.stderr
    assert executed(tmp_path) == [0, 1, 2]
    assert cli("study", "study.yaml").returncode == 2
    assert executed(tmp_path) == [0, 1, 2]


def test_a_spent_budget_ends_the_study_and_a_higher_one_goes_on(tmp_path: Path, write_study: Any, cli: Cli) -> None:
    write_study(tmp_path, source=OBJECTIVE, max_trials=12, trials_per_job=1, budget=hours(4))
    ended = cli("study", "study.yaml", "-j", "2")
    assert ended.returncode == 1
    done = len(executed(tmp_path))
    assert 3 <= done <= 5, "at most the trials of two slots that had begun when it was spent"
    assert f"budget spent: {done} of 12 trials done" in ended.stdout.splitlines()[-1]
    assert (tmp_path / ".autotune/best.json").exists()
    again = cli("study", "study.yaml")
    assert (again.returncode, len(executed(tmp_path))) == (1, done)
    assert f"budget spent: {done} of 12 trials done" in cli("status").stdout
    assert cli("study", "study.yaml", "--budget", "hours=1").returncode == 0
    assert executed(tmp_path) == [*range(12)]


def test_snakemake_alone_ends_too(tmp_path: Path, write_study: Any, cli: Cli, environment: Any) -> None:
    write_study(tmp_path, source=OBJECTIVE, max_trials=8, trials_per_job=2, budget=hours(3))
    assert cli("plan", "study.yaml").returncode == 0
    argv = command(StudyDir(".autotune"), {"resources": {"gpus": 0}}, ["-j", "1"])
    ended = subprocess.run(argv, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert 2 <= len(executed(tmp_path)) <= 3, "a job looks before each trial"
    assert "budget spent: " in ended.stdout


def test_attempts_and_slots_are_paid_for(tmp_path: Path, write_study: Any, cli: Cli) -> None:
    source = OBJECTIVE.replace("    return", "    raise ValueError('no')\n    return")
    keys = {"on_failure": "record", "attempts": 3, "trials_per_job": 8, "slots_per_job": 2}
    write_study(tmp_path, source=source, max_trials=8, budget=hours(6), **keys)
    assert cli("study", "study.yaml").returncode == 1
    assert 5 <= len(executed(tmp_path)) <= 7
    took = json.loads((tmp_path / ".autotune/spent.json").read_bytes())
    assert took["seconds"] >= len(executed(tmp_path)) * SLEEP_S
    records = [json.loads(path.read_bytes()) for path in (tmp_path / ".autotune/trials").iterdir()]
    known_s = sum(record["duration_s"] + record.get("earlier_s", 0) for record in records)
    assert took["seconds"] == pytest.approx(known_s, abs=1e-3)


def test_an_account_follows_from_the_results_there_are(tmp_path: Path, write_study: Any, cli: Cli) -> None:
    resources = {"gpus": 0.5}
    write_study(tmp_path, source=OBJECTIVE, max_trials=4, resources=resources, isolation="none")
    machine = {"CUDA_VISIBLE_DEVICES": "0,1"}  # leases are of names, and the objective uses none
    assert cli("study", "study.yaml", env=machine).returncode == 0
    write_study(tmp_path, source=OBJECTIVE, max_trials=4, resources=resources, budget={"gpu_hours": 1})
    assert cli("plan", "study.yaml", env=machine).returncode == 0
    took = json.loads((tmp_path / ".autotune/spent.json").read_bytes())
    assert took["gpu_seconds"] == pytest.approx(took["seconds"] / 2, abs=1e-5)  # both are rounded
    assert took["seconds"] >= 4 * SLEEP_S
    write_study(tmp_path, source=OBJECTIVE, max_trials=4, resources=resources)
    assert cli("plan", "study.yaml", env=machine).returncode == 0
    assert not (tmp_path / ".autotune/spent.json").exists()


def test_python_ends_when_the_budget_is_spent(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    calls = []

    def objective(params: dict[str, Any], trial: Any) -> float:
        calls.append(trial.number)
        time.sleep(SLEEP_S)
        return float(params["x"])

    space = SearchSpace({"x": Uniform(0.0, 1.0)})
    options: dict[str, Any] = {"max_trials": 8, "log_dir": str(tmp_path / "s")}
    with caplog.at_level(logging.WARNING, "autotune"):
        Study(StudyConfig(**options, budget=hours(2.5)), space, RandomSearch()).optimize(objective)
    assert calls == [0, 1, 2]
    assert "budget spent: 3 of 8 trials done" in caplog.text
    Study(StudyConfig(**options, budget={"hours": 1}), space, RandomSearch()).optimize(objective)
    assert calls == [*range(8)]


def test_the_account_costs_little(tmp_path: Path) -> None:
    """Each trial reads and writes one small file, whatever the study's size."""
    from autotune.budget import Purse

    store = StudyDir(tmp_path)
    store.make()
    lock = store.lock()
    purse = Purse(store, {"budget": {"hours": 1}}, lock)
    started = time.process_time()
    for _ in range(200):
        assert not purse.is_empty()
        purse.pay(1.0, 0)
    assert (time.process_time() - started) / 200 < 0.005
    assert json.loads(Path(store.spent_file).read_bytes())["seconds"] == 200
    lock.close()
