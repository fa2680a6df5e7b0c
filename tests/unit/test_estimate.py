"""What an estimate is made of: means with intervals, jobs on slots; and where a result comes from."""

from __future__ import annotations

import math
import random
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from autotune.config import StudyConfig
from autotune.errors import InvalidStudy
from autotune.estimate import Range, bounds, estimate, makespan, refuse_overdrawn
from autotune.origin import is_timed, source_digest, source_files
from autotune.records import Outcome, Result
from autotune.storage import StudyDir

STUDY: dict[str, Any] = {
    "objective": "a:b",
    "command": None,
    "parameters": ["x"],
    "metric": "loss",
    "mode": "min",
    "max_trials": 20,
    "slots_per_job": 1,
    "search_path": ".",
    "resources": {"gpus": 2},
}


def finished(root: Path, durations_s: list[float], **fields: Any) -> StudyDir:
    """Return a study directory with these results."""
    store = StudyDir(root)
    store.make()
    for number, duration_s in enumerate(durations_s):
        outcome = Outcome("complete", metrics={"loss": 1.0})
        store.write_result(Result(number, f"id{number}", {"x": 1}, outcome, 1, 1.0, duration_s, "here", **fields))
    return store


@pytest.mark.parametrize(
    ("rounds", "slots", "per_job", "takes_s"),
    [
        ([[2, 2]], 1, 1, 10),  # 1 + 2 + 3 + 4
        ([[2, 2]], 2, 1, 7),  # the longer job
        ([[1, 1, 1, 1]], 2, 1, 6),  # 1, 2, then 3 after 1, 4 after 2
        ([[1, 1], [1, 1]], 2, 1, 6),  # 2, then 4
        ([[1, 1], [1, 1]], 9, 1, 6),
        ([[4]], 1, 2, 6),  # side by side within the job
        ([[], [1]], 1, 1, 1),
    ],
)
def test_jobs_take_the_slots_in_turn_and_rounds_wait(
    rounds: list[list[int]], slots: int, per_job: int, takes_s: float
) -> None:
    assert makespan(rounds, [1.0, 2.0, 3.0, 4.0], slots, per_job) == takes_s


@pytest.mark.parametrize("trials", [3, 5, 10])
def test_intervals_hold_the_mean_about_as_often_as_they_say(trials: int) -> None:
    draw, spread, held = random.Random(1), 0.2, 0
    mean = math.exp(spread**2 / 2)
    for _ in range(200):
        found = bounds([draw.lognormvariate(0, spread) for _ in range(trials)])
        assert found.low is not None and found.high is not None
        held += found.low <= mean <= found.high
    assert held / 200 >= 0.9, "a plain bootstrap of three values holds it in 77 %"


def test_a_single_trial_has_no_interval_and_equal_ones_a_narrow_one() -> None:
    assert bounds([2.0]) == Range(2.0)
    assert bounds([2.0, 2.0, 2.0, 2.0, 2.0, 2.0]) == Range(2.0, 2.0, 2.0)
    low = bounds([0.1, 10.0]).low
    assert low == 0.0, "no time is below zero"


def test_hours_follow_from_the_measured_trials(tmp_path: Path) -> None:
    store = finished(tmp_path, [3600.0, 3600.0, 3600.0])
    found = estimate(store, STUDY, [5, 5, 5, 5], (20, 3), slots=4)
    assert (found.to_run, found.jobs) == (17, 4)
    assert found.hours == Range(17, 17, 17)
    assert found.gpu_hours == Range(34, 34, 34)
    assert found.wall_s == Range(5 * 3600, 5 * 3600, 5 * 3600)
    assert found.to_dict()["gpu_hours"] == [34, 34, 34]


def test_results_from_elsewhere_and_failures_are_no_measure(tmp_path: Path) -> None:
    store = finished(tmp_path, [3600.0] * 3, reused_from="../a, trial 1")
    assert estimate(store, STUDY, [20], (20, 3), slots=1).hours is None


