"""Parameters and spaces: values, bounds, the JSON form, and one sentence for every mistake."""

from __future__ import annotations

import copy
import itertools
import json
import math
import pickle
import subprocess
import sys
from decimal import Decimal
from typing import Any

import pytest

from autotune.errors import InvalidSpace
from autotune.spaces import Choice, IntRange, LogUniform, SearchSpace, Uniform

UNITS = [0.0, 5e-324, 0.1, 0.5, 0.9, math.nextafter(1.0, 0.0), 1.0]
JSON_FORM = {
    "lr": {"type": "loguniform", "low": 1e-5, "high": 5e-3},
    "batch_size": {"type": "choice", "options": [8, 16, 32]},
    "width": {"type": "int", "low": 128, "high": 513, "step": 128},
    "dropout": {"type": "uniform", "low": 0.0, "high": 0.5},
}


def test_int_range_is_like_range() -> None:
    width = IntRange(128, 513, 128)
    assert width.grid(2) == [128, 256, 384, 512]
    assert width.size == 4
    assert [width.from_unit(u) for u in (0.0, 0.24, 0.25, 0.5, 0.75, 1.0)] == [128, 128, 256, 384, 512, 512]
    assert width.contains(512)
    assert not any(width.contains(value) for value in (513, 640, 129, 0, 256.0, True, "256", None))


@pytest.mark.parametrize(("low", "high", "step"), [(0, 1, 1), (-5, 5, 3), (0, 10, 3), (7, 8, 100), (-9, -2, 2)])
def test_int_range_size_and_grid_agree_with_range(low: int, high: int, step: int) -> None:
    parameter, values = IntRange(low, high, step), list(range(low, high, step))
    assert parameter.grid(2) == values
    assert parameter.size == len(values)
    assert parameter.from_unit(1.0) == values[-1]
    assert [v for v in range(low - 5, high + 5) if parameter.contains(v)] == values


def test_huge_ints_are_exact() -> None:
    low, high = 2**70 + 1, 10**400
    parameter = IntRange(low, high)
    assert parameter.from_unit(0.0) == low
    assert parameter.from_unit(1.0) == high - 1
    assert parameter.from_unit(0.5) == low + (high - low) // 2
    assert parameter.size == high - low
    assert parameter.contains(high - 1)
    assert not parameter.contains(high)


def test_every_coordinate_of_a_range_beyond_float_precision_stays_inside() -> None:
    parameter = IntRange(0, 2**53 + 1)
    assert all(parameter.contains(parameter.from_unit(u)) for u in UNITS)


def test_choice_gives_each_option_an_equal_part() -> None:
    choice = Choice(["a", "b", None])
    drawn = [choice.from_unit(i / 300) for i in range(300)]
    assert [drawn.count(option) for option in ("a", "b", None)] == [100, 100, 100]
    assert choice.from_unit(1.0) is None
    assert choice.grid(99) == ["a", "b", None]
    assert choice.size == 3


def test_choice_tells_types_apart() -> None:
    choice = Choice([1, 1.0, True])
    assert choice.grid(2) == [1, 1.0, True]
    assert [type(value) for value in choice.grid(2)] == [int, float, bool]
    assert Choice([1]).contains(1)
    assert not Choice([1]).contains(True)
    assert not Choice([1]).contains(1.0)
    assert not Choice([1]).contains([1])
    assert Choice([1]) != Choice([True])
    assert Choice([1, True]) != Choice([True, 1])
    assert Choice([8, 16]) == Choice((8, 16))
    assert hash(Choice([8, 16])) == hash(Choice((8, 16)))


def test_loguniform_never_leaves_its_bounds() -> None:
    assert math.exp(math.log(1e-5)) < 1e-5, "the rounding that this test is about"
    lr = LogUniform(1e-5, 5e-3)
    values = [lr.from_unit(u) for u in UNITS]
    assert values[0] == values[1] == 1e-5
    assert values[-1] == 5e-3
    assert values == sorted(values)
    assert all(lr.contains(value) for value in values)
    assert lr.from_unit(0.5) == pytest.approx(math.sqrt(1e-5 * 5e-3))


