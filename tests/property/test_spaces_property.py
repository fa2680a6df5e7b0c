"""Whatever the bounds and the coordinate, a value never leaves its parameter."""

from __future__ import annotations

import json
import math
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autotune.files import canonical
from autotune.spaces import Choice, IntRange, LogUniform, Parameter, SearchSpace, Uniform

UNIT = st.floats(0.0, 1.0) | st.sampled_from([0.0, 5e-324, 0.5, math.nextafter(1.0, 0.0), 1.0])
HUGE = st.integers(-(10**320), 10**320) | st.integers(-(2**55), 2**55) | st.integers(-20, 20)
SCALARS = (
    st.text(max_size=5) | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.booleans() | st.none()
)


def ordered(values: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, Any]]:
    """Return pairs low < high, close neighbours among them."""
    return st.tuples(values, values).filter(lambda pair: pair[0] < pair[1])


def neighbours(values: st.SearchStrategy[float]) -> st.SearchStrategy[tuple[float, float]]:
    pairs = values.map(lambda low: (low, math.nextafter(low, math.inf)))
    return pairs.filter(lambda pair: pair[0] < pair[1] < math.inf)


FINITE = st.floats(allow_nan=False, allow_infinity=False)
POSITIVE = st.floats(min_value=5e-324, allow_nan=False, allow_infinity=False, exclude_min=False)
UNIFORMS = (ordered(FINITE) | neighbours(FINITE)).map(lambda pair: Uniform(*pair))
LOG_UNIFORMS = (ordered(POSITIVE) | neighbours(POSITIVE)).map(lambda pair: LogUniform(*pair))
INT_RANGES = st.builds(
    lambda pair, step: IntRange(*pair, step), ordered(HUGE), st.integers(1, 10) | st.integers(1, 10**320)
)
CHOICES = st.lists(SCALARS, min_size=1, max_size=8, unique_by=lambda v: (type(v), v)).map(Choice)
PARAMETERS: st.SearchStrategy[Parameter] = UNIFORMS | LOG_UNIFORMS | INT_RANGES | CHOICES
SPACES = st.dictionaries(st.text(min_size=1, max_size=8), PARAMETERS, min_size=1, max_size=6).map(SearchSpace)

thorough = settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@thorough
@given(PARAMETERS, UNIT)
def test_a_coordinate_gives_a_value_of_the_parameter(parameter: Parameter, u: float) -> None:
    assert parameter.contains(parameter.from_unit(u))


@thorough
@given(UNIFORMS | LOG_UNIFORMS, UNIT)
def test_floats_keep_their_bounds_and_reach_them(parameter: Uniform | LogUniform, u: float) -> None:
    value = parameter.from_unit(u)
    assert type(value) is float
    assert parameter.low <= value <= parameter.high
    assert parameter.from_unit(0.0) == parameter.low
    assert parameter.from_unit(1.0) == parameter.high


@thorough
@given(INT_RANGES, UNIT)
def test_ints_keep_bounds_and_step(parameter: IntRange, u: float) -> None:
    value = parameter.from_unit(u)
    assert type(value) is int
    assert value in range(parameter.low, parameter.high, parameter.step)
    assert parameter.from_unit(0.0) == parameter.low
    assert parameter.from_unit(1.0) == parameter.low + (parameter.size - 1) * parameter.step
    assert parameter.from_unit(1.0) + parameter.step >= parameter.high


@thorough
@given(UNIFORMS | LOG_UNIFORMS | INT_RANGES, UNIT, UNIT)
def test_numbers_grow_with_the_coordinate(parameter: Uniform | LogUniform | IntRange, u: float, v: float) -> None:
    assert parameter.from_unit(min(u, v)) <= parameter.from_unit(max(u, v))


@thorough
@given(UNIFORMS | LOG_UNIFORMS, st.integers(2, 30))
def test_a_grid_of_floats_lies_inside_and_holds_the_bounds(parameter: Uniform | LogUniform, points: int) -> None:
    grid = parameter.grid(points)
    assert len(grid) == points
    assert all(parameter.contains(value) for value in grid)
    assert (grid[0], grid[-1]) == (parameter.low, parameter.high)


@thorough
@given(st.integers(-(2**70), 2**70), st.integers(1, 300), st.integers(1, 20))
def test_a_grid_of_ints_is_the_range(low: int, width: int, step: int) -> None:
    parameter = IntRange(low, low + width, step)
    assert parameter.grid(2) == list(range(low, low + width, step))
    assert parameter.size == len(parameter.grid(2))


@thorough
@given(SPACES, st.data())
def test_a_space_contains_its_points(space: SearchSpace, data: st.DataObject) -> None:
    params = space.from_unit(data.draw(st.lists(UNIT, min_size=len(space), max_size=len(space))))
    assert list(params) == space.names
    assert space.contains(params)
    assert space.contains(json.loads(canonical(params)))


@thorough
@given(SPACES)
def test_the_json_form_round_trips(space: SearchSpace) -> None:
    again = SearchSpace.from_dict(json.loads(json.dumps(space.to_dict(), allow_nan=False)))
    assert again == space
    assert canonical(again.to_dict()) == canonical(space.to_dict())
