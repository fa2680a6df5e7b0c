"""Repeats: the statistics on noise of which the truth is known, and who gets them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from statistics import fmean
from typing import Any

import pytest

from autotune.algorithms import Searcher
from autotune.algorithms.random import RandomSearch
from autotune.history import Observation, Proposal
from autotune.racing import Racing
from autotune.records import Outcome, Result
from autotune.repeats import best_group, standings, tie_records
from autotune.spaces import Choice, SearchSpace, Uniform

SPACE = SearchSpace({"x": Uniform(0.0, 1.0)})


def test_intervals_hold_the_true_mean_about_as_often_as_they_say() -> None:
    draw = random.Random(5)
    for size, least in ((3, 0.95), (10, 0.93)):
        groups = [[draw.gauss(1.0, 0.5) for _ in range(size)] for _ in range(400)]
        held = [item.low <= 1.0 <= item.high for item in standings(groups) if item.low is not None and item.high]
        assert len(held) == 400 and fmean(held) >= least


def test_the_clearly_worse_is_not_tied_and_the_same_is() -> None:
    draw = random.Random(6)
    tied_same, tied_worse = [], []
    for _ in range(100):
        groups = [[draw.gauss(mean, 0.1) for _ in range(8)] for mean in (1.0, 1.0, 2.0)]
        same, other, worse = standings(groups)
        tied_same.append(same.is_tied and other.is_tied)
        tied_worse.append(worse.is_tied)
    assert fmean(tied_same) >= 0.9
    assert not any(tied_worse)


def test_a_single_value_is_never_told_apart() -> None:
    one, other = standings([[1.0], [5.0]])
    assert one.is_tied and other.is_tied and other.low is None


def results(values: dict[float, list[float]]) -> list[Result]:
    flat = [(x, value, place) for x, group in values.items() for place, value in enumerate(group)]
    return [
        Result(
            number, str(number), {"x": x}, Outcome("complete", metrics={"loss": value}), 1, 1.0, 1.0, "h", repeat=place
        )
        for number, (x, value, place) in enumerate(flat)
    ]


def study(**keys: Any) -> dict[str, Any]:
    return {"metric": "loss", "mode": "min", "repeats": {"min": 3, "max": 10}, **keys}


def test_the_best_has_the_best_mean_and_not_the_luckiest_value() -> None:
    known = results({0.1: [1.0, 1.1, 0.9], 0.2: [0.5, 3.0, 3.0], 0.3: [0.1]})
    best = best_group(study(), known)
    assert best is not None and best.params == {"x": 0.1} and best.metrics["loss"] == pytest.approx(1.0)
    assert [item["params"]["x"] for item in tie_records(study(), known)] == [0.1, 0.2]


def test_the_default_is_preferred_where_it_is_tied_and_only_there() -> None:
    known = results({0.1: [1.0, 1.2, 0.8], 0.2: [1.05, 1.25, 0.85], 0.3: [9.0, 9.1, 9.2]})
    tied = best_group(study(warm_start=[{"x": 0.2}]), known)
    assert tied is not None and tied.params == {"x": 0.2}
    behind = best_group(study(warm_start=[{"x": 0.3}]), known)
    assert behind is not None and behind.params == {"x": 0.1}


def test_more_is_better_keeps_the_metrics_own_sign() -> None:
    (best, *_) = tie_records(study(mode="max"), results({0.1: [1.0, 1.1, 0.9], 0.2: [5.0, 5.1, 4.9]}))
    assert best["params"] == {"x": 0.2} and best["mean"] == pytest.approx(5.0)
    assert best["interval"][0] <= 5.0 <= best["interval"][1]


def race(searcher: Searcher, space: SearchSpace, noise: float, rounds: int, n: int = 8) -> list[Observation]:
    history: list[Observation] = []
    draw = random.Random(3)
    racing = Racing(searcher, 3, 10)
    for _ in range(rounds):
        racing.reset(space, 7)
        for proposal in racing.propose(history, n):
            assert isinstance(proposal, Proposal)
            value = abs(float(proposal.params["x"] or 0.0)) + draw.gauss(0, noise)
            history.append(Observation(len(history), proposal.params, "complete", (value,), repeat=proposal.repeat))
    return history


def counts(history: Sequence[Observation]) -> Counter[float]:
    return Counter(float(item.params["x"] or 0.0) for item in history)


def test_repeats_go_to_the_contenders() -> None:
    space = SearchSpace({"x": Choice([0.0, 0.02, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0])})
    given = counts(race(RandomSearch(), space, 0.3, 5))
    assert given[0.0] + given[0.02] > 10
    assert all(count == 3 for value, count in given.items() if value >= 20)


def test_repeats_of_a_point_have_numbers_of_their_own_and_are_never_twice_the_same() -> None:
    history = race(RandomSearch(), SPACE, 0.5, 6)
    assert len(history) == 48
    keys = [(item.params["x"], item.repeat) for item in history]
    assert len(set(keys)) == len(keys)
    assert max(item.repeat for item in history) < 10


def test_what_failed_is_not_repeated() -> None:
    racing = Racing(RandomSearch(), 3, 10)
    racing.reset(SPACE, 1)
    first = racing.propose([], 3)
    history = [Observation(n, item.params, "infeasible", repeat=item.repeat) for n, item in enumerate(first[:1])]
    assert first[0].params not in [item.params for item in racing.propose(history, 6)]