def test_the_widest_bounds_work() -> None:
    top = sys.float_info.max
    assert Uniform(-top, top).from_unit(0.5) == 0.0
    assert Uniform(-top, top).from_unit(0.75) == pytest.approx(top / 2)
    assert all(Uniform(-top, top).contains(Uniform(-top, top).from_unit(u)) for u in UNITS)
    assert all(LogUniform(5e-324, top).contains(LogUniform(5e-324, top).from_unit(u)) for u in UNITS)
    narrow = LogUniform(math.nextafter(top, 0.0), top)
    assert all(narrow.contains(narrow.from_unit(u)) for u in UNITS)


def test_grids_of_floats_hold_both_bounds() -> None:
    assert Uniform(0, 1).grid(5) == [0.0, 0.25, 0.5, 0.75, 1.0]
    decades = LogUniform(1e-5, 1e-1).grid(5)
    assert decades == pytest.approx([1e-5, 1e-4, 1e-3, 1e-2, 1e-1])
    assert (decades[0], decades[-1]) == (1e-5, 1e-1)
    assert Uniform(0.1, 0.3).grid(2) == [0.1, 0.3]


def test_float_bounds_are_floats_and_ints_lie_within() -> None:
    assert Uniform(0, 1) == Uniform(0.0, 1.0)
    assert json.dumps(Uniform(0, 1).to_dict()) == '{"type": "uniform", "low": 0.0, "high": 1.0}'
    assert [type(Uniform(0, 1).from_unit(u)) for u in (0, 0.5, 1)] == [float, float, float]
    assert Uniform(0, 1).contains(1)
    assert not any(Uniform(0, 1).contains(value) for value in (True, "0.5", None, 1.1, math.nan, math.inf, [0.5]))
    assert not LogUniform(1, 2).contains(math.nan)


@pytest.mark.parametrize("parameter", [Uniform(0, 1), LogUniform(1, 2)])
def test_floats_have_no_size(parameter: Uniform | LogUniform) -> None:
    assert parameter.size is None


@pytest.mark.parametrize("parameter", [Choice([1, 2]), IntRange(1, 9), Uniform(1, 2), LogUniform(1, 2)])
def test_coordinates_beyond_the_cube_give_the_ends_and_nan_is_refused(parameter: Any) -> None:
    assert parameter.from_unit(-0.5) == parameter.from_unit(0.0)
    assert parameter.from_unit(1.5) == parameter.from_unit(1.0)
    with pytest.raises(InvalidSpace, match="from 0 to 1, got nan"):
        parameter.from_unit(math.nan)


def test_numpy_scalars_become_python_ones() -> None:
    np = pytest.importorskip("numpy")
    options = Choice(np.array([8, 16])).options
    assert (options, [type(o) for o in options]) == ((8, 16), [int, int])
    assert Choice([np.float32(0.5), np.bool_(True), np.str_("a")]).options == (0.5, True, "a")
    bounds = IntRange(np.int64(1), np.int64(9), np.int8(2))
    assert {type(bounds.low), type(bounds.high), type(bounds.step)} == {int}
    assert type(Uniform(np.float64(0.0), np.int64(1)).high) is float
    point = np.array([0.3, 0.3, 0.3, 0.3])
    values = SearchSpace.from_dict(JSON_FORM).from_unit(point).values()
    assert [type(value) for value in values] == [float, int, int, float]


def test_parameters_are_immutable_and_can_be_copied() -> None:
    space = SearchSpace.from_dict(JSON_FORM)
    for parameter in space.parameters.values():
        with pytest.raises((AttributeError, TypeError)):
            parameter.low = 1  # type: ignore[misc, union-attr]
        assert pickle.loads(pickle.dumps(parameter)) == parameter
    with pytest.raises(TypeError):
        space.parameters["lr"] = Choice([1])  # type: ignore[index]
    assert pickle.loads(pickle.dumps(space)) == space
    assert copy.deepcopy(space) == space
    assert repr(IntRange(1, 2)) == "IntRange(low=1, high=2, step=1)"
    assert repr(space).startswith("SearchSpace({'lr': LogUniform(low=1e-05, high=0.005)")


