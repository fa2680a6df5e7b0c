from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autotune.algorithms import Searcher
from autotune.algorithms.grid import GridSearch
from autotune.algorithms.lhs import LatinHypercubeSearch
from autotune.algorithms.random import RandomSearch
from autotune.algorithms.sobol import SobolSearch
from autotune.config import StudyConfig
from autotune.errors import InvalidInput, InvalidStudy, OtherVersion, PlanChanged
from autotune.planning import Plan, make_plan
from autotune.records import Outcome, Result
from autotune.spaces import Choice, SearchSpace, Uniform
from autotune.storage import StudyDir

SPACE = SearchSpace({"x": Uniform(0.0, 1.0), "name": Choice(["a", "\u2603", "\udc80"])})
SEARCHERS = [RandomSearch, SobolSearch, LatinHypercubeSearch, GridSearch]


def plan(
    root: Path, searcher: Searcher | None = None, *, space: SearchSpace = SPACE, dry_run: bool = False, **options: Any
) -> Plan:
    fresh = options.pop("fresh", False)
    config = StudyConfig(**{"objective": "a:b", "max_trials": 6, "log_dir": str(root), "trials_per_job": 2, **options})
    store = StudyDir(root)
    return make_plan(store, config, space, searcher or RandomSearch(), dry_run=dry_run, fresh=fresh, slots=2)


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def settle(root: Path, made: Plan, place: int, state: str = "complete") -> None:
    """Write what a job writes."""
    store, batch = StudyDir(root), made.batches[place]
    outcome = Outcome(state=state, metrics={"loss": 1.0}) if state == "complete" else Outcome(state, "crash", error="x")
    for number in batch.numbers:
        config = store.read_config(number)
        store.write_result(Result(number, config.id, config.params, outcome, 1, 1.0, 2.0, "here"))
    size = sum(os.stat(store.result_file(number)).st_size for number in batch.numbers)
    states = {state: len(batch.numbers)}
    store.write_batch(batch, {"states": states, "attempts": 1, "result_bytes": size})


@pytest.mark.filterwarnings("ignore:the grid has")
@pytest.mark.parametrize("searcher", SEARCHERS)
def test_planning_again_changes_nothing_and_elsewhere_gives_the_same_bytes(searcher: Any, tmp_path: Path) -> None:
    made = plan(tmp_path / "one", searcher())
    before = files(tmp_path / "one")
    stamps = {name: (tmp_path / "one" / name).stat().st_mtime_ns for name in before}
    again = plan(tmp_path / "one", searcher())
    assert (made.trials, made.written, again.written, len(again.batches)) == (6, 6, 0, 3)
    assert files(tmp_path / "one") == before
    assert {name: (tmp_path / "one" / name).stat().st_mtime_ns for name in before} == stamps
    plan(tmp_path / "two", searcher())
    assert files(tmp_path / "two") == {
        name: data.replace(str(tmp_path / "one").encode(), str(tmp_path / "two").encode())
        for name, data in before.items()
    }


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    made = plan(tmp_path / "s", dry_run=True)
    assert (made.trials, made.written, made.pending_batches) == (6, 6, 3)
    assert not (tmp_path / "s").exists()
    settle(tmp_path / "s", plan(tmp_path / "s"), 1)
    before = files(tmp_path / "s")
    again = plan(tmp_path / "s", dry_run=True, max_trials=8)
    assert (again.trials, again.written, again.done, again.pending_batches) == (8, 2, 2, 3)
    fresh = plan(tmp_path / "s", dry_run=True, fresh=True)
    assert (fresh.done, fresh.pending_batches) == (2, 3)
    assert files(tmp_path / "s") == before


@pytest.mark.filterwarnings("ignore:the grid has")
@pytest.mark.parametrize("searcher", SEARCHERS)
def test_more_trials_only_append(searcher: Any, tmp_path: Path) -> None:
    plan(tmp_path, searcher())
    before = {name: data for name, data in files(tmp_path).items() if name.startswith("configs")}
    more = plan(tmp_path, searcher(), max_trials=10)
    after = files(tmp_path)
    assert {name: after[name] for name in before} == before
    assert more.written == 4
    assert bool(more.notes) == (searcher is LatinHypercubeSearch)
    assert plan(tmp_path, searcher(), max_trials=10).written == 0


