"""Parameters and spaces: values, bounds, the JSON form, and one sentence for every mistake."""

from __future__ import annotations

import copy
import itertools
import json
import math
import pickle
import subprocess
import sys
from collections import Counter
from decimal import Decimal
from random import Random
from statistics import NormalDist
from typing import Any

import pytest

from autotune.errors import InvalidExpression, InvalidInput, InvalidSpace
from autotune.spaces import Choice, IntRange, LogNormal, LogUniform, Normal, SearchSpace, Uniform

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


TYPE_NAMES = "choice, ordinal, int, intrange, uniform, loguniform, normal, lognormal"
MISTAKES: list[tuple[Any, str]] = [
    (
        bad({"type": "loguniform", "low": 0.1, "high": 0.01}),
        "space.json: lr: `low < high` must hold for a loguniform, got low=0.1, high=0.01; swap them",
    ),
    (
        bad({"type": "unifrom", "low": 0, "high": 1}),
        f"space.json: lr: `type` must be one of {TYPE_NAMES}, got 'unifrom'; did you mean 'uniform'?",
    ),
    (
        bad({"type": "zzz"}),
        f"space.json: lr: `type` must be one of {TYPE_NAMES}, got 'zzz'",
    ),
    (
        bad({"type": ["int"]}),
        f"`type` must be one of {TYPE_NAMES}, got ['int']",
    ),
    (bad({"low": 0, "high": 1}), "must have the key `type`, got low, high; use one of choice, ordinal, int"),
    (bad({}), "must have the key `type`, got nothing"),
    (
        bad(None),
        "space.json: lr: a parameter must be a mapping with a `type`, a list of options or one value, got None",
    ),
    (
        bad({"type": "uniform", "low": 0, "hihg": 1}),
        "space.json: lr: `uniform` takes the keys low, high, step, when, got 'hihg'; did you mean 'high'?",
    ),
    (bad({"type": "uniform", "low": 0, "high": 1, 3: 4}), "takes the keys low, high, step, when, got 3"),
    (bad({"type": "uniform", "low": 0, "high": 1, "_span": 1}), "takes the keys low, high, step, when, got '_span'"),
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
    (bad({"type": "uniform", "low": 0, "high": 1, "step": 2}), "`step` of a uniform must be above 1e-12 of its bounds"),
    (bad({"type": "uniform", "low": 0, "high": 1, "step": 0}), "and at most high - low, got step=0.0 with low=0.0"),
    (bad({"type": "uniform", "low": 0, "high": 1, "step": 1e-13}), "must be above 1e-12 of its bounds"),
    (bad({"type": "loguniform", "low": 1, "high": 2, "step": "x"}), "`step` of a loguniform must be a finite number"),
    (bad({"type": "int", "low": 0, "high": 9, "log": True}), "`1 <= low` and `high <= 1099511627776` must hold"),
    (bad({"type": "int", "low": 1, "high": 2**41, "log": True}), "use other bounds, or a loguniform"),
    (bad({"type": "int", "low": 1, "high": 9, "log": "yes"}), "`log` of a int must be true or false, got 'yes'"),
    (bad({"type": "choice", "options": [1], "ordered": 1}), "`ordered` of a choice must be true or false, got 1"),
    (bad({"type": "normal", "mean": 0, "std": 0}), "`std > 0` must hold for a normal, got std=0.0; use a constant"),
    (bad({"type": "normal", "mean": 2e300, "std": 1}), "must lie within ±1e+300, got mean=2e+300"),
    (bad({"type": "lognormal", "mean": 0, "std": 99}), "`mean ± 9 std` of a lognormal must lie within ±700"),
    (bad({"type": "lognormal", "mean": 0}), "`lognormal` must have the keys mean, std, got mean; add `std`"),
    (
        bad({"type": "uniform", "low": 0, "high": 1, "when": True}),
        "`when` of a uniform must be an expression in quotes",
    ),
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
    with pytest.raises(InvalidSpace, match=r"space: lr: a parameter must be one of Choice.*SearchSpace.from_dict"):
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


# Kinds with steps, logarithms and normals


def test_log_ints_have_parts_as_long_as_their_logarithms() -> None:
    batch = IntRange(1, 1025, log=True)
    drawn = Counter(int(math.log2(batch.from_unit((i + 0.5) / 10_000))) for i in range(10_000))
    assert all(drawn[octave] == pytest.approx(1000, abs=5) for octave in range(10))
    assert (batch.from_unit(0.0), batch.from_unit(1.0)) == (1, 1024)
    assert all(batch.from_unit(batch.to_unit(value)) == value for value in range(1, 1025))
    stepped = IntRange(4, 65, 20, log=True)
    assert stepped.grid(2) == [4, 24, 44, 64]
    assert [stepped.from_unit(stepped.to_unit(value)) for value in (4, 24, 44, 64)] == [4, 24, 44, 64]
    assert stepped.to_dict() == {"type": "int", "low": 4, "high": 65, "step": 20, "log": True}


def test_quantised_floats_are_what_their_digits_say() -> None:
    tenth = Uniform(0, 1, 0.1)
    assert tenth.grid(5) == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    assert tenth.size == 11
    assert not tenth.contains(0.30000000000000004)
    assert tenth.contains(0.3)
    assert tenth.contains(1)
    assert not tenth.contains(0.35)
    assert [tenth.from_unit(tenth.to_unit(value)) for value in tenth.grid(2)] == tenth.grid(2)
    assert Uniform(0.5, 1, 0.2).grid(2) == [0.5, 0.7, 0.9]
    assert LogUniform(0.01, 0.05, 0.01).grid(2) == [0.01, 0.02, 0.03, 0.04, 0.05]
    low = [LogUniform(0.01, 1.0, 0.01).from_unit((i + 0.5) / 1000) < 0.1 for i in range(1000)]
    assert sum(low) / 1000 == pytest.approx(math.log(0.1 / 0.01) / math.log(1.01 / 0.01), abs=0.01)
    assert tenth.to_dict() == {"type": "uniform", "low": 0.0, "high": 1.0, "step": 0.1}
    with pytest.raises(InvalidSpace, match="at most 1000000 values for a grid"):
        Uniform(0, 1, 1e-9).grid(5)


def test_normals_are_normal() -> None:
    normal, lognormal = Normal(3, 2), LogNormal(-1, 0.5)
    assert normal.from_unit(0.5) == 3.0
    assert normal.from_unit(0.9) == NormalDist(3, 2).inv_cdf(0.9)
    assert lognormal.from_unit(0.9) == math.exp(NormalDist(-1, 0.5).inv_cdf(0.9))
    assert all(math.isfinite(parameter.from_unit(u)) for parameter in (normal, lognormal) for u in UNITS)
    assert normal.from_unit(0.0) < 3 - 8 * 2
    assert normal.to_unit(normal.from_unit(0.2)) == pytest.approx(0.2)
    assert lognormal.to_unit(lognormal.from_unit(0.2)) == pytest.approx(0.2)
    assert normal.contains(-1e9)
    assert not normal.contains(math.inf)
    assert not lognormal.contains(0.0)
    assert normal.grid(2) == [normal.from_unit(0.25), normal.from_unit(0.75)]
    assert (normal.size, lognormal.size) == (None, None)
    for parameter in (normal, lognormal):
        assert pickle.loads(pickle.dumps(parameter)) == parameter
        assert SearchSpace.from_dict({"x": parameter.to_dict()}).parameters["x"] == parameter


@pytest.mark.parametrize(
    "parameter", [Choice(["a", 1, None]), IntRange(-5, 20, 3), IntRange(0, 10**30), Uniform(-1, 1, 0.5)]
)
def test_a_countable_value_goes_to_the_middle_of_its_part(parameter: Any) -> None:
    for index in (0, 1, parameter.size // 2, parameter.size - 1):
        value = parameter.at(index)
        assert parameter.index(value) == index
        assert parameter.to_unit(value) == pytest.approx((index + 0.5) / parameter.size)


def test_other_ways_to_write_a_parameter() -> None:
    space = SearchSpace.from_dict({"epochs": 3, "name": "x", "size": {"type": "ordinal", "options": [1, 4]}})
    assert space.parameters["epochs"] == Choice([3])
    assert space.from_unit([0.1, 0.9, 0.9]) == {"epochs": 3, "name": "x", "size": 4}
    assert space.parameters["size"] == Choice([1, 4], ordered=True)
    assert space.to_dict()["size"] == {"type": "choice", "options": [1, 4], "ordered": True}
    assert Choice([1, 4]) != Choice([1, 4], ordered=True)


# Conditions, forbidden points, pairs

SGD = SearchSpace(
    {
        "nesterov": Choice([True, False], when="momentum > 0.5"),
        "optimizer": Choice(["adam", "sgd"]),
        "momentum": Uniform(0.0, 1.0, when="optimizer == 'sgd'"),
    }
)


def test_a_point_has_the_active_parameters_in_declared_order() -> None:
    assert SGD.from_unit([0.0, 0.9, 0.75]) == {"nesterov": True, "optimizer": "sgd", "momentum": 0.75}
    assert list(SGD.from_unit([0.0, 0.9, 0.75])) == ["nesterov", "optimizer", "momentum"]
    assert SGD.from_unit([0.0, 0.9, 0.25]) == {"optimizer": "sgd", "momentum": 0.25}
    assert SGD.from_unit([0.0, 0.1, 0.75]) == {"optimizer": "adam"}
    assert SGD.to_unit({"optimizer": "adam"}) == [None, 0.25, None]
    assert SGD.to_unit({"nesterov": True, "optimizer": "sgd", "momentum": 0.75}) == [0.25, 0.75, 0.75]
    assert SGD.has_conditions
    assert not SearchSpace({"a": Choice([1])}).has_conditions


def test_a_point_is_inside_with_exactly_its_active_parameters() -> None:
    assert SGD.contains({"optimizer": "adam"})
    assert SGD.contains({"momentum": 0.25, "optimizer": "sgd"})
    for params in (
        {"optimizer": "sgd"},
        {"optimizer": "adam", "momentum": 0.25},
        {"optimizer": "sgd", "momentum": 0.25, "nesterov": True},
        {"optimizer": "sgd", "momentum": 0.75},
        {"optimizer": "rmsprop"},
        {"optimizer": "adam", "beta": 1},
        {},
    ):
        assert not SGD.contains(params)


def test_an_expression_over_an_inactive_parameter_is_false() -> None:
    parameters = {"a": Choice([0, 1]), "b": Choice([0, 1], when="a == 1"), "c": Choice([0], when="not b == 1")}
    space = SearchSpace(parameters, forbid=["b != 1"])
    assert [tuple(params.items()) for params in space.grid(2)] == [(("a", 0),), (("a", 1), ("b", 1))]


def test_forbidden_points_are_neither_feasible_nor_inside() -> None:
    space = SearchSpace({"tp": Choice([1, 2, 4, 8]), "pp": IntRange(1, 9)}, forbid=["tp * pp > 8"])
    assert space.from_unit([0.9, 0.9]) == {"tp": 8, "pp": 8}
    assert not space.is_feasible({"tp": 8, "pp": 8})
    assert not space.contains({"tp": 8, "pp": 8})
    assert space.contains({"tp": 8, "pp": 1})
    assert space.count(100) == 8 + 4 + 2 + 1
    assert space.count(14) is None
    assert all(params["tp"] * params["pp"] <= 8 for params in space.sample(Random(0), 200))  # type: ignore[operator]


def test_zipped_parameters_share_a_coordinate() -> None:
    space = SearchSpace(
        {"width": Choice([64, 128, 256]), "lr": Uniform(0, 1), "depth": IntRange(2, 1000, 400, log=True)},
        zip=[["depth", "width"]],
    )
    assert space.axes == (("width", "depth"), ("lr",))
    assert (len(space), space.dimensions, space.zip) == (2, 2, (("width", "depth"),))
    pairs = [(64, 2), (128, 402), (256, 802)]
    assert [tuple(space.from_unit([u, 0.5])[name] for name in ("width", "depth")) for u in (0.1, 0.5, 0.9)] == pairs
    assert space.to_unit({"width": 128, "lr": 0.25, "depth": 402}) == [0.5, 0.25]
    assert space.contains({"width": 128, "lr": 0.25, "depth": 402})
    assert not space.contains({"width": 128, "lr": 0.25, "depth": 802})
    assert [(p["width"], p["depth"]) for p in space.grid(2)] == [pair for pair in pairs for _ in (0, 1)]
    with pytest.raises(InvalidSpace, match="must have 2 coordinates"):
        space.from_unit([0.1, 0.2, 0.3])


def test_counts() -> None:
    assert SearchSpace({"a": Choice([1, 2]), "b": IntRange(0, 10**12)}).count(10**13) == 2 * 10**12
    assert SearchSpace({"a": Choice([1, 2]), "b": Uniform(0, 1)}).count(10**9) is None
    assert SearchSpace({"a": Choice([1, 2]), "b": Uniform(0, 1, 0.5)}).count(6) == 6
    assert SearchSpace({"a": Choice([1, 2]), "b": IntRange(0, 9, when="a == 1")}).count(10**9) == 10
    large = SearchSpace({"a": IntRange(0, 10**5), "b": IntRange(0, 10**5)}, forbid=["a * b >= 0"])
    assert large.count(10) is None
    hidden = SearchSpace({f"p{i}": Choice([0, 1]) for i in range(40)}, forbid=["p39 == 0"])
    assert hidden.count(10**6) is None
    assert len(hidden.sample(Random(0), 3)) == 3


def test_the_last_feasible_points_are_found() -> None:
    space = SearchSpace({"a": IntRange(0, 300), "b": IntRange(0, 300)}, forbid=["a != 7 or b < 298"])
    assert space.count(10) == 2
    assert {params["b"] for params in space.sample(Random(0), 20)} == {298, 299}
    points = ([u, 0.5] for u in itertools.repeat(0.99, 501))
    assert list(space.feasible(points)) == [{"a": 7, "b": 299}]


def test_an_empty_space_is_refused() -> None:
    for parameters, message in (
        ({"a": Choice([1, 2])}, "none of its points is; loosen `a > 0`"),
        ({"a": Uniform(1, 2)}, "none of 20000 points in a row is; loosen `a > 0`"),
    ):
        with pytest.raises(InvalidSpace, match=message):
            SearchSpace(parameters, forbid=["a > 0"]).refuse_empty()
    SearchSpace({"a": Choice([1, 2])}, forbid=["a > 1"]).refuse_empty()


def test_rules_are_part_of_a_space() -> None:
    parameters = {"a": Choice([1, 2]), "b": Choice([3, 4])}
    made = [
        SearchSpace(parameters),
        SearchSpace(parameters, ["a > 1"]),
        SearchSpace(parameters, ["a > 2"]),
        SearchSpace(parameters, zip=[["a", "b"]]),
        SearchSpace({**parameters, "b": Choice([3, 4], when="a == 1")}),
    ]
    assert len(set(made)) == len(made)
    for space in made:
        form = json.loads(json.dumps([space.to_dict(), space.forbid, space.zip]))
        assert SearchSpace.from_dict(form[0], "space", form[1], form[2]) == space
        study = {"space": form[0], "parameters": space.names, "forbid": form[1], "zip": form[2]}
        assert SearchSpace.from_study(study) == space
        assert pickle.loads(pickle.dumps(space)) == copy.deepcopy(space) == space
    assert "forbid=('a > 1',)" in repr(made[1])
    assert "zip=(('a', 'b'),)" in repr(made[3])
    assert SearchSpace.from_study({"space": made[0].to_dict(), "parameters": ["b", "a"]}).names == ["b", "a"]


AB = {"alpha": [1, 2], "beta": {"type": "int", "low": 0, "high": 3}, "rate": {"type": "uniform", "low": 0, "high": 1}}
RULE_MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"forbid": ["alpa > 1"]}, "s.yaml: `forbid`: `alpa > 1` must name parameters, got 'alpa', which is none; did you"),
    ({"forbid": ["alpha == fast"]}, "got 'fast', which is none; quote it if it is a value: 'fast'"),
    ({"forbid": ["alpha == true"]}, "got 'true', which is none; did you mean 'True'?"),
    ({"forbid": ["1 > 2"]}, "s.yaml: `forbid`: `1 > 2` must name at least one parameter; known: alpha, beta, rate"),
    ({"forbid": "alpha > 1"}, "s.yaml: `forbid` must be a list of expressions, got 'alpha > 1'"),
    ({"forbid": [5]}, "s.yaml: `forbid` must be an expression of 1 to 1000 characters, got 5"),
    ({"forbid": ["alpha >"]}, "s.yaml: `forbid` must be an expression such as"),
    ({"forbid": ["alpha.real"]}, "s.yaml: `forbid`: `alpha.real` must not use 'alpha.real'"),
    ({"zip": [["alpha", "beta"]]}, "must pair two or more parameters with equally many values, got alpha with 2, beta"),
    (
        {"zip": [["alpha", "bata"]]},
        "s.yaml: `zip` must name parameters, got 'bata'; did you mean 'beta'?; known: alpha",
    ),
    ({"zip": [["alpha"]]}, "s.yaml: `zip` must pair two or more parameters with equally many values, got alpha with 2"),
    ({"zip": [[]]}, "s.yaml: `zip` must pair two or more parameters with equally many values, got none"),
    ({"zip": [["alpha", "alpha"]]}, "s.yaml: `zip` must name a parameter once, got 'alpha' twice; remove one"),
    ({"zip": [["alpha", "rate"]]}, "so they must be countable, but rate is a uniform; give it a `step`"),
    ({"zip": ["alpha"]}, "s.yaml: `zip` must be a list of lists of names, got 'alpha' in it"),
    ({"zip": "alpha"}, "s.yaml: `zip` must be a list of lists of names, got 'alpha'"),
]


