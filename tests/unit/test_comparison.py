"""Two studies beside each other: pairs of equal work, and how sure a difference is."""

from __future__ import annotations

import random

from autotune.comparison import (
    FEWEST,
    Difference,
    of_bests,
    of_shared,
    plan_differences,
    shared_trials,
    space_differences,
)
from autotune.records import Outcome, Result


def results(losses: dict[str, float | None]) -> list[Result]:
    """Make results by id; None is a failure."""
    failure = Outcome(state="failed", reason="crash", error="killed")
    return [
        Result(
            *(number, id_, {}, failure if loss is None else Outcome(state="complete", metrics={"loss": loss})),
            *(1, 0.0, 1.0, "here"),
        )
        for number, (id_, loss) in enumerate(losses.items())
    ]


def noisy(count: int, shift: float, seed: int) -> list[Result]:
    chance = random.Random(seed)
    return results({f"id{number}": number + shift + chance.gauss(0, 0.1) for number in range(count)})


def test_only_equal_complete_work_is_shared() -> None:
    a, b = results({"p": 1.0, "q": None, "r": 3.0, "s": 4.0}), results({"s": 5.0, "q": 1.0, "p": 2.0})
    assert [(one.id, other.id) for one, other in shared_trials(a, b, "loss")] == [("p", "p"), ("s", "s")]


def test_pairs_show_a_small_shift_in_widely_spread_values() -> None:
    found = of_shared(shared_trials(noisy(30, 0.0, 1), noisy(30, -0.2, 2), "loss"), "loss")
    assert found is not None
    assert found.interval is not None
    assert found.interval[0] < -0.2 < found.interval[1] < 0
    assert (found.winner("min"), found.winner("max")) == ("B", "A")


def test_noise_alone_has_no_winner() -> None:
    # At 95 %, one in twenty of such intervals is wrong: of 40, hardly ever more than six.
    found = [of_shared(shared_trials(noisy(20, 0, 2 * k), noisy(20, 0, 2 * k + 1), "loss"), "loss") for k in range(40)]
    assert sum(item is not None and item.winner("min") is not None for item in found) <= 6


def test_equal_values_are_equal_and_few_have_no_interval() -> None:
    same = noisy(9, 0.0, 1)
    found = of_shared(shared_trials(same, same, "loss"), "loss")
    assert found is not None
    assert (found.interval, found.winner("min")) == ((0.0, 0.0), None)
    few = of_shared(shared_trials(same[: FEWEST - 1], noisy(9, 5.0, 2), "loss"), "loss")
    assert few is not None
    assert (few.interval, few.winner("min")) == (None, None)
    assert of_shared([], "loss") is None


def test_bests_differ_surely_only_where_the_draws_do() -> None:
    chance = random.Random(3)
    low, high = ([chance.uniform(floor, floor + 1) for _ in range(50)] for floor in (0, 2))
    sure = of_bests(high, low, 50, "min")
    assert sure is not None
    assert sure.winner("min") == "B"
    assert sure.difference == min(low) - min(high)
    alike = of_bests(low, [chance.uniform(0, 1) for _ in range(50)], 50, "min")
    assert alike is not None
    assert alike.winner("min") is None
    assert of_bests([], low, 50, "min") is None


def test_a_winner_needs_an_interval_without_zero() -> None:
    assert Difference(1, 2, 1, (0.5, 1.5), 9).winner("min") == "A"
    assert Difference(1, 2, 1, (0.5, 1.5), 9).winner("max") == "B"
    assert Difference(1, 2, 1, (-0.5, 1.5), 9).winner("min") is None


def test_plans_and_spaces_differ_by_key() -> None:
    a = {"metric": "loss", "seed": 1, "space": {"x": {"low": 0}, "y": {}}}
    b = {"metric": "loss", "seed": 2, "space": {"x": {"low": 1}, "y": {}, "z": {}}}
    assert plan_differences(a, b) == {"seed": (1, 2)}
    assert space_differences(a, b) == {"x": ({"low": 0}, {"low": 1}), "z": (None, {})}
    assert not space_differences(a, a)