def test_a_block_of_its_own_holds_new_points(tmp_path: Path) -> None:
    plan(tmp_path, LatinHypercubeSearch())
    more = plan(tmp_path, LatinHypercubeSearch(), max_trials=12)  # as many again
    assert [note for note in more.notes if "repeat" in note] == []
    params = [json.loads(path.read_bytes())["params"]["x"] for path in (tmp_path / "configs").iterdir()]
    assert len(set(params)) == 12


def test_fewer_trials_keep_what_is_there(tmp_path: Path) -> None:
    settle(tmp_path, plan(tmp_path), 2)
    fewer = plan(tmp_path, max_trials=4)
    assert (fewer.trials, len(fewer.batches), fewer.done) == (4, 2, 0)
    again = plan(tmp_path)
    assert (again.trials, again.written, again.done, again.pending_batches) == (6, 0, 2, 2)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"seed": 3}, "seed changed from 0 to 3"),
        ({"objective": "a:c"}, r'objective changed from "a:b" to "a:c"'),
        ({"objective": None, "command": "train"}, r'objective changed from "a:b" to null and the command changed'),
        ({"metric": "acc"}, "metric changed"),
        ({"space": SearchSpace({"x": Uniform(0.0, 2.0)})}, r"space changed \(name from .* to null, x from .*2\.0"),
        (
            {"space": SearchSpace(dict(reversed(SPACE.parameters.items())))},
            "order of the parameters changed from x, name to name, x",
        ),
    ],
)
def test_another_study_is_refused(options: dict[str, Any], says: str, tmp_path: Path) -> None:
    plan(tmp_path)
    before = files(tmp_path)
    with pytest.raises(PlanChanged, match=f"{says}.*--fresh.*--log-dir"):
        plan(tmp_path, **options)
    assert files(tmp_path) == before


def test_all_else_may_change(tmp_path: Path) -> None:
    plan(tmp_path)
    configs = {name: data for name, data in files(tmp_path).items() if name.startswith("configs")}
    made = plan(tmp_path, trials_per_job=3, mode="max", isolation="worker", trial_timeout=3, on_failure="record")
    assert len(made.batches) == 2
    assert configs.items() <= files(tmp_path).items()


def test_settled_batches_stay_when_the_size_changes(tmp_path: Path) -> None:
    made = plan(tmp_path)
    settle(tmp_path, made, 1)
    again = plan(tmp_path, trials_per_job=6)
    assert [batch.numbers for batch in again.batches] == [range(2), range(2, 4), range(4, 6)]
    assert (again.done, again.pending_batches) == (2, 2)


@pytest.mark.parametrize("bytes_left", [0, 20])
def test_a_damaged_result_puts_its_batch_back_to_work(bytes_left: int, tmp_path: Path) -> None:
    made = plan(tmp_path)
    settle(tmp_path, made, 0)
    os.truncate(tmp_path / "trials/trial_00001.json", bytes_left)
    again = plan(tmp_path)
    assert not os.path.exists(StudyDir(tmp_path).batch_file(made.batches[0]))
    assert (again.done, again.pending_batches) == (1, 3)
    (note,) = again.notes
    assert "trial_00001.json" in note
    assert "trial 1 will run again" in note


def test_a_result_of_another_version_is_refused(tmp_path: Path) -> None:
    made = plan(tmp_path)
    settle(tmp_path, made, 0)
    (tmp_path / "trials/trial_00001.json").write_text('{"schema_version": 2}')
    before = files(tmp_path)
    with pytest.raises(OtherVersion, match=r"trial_00001\.json"):
        plan(tmp_path)
    assert files(tmp_path) == before


def test_failures_stand_only_for_as_many_attempts(tmp_path: Path) -> None:
    settle(tmp_path, plan(tmp_path, on_failure="record"), 0, "failed")
    assert plan(tmp_path, on_failure="record").done == 2
    assert plan(tmp_path, on_failure="record", attempts=2).done == 0


@pytest.mark.parametrize("spoiled", ["batches/index.json", "configs/trial_00002.json"])
def test_what_follows_from_the_study_is_repaired(spoiled: str, tmp_path: Path) -> None:
    plan(tmp_path)
    whole = files(tmp_path)
    os.truncate(tmp_path / spoiled, 10)
    plan(tmp_path)
    assert files(tmp_path) == whole