def test_rounds_that_are_left_wait_for_one_another(tmp_path: Path) -> None:
    store = finished(tmp_path, [10.0] * 6)
    study = {**STUDY, "round_sizes": [4, 4]}
    found = estimate(store, study, [2, 4], (8, 2), slots=8)
    assert found.wall_s is not None
    assert found.wall_s.mean == pytest.approx(20 + 40)  # the rest of the first round, then the second
    assert estimate(store, STUDY, [2, 4], (8, 2), slots=8).wall_s == Range(40, 40, 40)


def test_a_budget_is_judged_when_the_plan_is_new_or_larger(tmp_path: Path) -> None:
    store = finished(tmp_path, [3600.0] * 4)
    plan = {**STUDY, "budget": {"gpu_hours": 39}}
    refuse_overdrawn(store, {**plan, "budget": {"gpu_hours": 40}}, STUDY, 20, 4)  # 8 spent, 32 to come
    with pytest.raises(InvalidStudy, match=r"4 trials that are done took 8 GPU-hours, and the 16 others will take 32"):
        refuse_overdrawn(store, plan, STUDY, 20, 4)
    refuse_overdrawn(store, plan, plan, 20, 4)  # goes on as it was
    with pytest.raises(InvalidStudy, match=r"lower `max_trials`, to 19 say"):
        refuse_overdrawn(store, plan, {**plan, "max_trials": 10}, 20, 4)
    refuse_overdrawn(finished(tmp_path / "one", [3600.0]), plan, STUDY, 99, 1)  # of one trial nothing is sure


@pytest.mark.parametrize("name", ["latency_ms", "time", "step_time", "tokens_per_s", "throughput", "TFLOPS", "us"])
def test_names_of_times(name: str) -> None:
    study = {"metric": name, "mode": "min"}
    assert is_timed(study)
    assert not is_timed({**study, "hardware": "any"})


@pytest.mark.parametrize("name", ["loss", "accuracy", "times_table", "bits", "sometimes", "memory_gb"])
def test_names_of_other_things(name: str) -> None:
    study = {"metric": name, "mode": "min"}
    assert not is_timed(study)
    assert is_timed({**study, "hardware": "same"})


def test_the_source_is_the_files_that_a_command_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pkg").mkdir()
    for name in ("train.py", "conf.yaml", "pkg/mod.py", "pkg/__main__.py"):
        (tmp_path / name).write_text(name)
    python = shutil.which("python3") or sys.executable

    def names(command: str | None, objective: str | None = None) -> list[str]:
        files = source_files({"command": command, "objective": objective, "search_path": "."})
        return [str(Path(path).relative_to(tmp_path.resolve())) for path in files]

    assert names(f"{python} train.py --lr {{lr}} --config conf.yaml") == ["train.py", "conf.yaml"]
    assert names("python -m pkg.mod") == ["pkg/mod.py"]
    assert names("python -m pkg") == ["pkg/__main__.py"]
    assert names("echo 'unclosed") == names("/bin/true") == []
    assert names(None, "pkg.mod:fn") == ["pkg/mod.py"]


def test_the_digest_is_of_the_content_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digests = []
    for name, text in (("a", "one"), ("b", "one"), ("c", "two")):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "train.py").write_text(text)
        monkeypatch.chdir(folder)
        digests.append(source_digest({"command": "python train.py", "objective": None, "search_path": "."}))
    assert digests[0] == digests[1] != digests[2]
    assert source_digest({"command": "true", "objective": None}) is None


def test_a_version_may_be_a_number() -> None:
    assert StudyConfig(version=2).version == "2"  # type: ignore[arg-type]  # as YAML reads it
    with pytest.raises(InvalidStudy, match=r"`version` must be a non-empty string"):
        StudyConfig(version=[2])  # type: ignore[arg-type]
