"""Successive halving and Hyperband against a study that is played through in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from autotune.algorithms.halving import Hyperband, SuccessiveHalving
from autotune.errors import InvalidStudy
from autotune.history import Observation, Proposal
from autotune.spaces import IntRange, SearchSpace, Uniform

SPACE = SearchSpace({"x": Uniform(0.0, 1.0)})
EPOCHS = {"name": "epochs", "min": 1, "max": 27, "eta": 3}


def play(searcher: Any, max_trials: int, broken: Sequence[int] = ()) -> list[list[Proposal]]:
    """Play all rounds; the value of a trial is its x, so that who climbs is known. Return the proposals by round."""
    history: list[Observation] = []
    rounds = []
    for round_, size in enumerate(searcher.round_sizes(max_trials, [])):
        searcher.reset(SPACE, 5)
        proposals = searcher.propose(history, size)
        assert len(proposals) == size
        rounds.append(proposals)
        for item in proposals:
            number = len(history)
            values = None if number in broken else (float(item.params["x"] or 0.0),)
            state = "failed" if number in broken else "complete"
            history.append(Observation(number, item.params, state, values, round=round_, fidelity=item.fidelity))
    return rounds


def test_the_best_third_climbs_and_the_best_gets_all() -> None:
    first, *others = play(SuccessiveHalving(EPOCHS), 40)
    assert [len(first), *map(len, others)] == [27, 9, 3, 1]
    assert [rung[0].fidelity for rung in [first, *others]] == [1, 3, 9, 27]
    ranked = sorted(range(27), key=lambda number: first[number].params["x"])
    assert [item.parent for item in others[0]] == ranked[:9]
    assert others[2][0].params == first[ranked[0]].params


def test_what_has_no_value_climbs_last_and_from_nothing() -> None:
    first, second, *_ = play(SuccessiveHalving(EPOCHS), 12, broken=range(1, 8))
    assert len(first) == 8 and len(second) == 2
    assert [item.parent for item in second] == [0, None]


def test_hyperbands_brackets_run_side_by_side() -> None:
    rounds = play(Hyperband(EPOCHS), 69)
    table = [
        {item.fidelity: sum(other.fidelity == item.fidelity for other in round_) for item in round_}
        for round_ in rounds
    ]
    # Table 1 of Li et al. 2018, for R = 27: 27, 12, 6, 4 points to begin with.
    assert table == [{1: 27, 3: 12, 9: 6, 27: 4}, {3: 9, 9: 4, 27: 2}, {9: 3, 27: 1}, {27: 1}]
    for round_ in rounds[1:]:
        assert all(item.parent is not None for item in round_)


def test_a_smaller_budget_gives_smaller_brackets_and_a_larger_one_more_of_them() -> None:
    searcher = SuccessiveHalving(EPOCHS)
    assert sum(searcher.round_sizes(20, [])) <= 20
    assert searcher.round_sizes(80, searcher.round_sizes(40, [])) == [27, 9, 3, 1, 27, 9, 3, 1]
    assert searcher.round_sizes(41, [27, 9, 3, 1]) == [27, 9, 3, 1]
    assert searcher.round_sizes(4, []) == [1, 1, 1, 1]
    with pytest.raises(InvalidStudy, match="at least 4"):
        searcher.round_sizes(3, [])


def test_a_second_bracket_begins_with_points_of_its_own() -> None:
    searcher = SuccessiveHalving(EPOCHS)
    history = [Observation(n, {"x": n / 100}, "complete", (1.0,), round=0, fidelity=27) for n in range(3)]
    searcher.reset(SPACE, 5)
    proposals = searcher.propose(history, 27)
    assert {item.fidelity for item in proposals} == {1}
    assert not {str(item.params) for item in proposals} & {str(item.params) for item in history}


def test_points_are_new_though_the_sampler_repeats_itself() -> None:
    space = SearchSpace({"x": IntRange(0, 40)})
    searcher = SuccessiveHalving(EPOCHS)
    searcher.reset(space, 5)
    first = [item.params["x"] for item in searcher.propose([], 30)]
    assert len(set(first)) == 30
    history = [Observation(n, {"x": x}, "complete", (1.0,), round=0, fidelity=27) for n, x in enumerate(first)]
    assert {item.params["x"] for item in searcher.propose(history, 10)} == set(range(40)) - set(first)


def test_fidelities_of_whole_bounds_are_whole_and_others_are_not() -> None:
    uneven = play(SuccessiveHalving({"name": "epochs", "min": 1, "max": 100, "eta": 3}), 130)
    assert [rung[0].fidelity for rung in uneven] == [1, 4, 11, 33, 100]
    part = play(SuccessiveHalving({"name": "data", "min": 0.1, "max": 0.9, "eta": 3}), 13)
    assert [rung[0].fidelity for rung in part] == pytest.approx([0.1, 0.3, 0.9])


@pytest.mark.parametrize(
    "fidelity",
    [
        {"name": "epochs"},
        {"max": 9},
        {"name": "e", "min": 0, "max": 9},
        {"name": "e", "min": 9, "max": 3},
        {"name": "e", "max": 9, "eta": 1.5},
    ],
)
def test_a_fidelity_that_makes_no_sense_is_refused(fidelity: dict[str, Any]) -> None:
    with pytest.raises(InvalidStudy, match="`fidelity` must have a `name`"):
        SuccessiveHalving(fidelity)


def test_a_fidelity_has_defaults() -> None:
    assert Hyperband({"name": "epochs", "max": 9}).fidelity == {"name": "epochs", "min": 1, "max": 9, "eta": 3}
