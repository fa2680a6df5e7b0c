"""Whatever the space (all kinds, nested conditions, forbidden points, pairs), what a searcher gives belongs to it.

    SEARCHER_SPACES=1000 pytest -n 48 tests/property/test_searchers_property.py

asks each searcher that learns for proposals in 1,000 spaces instead of 30, in parts that run side by side.
"""

from __future__ import annotations

import itertools
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

import hypothesis
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import autotune.algorithms.grid
import autotune.spaces.space
from autotune.algorithms import BUILTIN, load_searcher
from autotune.errors import InvalidInput, InvalidSpace
from autotune.files import canonical
from autotune.history import Observation, Proposal
from autotune.spaces import Choice, IntRange, LogNormal, LogUniform, Normal, Parameter, Params, SearchSpace, Uniform

TRIALS = 6
SPARSE = 50  # of 200 sampled points: with fewer that differ, what is feasible may be a needle
ROUND = 3
STATES = ("complete", "failed", "complete", "infeasible", None, "complete")
RUNGS: dict[str, dict[str, Any]] = {
    name: {"fidelity": {"name": "epochs", "min": 1, "max": 9, "eta": 3}} for name in ("sha", "hyperband")
}
SEARCHERS = {name: type(load_searcher(name, RUNGS.get(name))) for name in BUILTIN}
LEARNERS = [name for name, cls in SEARCHERS.items() if hasattr(cls, "propose") and name not in RUNGS]
PART = 30  # spaces
PARTS = range(-(-int(os.environ.get("SEARCHER_SPACES", PART)) // PART))
STATIC = [name for name, cls in SEARCHERS.items() if not hasattr(cls, "propose")]

NAMES = ["alpha", "beta", "gamma", "delta", "eps", "zeta"]
OPTIONS = st.lists(
    st.sampled_from(["a", "b", "it's", "", 0, 1, 2, 64, 1.5, -3.0, True, False, None]),
    min_size=1,
    max_size=5,
    unique_by=lambda value: (type(value), value),
)


@st.composite
def parameters(draw: st.DrawFn, when: str | None) -> Parameter:
    """Draw a parameter of any kind."""
    low, width = draw(st.integers(1, 9)), draw(st.integers(1, 40))
    step = draw(st.sampled_from([None, 0.25, 0.5]))
    kind = draw(
        st.sampled_from(["choice", "ordinal", "int", "log int", "uniform", "loguniform", "normal", "lognormal"])
    )
    if kind in ("choice", "ordinal"):
        return Choice(draw(OPTIONS), ordered=kind == "ordinal", when=when)
    if kind in ("int", "log int"):
        return IntRange(low, low + width, draw(st.integers(1, 5)), log=kind == "log int", when=when)
    if kind == "uniform":
        return Uniform(low - 5.0, low - 5.0 + width, step, when=when)
    if kind == "loguniform":
        return LogUniform(low, low + width, step, when=when)
    return (Normal if kind == "normal" else LogNormal)(low - 5.0, width / 10, when=when)


@st.composite
def conditions(draw: st.DrawFn, known: dict[str, Parameter]) -> str:
    """Draw an expression over some parameters; often true, often false."""
    name = draw(st.sampled_from(sorted(known)))
    value = known[name].from_unit(draw(st.sampled_from([0.0, 0.3, 0.6, 0.99])))
    is_number = isinstance(value, int | float) and not isinstance(known[name], Choice)
    simple = f"{name} {draw(st.sampled_from(['<=', '>', '!='] if is_number else ['==', '!=']))} {value!r}"
    form = draw(st.sampled_from(["plain", "plain", "not", "in", "and", "or", "if"]))
    if form == "not":
        return f"not {simple}"
    if form == "in":
        return f"{name} in [{value!r}, {known[name].from_unit(0.5)!r}]"
    if form == "plain":
        return simple
    other = draw(conditions(known))
    return f"({simple}) {form} ({other})" if form != "if" else f"({simple}) if ({other}) else {name} == {value!r}"


@st.composite
def random_spaces(draw: st.DrawFn) -> SearchSpace:
    """Draw a space; it may have no feasible point."""
    names = draw(st.permutations(NAMES))[: draw(st.integers(1, 5))]
    made: dict[str, Parameter] = {}
    for name in names:
        when = draw(conditions(made)) if made and draw(st.booleans()) else None
        made[name] = draw(parameters(when))
    groups: list[list[str]] = []
    if draw(st.integers(0, 2)) == 0:
        size = draw(st.integers(1, 4))
        made["left"] = Choice([f"option {place}" for place in range(size)])
        made["right"] = IntRange(3, 3 + 2 * size, 2, when=draw(conditions(made)) if draw(st.booleans()) else None)
        groups = [["right", "left"]]
    forbid = draw(st.lists(conditions(made), max_size=2))
    order = draw(st.permutations(sorted(made)))  # a condition may name a parameter that is declared later
    shuffled: dict[str, Any] = {name: made[name] for name in order}
    return SearchSpace(shuffled, forbid, groups)


@pytest.fixture(autouse=True, scope="module")
def hasty() -> Iterator[None]:
    """Give up earlier on spaces that are empty, or nearly: many of these are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(autotune.spaces.space, "_MOST_MISSES", 1000)
        patch.setattr(autotune.spaces.space, "_MOST_STEPS", 5000)
        patch.setattr(autotune.algorithms.grid, "_MOST_STEPS", 5000)
        yield


def is_empty(space: SearchSpace) -> bool:
    try:
        space.refuse_empty()
    except InvalidSpace:
        return True
    return False


def sampled(space: SearchSpace, seed: int, n: int) -> list[Params]:
    """Return random points; none of a space that is empty, or nearly."""
    try:
        return space.sample(Random(seed), n)
    except InvalidSpace:
        return []


def check_points(space: SearchSpace, points: Sequence[Params]) -> None:
    """Inside and feasible; canonical: only what is active, in declared order, and the same through the unit cube."""
    for params in points:
        assert space.contains(params), params
        assert list(params) == [name for name in space.names if name in params]
        coordinates = space.to_unit(params)
        assert [u is not None for u in coordinates] == [any(name in params for name in axis) for axis in space.axes]
        again = space.from_unit([0.5 if u is None else u for u in coordinates])
        for name, value in params.items():
            if space.parameters[name].size is None:
                assert again[name] == pytest.approx(value, rel=1e-6, abs=1e-6)
            else:
                assert again[name] == value
                assert type(again[name]) is type(value)


def give(name: str, space: SearchSpace, seed: int, max_trials: int) -> list[Params]:
    searcher = load_searcher(name)
    searcher.reset(space, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a grid is cut
        return list(itertools.islice(searcher.suggestions(space, max_trials), max_trials + 1))


@settings(max_examples=1000, suppress_health_check=[HealthCheck.too_slow])
@given(random_spaces(), st.integers(0, 2**32))
def test_static_searchers_stay_in_any_space(space: SearchSpace, seed: int) -> None:
    assert SearchSpace.from_dict(space.to_dict(), forbid=space.forbid, zip=space.zip) == space
    if is_empty(space):
        assert space.count(1) in (0, None)
        return
    for name in STATIC:
        try:
            points = give(name, space, seed, TRIALS)
        except InvalidInput as error:
            if "points in a row" in str(error):
                return  # nearly empty
            assert name == "grid", name  # all of its points, or too many, lie where they are forbidden
            assert space.grid_size(5) > 1000 or not list(space.grid(5))
            continue
        assert 1 <= len(points) <= TRIALS
        check_points(space, points)
    assert give("random", space, seed, 3) == give("random", space, seed, TRIALS)[:3]


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(random_spaces())
def test_counted_points_are_all_there_are(space: SearchSpace) -> None:
    points = None if is_empty(space) else space.count(500)
    if points is None:
        return
    listed = [canonical(params) for params in space.grid(2)]
    assert len(set(listed)) == len(listed) == points
    assert {canonical(params) for params in space.sample(Random(0), 100)} <= set(listed)


def in_spaces(check: Callable[[SearchSpace, int], None], part: int) -> None:
    """Check some random spaces and numbers; each part has its own, the same every time."""
    some = settings(max_examples=PART, suppress_health_check=[HealthCheck.too_slow], phases=[Phase.generate])
    hypothesis.seed(part)(some(given(random_spaces(), st.integers(0, TRIALS))(check)))()


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("name", LEARNERS)
def test_searchers_that_learn_stay_in_any_space(name: str, part: int) -> None:
    def check(space: SearchSpace, known: int) -> None:
        check_learner(name, space, known)

    in_spaces(check, part)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("name", RUNGS)
def test_rungs_stay_in_any_space(name: str, part: int) -> None:
    def check(space: SearchSpace, seed: int) -> None:
        check_rungs(name, space, seed)

    in_spaces(check, part)


def check_rungs(name: str, space: SearchSpace, seed: int) -> None:
    """Play a study; one in a space of few points may end with a short round. None is played in nearly empty spaces."""
    points, found = space.count(100), set(map(canonical, sampled(space, 2, 200)))
    if not found or (points is None and len(found) < SPARSE):
        return
    searcher: Any = load_searcher(name, RUNGS[name])
    history: list[Observation] = []
    for round_, size in enumerate(searcher.round_sizes(20, [])):
        searcher.reset(space, seed)
        proposed = searcher.propose(history, size)
        check_points(space, [item.params for item in proposed])
        if len(proposed) < size and points is not None:
            break
        assert len(proposed) == size
        assert all(1 <= item.fidelity <= 9 for item in proposed)
        for item, state in zip(proposed, itertools.cycle(STATES), strict=False):
            value = (float(len(history) % 5),) if state == "complete" else None
            history.append(Observation(len(history), item.params, state, value, round=round_, fidelity=item.fidelity))
    keys = [canonical([item.params, item.fidelity]) for item in history]
    assert len(set(keys)) == len(keys)


def check_learner(name: str, space: SearchSpace, known: int) -> None:
    distinct = {canonical(params): params for params in sampled(space, 1, known)}
    # Of a continuous parameter, one value may be all that is not forbidden, which no searcher can be asked to hit.
    reachable = {canonical(params) for params in sampled(space, 2, 200)} - distinct.keys()
    wanted = min(ROUND, len(reachable))
    if space.count(1000) is None and len(reachable) < SPARSE:
        return
    if wanted < 1:
        return
    history = [
        Observation(number, params, state, (float(number),) if state == "complete" else None)
        for number, (params, state) in enumerate(zip(distinct.values(), itertools.cycle(STATES), strict=False))
    ]
    searcher: Any = load_searcher(name)
    searcher.reset(space, 7)
    proposed = [item.params if isinstance(item, Proposal) else item for item in searcher.propose(history, wanted)]
    assert len(proposed) == wanted
    check_points(space, proposed)
    assert not {canonical(params) for params in proposed} & distinct.keys()
    assert len({canonical(params) for params in proposed}) == wanted
