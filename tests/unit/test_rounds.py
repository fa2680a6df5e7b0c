from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from autotune.algorithms.random import RandomSearch
from autotune.config import StudyConfig
from autotune.errors import InvalidStudy, PlanChanged
from autotune.history import Observation
from autotune.planning import Plan, make_plan
from autotune.records import Outcome, Result
from autotune.rounds import plan_round, settled, trials_of
from autotune.spaces import Choice, IntRange, Params, SearchSpace, Uniform
from autotune.storage import StudyDir
from autotune.study import Study

SPACE = SearchSpace({"x": Uniform(0.0, 1.0), "kind": Choice(["a", "b"])})


class Climber:
    """Random points, then such near the best; it remembers what it was shown."""

    def __init__(self) -> None:
        self.seen: list[Sequence[Observation]] = []

    def reset(self, space: SearchSpace, seed: int) -> None:
        self.space, self.seed = space, seed

    def suggestions(self, space: SearchSpace, max_trials: int) -> Iterator[Params]:
        return iter(self.propose([], max_trials))

    def propose(self, history: Sequence[Observation], n: int) -> list[Params]:
        self.seen.append(history)
        draw = random.Random(f"{self.seed} {[(item.number, item.values) for item in history]}")
        return [self.space.from_unit([draw.random() for _ in range(len(self.space))]) for _ in range(n)]


class Stubborn(Climber):
    """Proposes the same point again and again."""

    def propose(self, history: Sequence[Observation], n: int) -> list[Params]:
        return [self.space.from_unit([0.5] * len(self.space))] * n


def plan(root: Path, searcher: Any, *, space: SearchSpace = SPACE, fresh: bool = False, **options: Any) -> Plan:
    given = {"objective": "a:b", "max_trials": 10, "batch_size": 4, "trials_per_job": 3, **options}
    config = StudyConfig(log_dir=str(root), **given)
    return make_plan(StudyDir(root), config, space, searcher, fresh=fresh, slots=2)


def settle(root: Path, numbers: Sequence[int], outcome: Outcome | None = None) -> None:
    """Write results as a job does."""
    store = StudyDir(root)
    for number in numbers:
        config = store.read_config(number)
        chosen = outcome or Outcome("complete", metrics={"loss": config.params.get("x", 0.0)})
        store.write_result(Result(number, config.id, config.params, chosen, 1, 1.0, 2.0, "here"))


def files(root: Path, *folders: str) -> dict[str, bytes]:
    return {f"{name}/{path.name}": path.read_bytes() for name in folders for path in sorted((root / name).iterdir())}


def test_rounds_have_batch_size_trials_and_batches_end_with_them(tmp_path: Path) -> None:
    made = plan(tmp_path, Climber())
    assert (made.study["round_sizes"], made.study["rounds"], made.trials, made.written) == ([4, 4, 2], 3, 10, 4)
    assert [(batch.numbers.start, batch.numbers.stop) for batch in made.batches] == [
        (0, 3),
        (3, 4),
        (4, 7),
        (7, 8),
        (8, 10),
    ]
    assert made.study["on_failure"] == "record"
    assert plan(tmp_path, Climber()).written == 0


def test_rounds_and_batch_size_give_max_trials(tmp_path: Path) -> None:
    assert plan(tmp_path, Climber(), rounds=3, batch_size=5).study["round_sizes"] == [5, 5, 5]


def test_a_round_knows_all_earlier_trials_in_their_order_with_states(tmp_path: Path) -> None:
    searcher = Climber()
    plan(tmp_path, searcher)
    settle(tmp_path, [3, 2, 0])
    settle(tmp_path, [1], Outcome("infeasible", "oom", error="out of memory"))
    plan_round(StudyDir(tmp_path), 1, searcher)
    history = searcher.seen[-1]
    assert [item.number for item in history] == [0, 1, 2, 3]
    assert [item.state for item in history] == ["complete", "infeasible", "complete", "complete"]
    assert history[1].values is None and not history[1].is_feasible
    assert history[2].values == (history[2].params["x"],)
    record = json.loads((tmp_path / "rounds/round_00001.json").read_text())
    assert record["knew"]["states"] == {"complete": 3, "infeasible": 1}
    assert [trial["number"] for trial in record["trials"]] == [4, 5, 6, 7]


def test_more_is_turned_so_that_less_is_better(tmp_path: Path) -> None:
    searcher = Climber()
    plan(tmp_path, searcher, mode="max")
    settle(tmp_path, range(4))
    plan_round(StudyDir(tmp_path), 1, searcher)
    assert [item.values for item in searcher.seen[-1]] == [(-item.params["x"],) for item in searcher.seen[-1]]