def test_space_keeps_declared_order() -> None:
    space = SearchSpace({"b": Uniform(0, 1), "a": IntRange(0, 4), "c": Choice(["x", "y"])})
    assert space.names == ["b", "a", "c"]
    assert list(space.parameters) == ["b", "a", "c"]
    assert len(space) == 3
    assert space.from_unit([0.5, 0.99, 0.0]) == {"b": 0.5, "a": 3, "c": "x"}
    assert space.grid_size(5) == 5 * 4 * 2
    reordered = SearchSpace(dict(sorted(space.parameters.items())))
    assert space != reordered
    assert space == SearchSpace(dict(space.parameters))
    assert hash(space) == hash(SearchSpace(dict(space.parameters)))
    assert space != "space"


def test_a_space_is_not_changed_through_the_mapping_it_was_made_from() -> None:
    given: dict[str, Any] = {"a": Uniform(0, 1)}
    space = SearchSpace(given)
    given["b"] = Uniform(0, 1)
    assert space.names == ["a"]
    space.names.append("b")
    assert space.names == ["a"]


def test_contains_needs_exactly_the_names() -> None:
    space = SearchSpace({"a": Uniform(0, 1), "b": Choice([1])})
    assert space.contains({"b": 1, "a": 0.5})
    for params in ({"a": 0.5}, {"a": 0.5, "b": 1, "c": 1}, {"a": 2.0, "b": 1}, {}, None, ["a", "b"]):
        assert not space.contains(params)


def test_point_of_another_dimension_is_refused() -> None:
    with pytest.raises(InvalidSpace, match="must have 1 coordinates, one a parameter, got 2"):
        SearchSpace({"a": Uniform(0, 1)}).from_unit([0.1, 0.2])


def test_json_form_round_trips() -> None:
    space = SearchSpace.from_dict(JSON_FORM)
    assert space.to_dict() == JSON_FORM
    assert list(space.to_dict()) == list(JSON_FORM)
    assert SearchSpace.from_dict(json.loads(json.dumps(space.to_dict()))) == space


def test_alias_default_step_and_bare_list() -> None:
    space = SearchSpace.from_dict({"n": {"type": "intrange", "low": 1, "high": 4}, "bs": [8, 16]})
    assert space.parameters["n"] == IntRange(1, 4, 1)
    assert space.to_dict() == {
        "n": {"type": "int", "low": 1, "high": 4, "step": 1},
        "bs": {"type": "choice", "options": [8, 16]},
    }


def bad(parameter: object) -> dict[str, object]:
    return {"lr": parameter}