@pytest.mark.parametrize(("rules", "message"), RULE_MISTAKES, ids=range(len(RULE_MISTAKES)))
def test_every_mistake_in_a_rule_is_one_sentence(rules: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        SearchSpace.from_dict(AB, "s.yaml: space", **rules)
    assert message in str(caught.value)
    assert str(caught.value).startswith("s.yaml: `")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("when", "message"),
    [
        ({"a": "a == 1"}, "space: conditions must not go in a circle, got a -> a; remove one `when` of these"),
        ({"a": "c == 1", "b": "a == 1", "c": "b == 1"}, "must not go in a circle, got a -> c -> b -> a;"),
        ({"a": "d == 1"}, "space: a: `when`: `d == 1` must name parameters, got 'd', which is none"),
        ({"b": "a = 1"}, "space: b: `when` must be an expression such as"),
    ],
)
def test_every_mistake_in_a_condition_is_one_sentence(when: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        SearchSpace({name: Choice([1, 2], when=when.get(name)) for name in "abc"})
    assert message in str(caught.value)


def test_an_expression_that_makes_no_sense_at_some_point_says_where() -> None:
    space = SearchSpace.from_dict({"tp": [0, 1], "pp": [4]}, "s.yaml: space", ["pp / tp > 2"])
    with pytest.raises(InvalidExpression, match=r"s.yaml: `forbid`: .* with pp=4, tp=0 there is ZeroDivisionError"):
        list(space.grid(2))