def test_a_planned_round_stays_whatever_its_history_becomes(tmp_path: Path) -> None:
    store = StudyDir(tmp_path)
    plan(tmp_path, Climber())
    settle(tmp_path, range(4))
    plan_round(store, 1, Climber())
    before = files(tmp_path, "rounds", "configs")
    settle(tmp_path, [0], Outcome("failed", "crash", error="x"))
    (tmp_path / "configs/trial_00005.json").unlink()
    plan_round(store, 1, Climber())
    assert files(tmp_path, "rounds", "configs") == before
    (tmp_path / "configs/trial_00006.json").write_text("cut off")
    assert plan(tmp_path, Climber()).written == 1
    assert files(tmp_path, "rounds", "configs") == before


def test_equal_results_give_equal_rounds_elsewhere(tmp_path: Path) -> None:
    for name, order in (("one", range(4)), ("two", [3, 1, 0, 2])):
        plan(tmp_path / name, Climber())
        settle(tmp_path / name, list(order))
        plan_round(StudyDir(tmp_path / name), 1, Climber())
    assert files(tmp_path / "one", "rounds", "configs") == files(tmp_path / "two", "rounds", "configs")


def test_raising_max_trials_adds_rounds_and_changes_none(tmp_path: Path) -> None:
    plan(tmp_path, Climber())
    made = plan(tmp_path, Climber(), max_trials=17)
    assert (made.study["round_sizes"], made.written) == ([4, 4, 2, 4, 3], 0)


def test_trials_that_still_run_are_in_the_history_without_a_state(tmp_path: Path) -> None:
    searcher = Climber()
    plan(tmp_path, searcher, quorum=0.5)
    settle(tmp_path, [1, 3])
    plan_round(StudyDir(tmp_path), 1, searcher)
    assert [item.state for item in searcher.seen[-1]] == [None, "complete", None, "complete"]
    record = json.loads((tmp_path / "rounds/round_00001.json").read_text())
    assert record["knew"]["running"] == [0, 2]


def test_what_is_known_already_is_not_proposed_again(tmp_path: Path) -> None:
    plan(tmp_path, Stubborn())
    settle(tmp_path, range(4))
    plan_round(StudyDir(tmp_path), 1, Stubborn())
    points = {str(StudyDir(tmp_path).read_config(number).params) for number in range(8)}
    assert len(points) == 8


def test_a_small_space_is_tried_once_as_a_whole(tmp_path: Path) -> None:
    space = SearchSpace({"n": IntRange(0, 3), "kind": Choice(["a", "b"])})
    made = plan(tmp_path, Stubborn(), space=space)
    assert made.study["round_sizes"] == [4, 2]
    settle(tmp_path, range(4))
    plan_round(StudyDir(tmp_path), 1, Stubborn())
    points = {str(StudyDir(tmp_path).read_config(number).params) for number in range(6)}
    assert len(points) == 6


def test_warm_start_comes_first(tmp_path: Path) -> None:
    good = [{"x": 0.25, "kind": "b"}, {"x": 0.5, "kind": "a"}, {"x": 1.0, "kind": "a"}]
    made = plan(tmp_path, Climber(), batch_size=2, warm_start=good)
    settle(tmp_path, range(2))
    plan_round(StudyDir(tmp_path), 1, Climber())
    assert [StudyDir(tmp_path).read_config(number).params for number in range(3)] == good
    assert made.trials == 10
    with pytest.raises(PlanChanged, match="warm_start changed"):
        plan(tmp_path, Climber(), batch_size=2)
    with pytest.raises(InvalidStudy, match=r"warm_start\[0\]"):
        plan(tmp_path / "other", Climber(), warm_start=[{"x": 7}])


def test_a_searcher_that_leaves_the_space_is_refused(tmp_path: Path) -> None:
    class Wild(Climber):
        def propose(self, history: Sequence[Observation], n: int) -> list[Params]:
            return [{"x": 2.0, "kind": "a"}] * n

    with pytest.raises(InvalidStudy, match="stay in the space"):
        plan(tmp_path, Wild())


def test_results_of_a_study_that_was_set_aside_are_taken_over_round_by_round(tmp_path: Path) -> None:
    store = StudyDir(tmp_path)
    for fresh in (False, True):
        plan(tmp_path, Climber(), fresh=fresh)
        if not fresh:
            settle(tmp_path, range(4))
        plan_round(store, 1, Climber())
        if not fresh:
            settle(tmp_path, range(4, 8))
    study = store.read_study()
    assert all(settled(store, study, number) is not None for number in [*trials_of(study, 0), *trials_of(study, 1)])


def test_enqueue_puts_a_point_first(tmp_path: Path) -> None:
    study = Study(StudyConfig(max_trials=3, log_dir=str(tmp_path)), SPACE, RandomSearch(seed=3))
    study.enqueue({"x": 0.25, "kind": "b"})
    study.enqueue({"x": 0.5, "kind": "a"})
    seen: list[Params] = []
    study.optimize(lambda params, trial: seen.append(params) or params["x"])
    assert seen[:2] == [{"x": 0.25, "kind": "b"}, {"x": 0.5, "kind": "a"}]
    assert len(seen) == 3