MISTAKES: list[tuple[Any, str]] = [
    (
        bad({"type": "loguniform", "low": 0.1, "high": 0.01}),
        "space.json: lr: `low < high` must hold for a loguniform, got low=0.1, high=0.01; swap them",
    ),
    (
        bad({"type": "unifrom", "low": 0, "high": 1}),
        (
            "space.json: lr: `type` must be one of choice, int, intrange, uniform, loguniform, got 'unifrom'; "
            "did you mean 'uniform'?"
        ),
    ),
    (
        bad({"type": "zzz"}),
        "space.json: lr: `type` must be one of choice, int, intrange, uniform, loguniform, got 'zzz'",
    ),
    (bad({"type": ["int"]}), "`type` must be one of choice, int, intrange, uniform, loguniform, got ['int']"),
    (bad({"low": 0, "high": 1}), "must have the key `type`, got low, high; use one of choice, int"),
    (bad({}), "must have the key `type`, got nothing"),
    (bad(5), "space.json: lr: a parameter must be a mapping with a `type`, or a list of options, got 5"),
    (
        bad({"type": "uniform", "low": 0, "hihg": 1}),
        "space.json: lr: `uniform` takes the keys low, high, got 'hihg'; did you mean 'high'?",
    ),
    (bad({"type": "uniform", "low": 0, "high": 1, 3: 4}), "takes the keys low, high, got 3"),
    (bad({"type": "uniform", "low": 0, "high": 1, "step": 1}), "takes the keys low, high, got 'step'"),
    (bad({"type": "uniform", "low": 0, "high": 1, "_span": 1}), "takes the keys low, high, got '_span'"),
    (bad({"type": "uniform", "low": 0}), "`uniform` must have the keys low, high, got low; add `high`"),
    (bad({"type": "choice"}), "`choice` must have the keys options, got nothing; add `options`"),
    (bad({"type": "uniform", "low": 1, "high": 1}), "got low=1.0, high=1.0; use a choice for one value"),
    (
        bad({"type": "loguniform", "low": 0, "high": 1}),
        "`0 < low < high` must hold for a loguniform, got low=0.0, high=1.0",
    ),
    (
        bad({"type": "loguniform", "low": -1, "high": 1}),
        "`0 < low < high` must hold for a loguniform, got low=-1.0, high=1.0",
    ),
    (
        bad({"type": "loguniform", "low": 1, "high": 0}),
        "`0 < low < high` must hold for a loguniform, got low=1.0, high=0.0",
    ),
    (bad({"type": "uniform", "low": math.nan, "high": 1}), "`low` of a uniform must be a finite number, got nan"),
    (bad({"type": "uniform", "low": 0, "high": math.inf}), "`high` of a uniform must be a finite number, got inf"),
    (bad({"type": "uniform", "low": 0, "high": 10**400}), "`high` of a uniform must be a finite number, got 1000"),
    (bad({"type": "uniform", "low": 0, "high": 10**5000}), "must be a finite number, got a int too long to print"),
    (
        bad({"type": "loguniform", "low": "1e-5", "high": 1}),
        (
            "space.json: lr: `low` of a loguniform must be a finite number, got '1e-5'; "
            "write it without quotes, and in YAML with a point and a sign, as in 1.0e-5"
        ),
    ),
    (bad({"type": "uniform", "low": False, "high": 1}), "`low` of a uniform must be a finite number, got False"),
    (bad({"type": "uniform", "low": None, "high": 1}), "`low` of a uniform must be a finite number, got None"),
    (
        bad({"type": "uniform", "low": Decimal(0), "high": 1}),
        "must be a finite number, got Decimal('0'); write a number",
    ),
    (bad({"type": "int", "low": 1.0, "high": 4}), "`low` of an int must be an integer, got 1.0; write 1"),
    (bad({"type": "int", "low": 1.5, "high": 4}), "`low` of an int must be an integer, got 1.5; write a number"),
    (bad({"type": "int", "low": 1, "high": math.inf}), "`high` of an int must be an integer, got inf"),
    (
        bad({"type": "int", "low": 1, "high": "4"}),
        "`high` of an int must be an integer, got '4'; write it without quotes",
    ),
    (bad({"type": "int", "low": True, "high": 4}), "`low` of an int must be an integer, got True"),
    (bad({"type": "int", "low": 1, "high": 4, "step": 0}), "`step >= 1` must hold for an int, got step=0"),
    (bad({"type": "int", "low": 1, "high": 4, "step": -1}), "`step >= 1` must hold for an int, got step=-1"),
    (bad({"type": "int", "low": 1, "high": 4, "step": 0.5}), "`step` of an int must be an integer, got 0.5"),
    (
        bad({"type": "int", "low": 4, "high": 4}),
        "`low < high` must hold for an int, whose `high` is exclusive, got low=4, high=4; use high=5 for one value",
    ),
    (bad({"type": "int", "low": 9, "high": 4}), "got low=9, high=4; swap them"),
    (bad({"type": "choice", "options": []}), "`options` of a choice must have at least one option, got none"),
    (bad({"type": "choice", "options": [8, 16, 8]}), "`options` of a choice must differ, got 8 twice; remove one"),
    (bad({"type": "choice", "options": "abc"}), "`options` of a choice must be a list, got 'abc'"),
    (bad({"type": "choice", "options": {1, 2}}), "`options` of a choice must be a list, got {1, 2}"),
    (bad({"type": "choice", "options": 8}), "`options` of a choice must be a list, got 8"),
    (bad({"type": "choice", "options": [[1], [2]]}), "booleans or None, got [1]; use a name"),
    (bad({"type": "choice", "options": [math.nan]}), "must be strings, finite numbers, booleans or None, got nan"),
    (bad([]), "space.json: lr: `options` of a choice must have at least one option, got none"),
    ({}, "space.json: a space must have at least one parameter, got none"),
    ([1], "space.json: a space must be a mapping from names to parameters, got [1]"),
    (None, "space.json: a space must be a mapping from names to parameters, got None"),
    ({True: [1, 2]}, "space.json: a parameter's name must be a non-empty string, got True; quote it"),
    ({"": [1, 2]}, "space.json: a parameter's name must be a non-empty string, got ''"),
]