def test_fresh_sets_aside_and_takes_over_what_recurs(tmp_path: Path) -> None:
    made = plan(tmp_path)
    settle(tmp_path, made, 1)
    (tmp_path / "work/trial_00003").mkdir(parents=True)
    (tmp_path / "work/trial_00003/kept").write_text("here")
    fresh = plan(tmp_path, fresh=True)
    assert (fresh.done, fresh.archived) == (2, str(tmp_path / "archive/001"))
    assert (tmp_path / "work/trial_00003/kept").read_text() == "here"
    other = plan(tmp_path, fresh=True, seed=9)
    assert other.done == 0
    assert plan(tmp_path, fresh=True).done == 2  # from two archives back


class Odd:
    """A searcher that suggests what it was told to."""

    def __init__(self, *points: dict[str, Any]) -> None:
        self._points = points

    def reset(self, space: SearchSpace, seed: int) -> None:
        pass

    def suggestions(self, space: SearchSpace, max_trials: int) -> Iterator[dict[str, Any]]:
        return iter(self._points)


GOOD = {"x": 0.5, "name": "a"}


def test_a_searcher_is_watched(tmp_path: Path) -> None:
    with pytest.raises(InvalidStudy, match=r"must stay in the space, but .*Odd suggested .* for trial 1"):
        plan(tmp_path / "outside", Odd(GOOD, {**GOOD, "x": 2.0}))
    with pytest.raises(InvalidStudy, match="must suggest at least one trial"):
        plan(tmp_path / "none", Odd())
    assert plan(tmp_path / "few", Odd(GOOD)).trials == 1
    assert plan(tmp_path / "many", Odd(*[GOOD] * 20)).trials == 6
    assert "5 of 6 trials repeat" in plan(tmp_path / "again", Odd(*[GOOD] * 6)).notes[0]


def test_a_searcher_that_changes_its_mind_is_refused(tmp_path: Path) -> None:
    plan(tmp_path, Odd(GOOD, GOOD))
    with pytest.raises(PlanChanged, match=r"must suggest the same again, but .*Odd suggested .* for trial 1"):
        plan(tmp_path, Odd(GOOD, {**GOOD, "x": 0.25}), max_trials=7)
    assert json.loads((tmp_path / "configs/trial_00001.json").read_bytes())["params"] == GOOD


def test_resources_by_formula_are_each_trials_own_and_part_batches(tmp_path: Path) -> None:
    space = SearchSpace({"tp": Choice([1, 2])})
    resources = {"gpus": "tp * 2", "mem_mb": "1000 * tp", "gpu_model": "a100"}
    made = plan(tmp_path, GridSearch(), space=space, resources=resources, max_trials=2)
    configs = [StudyDir(tmp_path).read_config(number) for number in range(2)]
    assert [config.resources["gpus"] for config in configs] == [config.params["tp"] * 2 for config in configs]
    assert configs[0].resources["gpu_model"] == "a100"
    assert len(made.batches) == 2
    assert plan(tmp_path, GridSearch(), space=space, resources=resources, max_trials=2).written == 0
    assert len(plan(tmp_path, GridSearch(), space=space, resources={"gpus": "2 + 0 * tp"}, max_trials=2).batches) == 1


@pytest.mark.parametrize(
    ("formula", "says"),
    [
        ("tpp * 2", r"over the parameters tp, got 'tpp \* 2'"),
        ("tp - 1", "must be an integer of at least 1"),
        ("tp / 0", "with tp=1 there is ZeroDivisionError"),
        ("tp *", "must be an expression"),
        ("__import__('os')", "must not call '__import__'"),
    ],
)
def test_a_formula_that_makes_no_sense_is_refused_at_plan_time(formula: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=says):
        plan(tmp_path / "s", GridSearch(), space=SearchSpace({"tp": Choice([1, 2])}), resources={"cpus": formula})
    assert not (tmp_path / "s/study.json").exists()


def test_rules_beside_a_space_of_its_own_are_refused_where_they_would_do_nothing(tmp_path: Path) -> None:
    with pytest.raises(InvalidStudy, match="`forbid` must be the space's own"):
        plan(tmp_path, forbid=["x > 0.5"])
    assert (
        plan(tmp_path, space=SearchSpace({"x": Uniform(0.0, 1.0)}, forbid=["x > 0.5"]), forbid=["x > 0.5"]).trials == 6
    )