@pytest.mark.parametrize(("mapping", "message"), MISTAKES, ids=range(len(MISTAKES)))
def test_every_mistake_is_one_sentence(mapping: Any, message: str) -> None:
    with pytest.raises(InvalidSpace) as caught:
        SearchSpace.from_dict(mapping, where="space.json")
    text = str(caught.value)
    assert message in text
    assert text.startswith("space.json: ")
    assert "\n" not in text
    assert len(text) < 300


@pytest.mark.parametrize("cls", [Uniform, LogUniform, IntRange])
def test_constructors_refuse_swapped_bounds_themselves(cls: Any) -> None:
    with pytest.raises(InvalidSpace, match=r"^`low < high` must hold for an? "):
        cls(5, 1)


@pytest.mark.parametrize(("low", "high"), list(itertools.permutations([1, "2", True], 2)))
def test_constructors_refuse_other_types(low: Any, high: Any) -> None:
    for cls in (Uniform, LogUniform, IntRange):
        with pytest.raises(InvalidSpace, match="must be"):
            cls(low, high)


@pytest.mark.parametrize("given", [[8, 16], {"type": "uniform", "low": 0, "high": 1}, Choice, None])
def test_a_space_takes_only_parameters(given: Any) -> None:
    with pytest.raises(InvalidSpace, match=r"space: lr: a parameter must be a Choice.*SearchSpace.from_dict"):
        SearchSpace({"lr": given})


@pytest.mark.parametrize("points", [1, 0, -1, 2.0, True, None])
def test_a_grid_of_floats_needs_two_points(points: Any) -> None:
    for parameter in (Uniform(0, 1), LogUniform(1, 2)):
        with pytest.raises(InvalidSpace, match="the points of a grid must be an integer of at least 2"):
            parameter.grid(points)


def test_a_grid_too_large_for_memory_is_refused() -> None:
    with pytest.raises(InvalidSpace, match="at most 1000000 values for a grid"):
        IntRange(0, 10**12).grid(5)


def test_arrays_of_several_elements_are_no_scalars() -> None:
    np = pytest.importorskip("numpy")
    with pytest.raises(InvalidSpace, match="booleans or None"):
        Choice(np.zeros((2, 2)))
    with pytest.raises(InvalidSpace, match="finite number"):
        Uniform(np.zeros(2), 1)


@pytest.mark.parametrize("module", ["autotune.spaces", "autotune.algorithms", "autotune.algorithms.sobol"])
def test_importing_loads_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print([m for m in ('numpy', 'scipy', 'pandas', 'torch') if m in sys.modules])"
    path = "import sys; sys.path[:0] = " + repr(sys.path) + "; "
    done = subprocess.run([sys.executable, "-c", path + code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
