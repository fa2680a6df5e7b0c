"""The built-in searchers, and how a searcher is named and loaded."""

from __future__ import annotations

import itertools
import sys
import textwrap
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import autotune.algorithms
from autotune.algorithms import BUILTIN, load_searcher, searcher_name, searcher_options
from autotune.algorithms.grid import GridSearch
from autotune.algorithms.lhs import LatinHypercubeSearch
from autotune.algorithms.random import RandomSearch
from autotune.algorithms.sobol import SobolSearch
from autotune.errors import InvalidSpace, InvalidStudy
from autotune.spaces import Choice, IntRange, Params, SearchSpace, Uniform

SQUARE = SearchSpace({"x": Uniform(0, 1), "y": Uniform(0, 1)})
OTHER = SearchSpace({"z": Uniform(0, 1)})
STATIC = ["random", "grid", "sobol", "lhs"]
NAMES = ", ".join(BUILTIN)


def suggest(searcher: Any, space: SearchSpace, max_trials: int, seed: int = 1) -> list[Params]:
    searcher.reset(space, seed)
    return list(searcher.suggestions(space, max_trials))


@pytest.mark.parametrize(
    ("name", "cls"),
    [("random", RandomSearch), ("grid", GridSearch), ("sobol", SobolSearch), ("lhs", LatinHypercubeSearch)],
)
def test_builtin_names(name: str, cls: type[Any]) -> None:
    searcher = load_searcher(name)
    assert type(searcher) is cls
    assert searcher_name(searcher) == name
    assert load_searcher(name, {"seed": 7}).seed == 7  # type: ignore[attr-defined]
    assert cls(seed=7) == cls(seed=7)


def test_flags_say_what_a_plan_may_rely_on() -> None:
    classes = (RandomSearch, GridSearch, SobolSearch, LatinHypercubeSearch)
    assert [cls.prefix_stable for cls in classes] == [True, True, True, False]
    assert [cls.uses_seed for cls in classes] == [True, False, True, True]


def test_random_is_the_sequence_that_python_guarantees() -> None:
    first, second = suggest(RandomSearch(), SQUARE, 2, seed=1337)
    assert first == {"x": 0.6177528569514706, "y": 0.5332655736050008}
    assert second == {"x": 0.36584835924937553, "y": 0.5857873539022715}


def test_grid_is_row_major_and_ends() -> None:
    space = SearchSpace({"x": Uniform(0, 1), "n": IntRange(1, 3), "c": Choice(["a", "b"])})
    given = suggest(GridSearch(grid_points=2), space, 100)
    assert [tuple(params.values()) for params in given] == [
        (0.0, 1, "a"),
        (0.0, 1, "b"),
        (0.0, 2, "a"),
        (0.0, 2, "b"),
        (1.0, 1, "a"),
        (1.0, 1, "b"),
        (1.0, 2, "a"),
        (1.0, 2, "b"),
    ]


def test_grid_says_when_it_is_cut() -> None:
    searcher = GridSearch()
    searcher.reset(SQUARE, 0)
    with pytest.warns(UserWarning, match=r"the grid has 25 points, of which max_trials=10 takes the first;"):
        assert len(list(searcher.suggestions(SQUARE, 10))) == 10
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(list(searcher.suggestions(SQUARE, 25))) == 25


def test_grid_of_a_range_too_large_is_refused_at_once() -> None:
    space = SearchSpace({"n": IntRange(0, 10**15)})
    searcher = GridSearch()
    searcher.reset(space, 0)
    with (
        pytest.warns(UserWarning, match="the grid has"),
        pytest.raises(InvalidSpace, match="use a larger step, or the searcher"),
    ):
        searcher.suggestions(space, 3)


@pytest.mark.parametrize("points", [1, 0, -3, 2.0, "5", True, None])
def test_grid_points(points: Any) -> None:
    with pytest.raises(InvalidStudy, match="`grid_points` must be an integer of at least 2, got"):
        GridSearch(grid_points=points)


MESH = SearchSpace(
    {"tp": Choice([1, 2, 4]), "pp": IntRange(1, 5), "x": Uniform(0, 1), "y": Uniform(0, 1, when="tp == 4")},
    forbid=["tp * pp > 4", "x > 0.5"],
)


@pytest.mark.parametrize("name", ["random", "sobol"])
def test_forbidden_points_are_skipped_and_the_others_stay(name: str) -> None:
    free = SearchSpace(dict(MESH.parameters))
    all_points = suggest(load_searcher(name), free, 600)
    expected = [params for params in all_points if MESH.is_feasible(params)]
    given = suggest(load_searcher(name), MESH, 60)
    assert given == expected[:60]
    assert len(expected) < 300
    assert given[:7] == suggest(load_searcher(name), MESH, 7)


def test_lhs_fills_up_what_is_forbidden() -> None:
    given = suggest(LatinHypercubeSearch(), MESH, 50)
    first = suggest(LatinHypercubeSearch(), SearchSpace(dict(MESH.parameters)), 50)
    kept = [params for params in first if MESH.is_feasible(params)]
    assert len(given) == 50 > len(kept)
    assert given[: len(kept)] == kept
    assert all(map(MESH.contains, given))


def test_grid_drops_what_is_forbidden_or_the_same() -> None:
    given = suggest(GridSearch(grid_points=3), MESH, 100)
    pairs = [(tp, pp) for tp in (1, 2, 4) for pp in (1, 2, 3, 4) if tp * pp <= 4]
    assert [tuple(params.values()) for params in given] == [
        (tp, pp, x, *y) for tp, pp in pairs for x in (0.0, 0.5) for y in ([(0.0,), (0.5,), (1.0,)] if tp == 4 else [()])
    ]
    searcher = GridSearch(grid_points=3)
    searcher.reset(MESH, 0)
    with pytest.warns(UserWarning, match="the grid has more than 5 points, at most 108, of which max_trials=5 takes"):
        assert list(searcher.suggestions(MESH, 5)) == given[:5]


def test_a_grid_all_of_whose_points_are_forbidden_is_refused() -> None:
    space = SearchSpace({"x": Uniform(0, 1)}, forbid=["x == 0 or x == 0.5 or x == 1"])
    with pytest.raises(InvalidStudy, match="the grid must have a feasible point, got none of at most 3; raise grid_"):
        suggest(GridSearch(grid_points=3), space, 5)


@pytest.mark.parametrize("name", ["random", "sobol", "lhs"])
def test_a_space_without_feasible_points_is_refused(name: str) -> None:
    with pytest.raises(InvalidSpace, match="a space must have feasible points, but none of 20000 points in a row is"):
        suggest(load_searcher(name), SearchSpace({"x": Uniform(1, 2)}, forbid=["x > 0"]), 1)


def test_sobol_is_balanced_and_silent_at_any_length() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        given = suggest(SobolSearch(), SQUARE, 3000)
    for start in (0, 1024, 2048 - 256):  # every block of 2^k points at a multiple of 2^k
        cells = {(int(p["x"] * 16), int(p["y"] * 16)) for p in given[start : start + 256]}  # type: ignore[operator, arg-type]
        assert len(cells) == 256
    assert given[:1000] == suggest(SobolSearch(), SQUARE, 1000)
    assert given[:1] == suggest(SobolSearch(), SQUARE, 1)


def test_sobol_is_what_scipy_draws() -> None:
    from scipy.stats.qmc import Sobol

    expected = Sobol(2, scramble=True, rng=5).random_base2(11).tolist()
    assert [list(params.values()) for params in suggest(SobolSearch(), SQUARE, 2048, seed=5)] == expected


@pytest.mark.parametrize("trials", [1, 7, 2500])
def test_lhs_has_one_point_in_each_part_of_each_range(trials: int) -> None:
    given = suggest(LatinHypercubeSearch(), SQUARE, trials)
    for name in SQUARE.names:
        assert sorted(int(p[name] * trials) for p in given) == list(range(trials))  # type: ignore[operator, arg-type]


def test_first_draws_of_one_seed_stay_what_they_were() -> None:
    """A plan made again after an upgrade must be the same; a change here breaks studies that are under way."""
    golden = {
        "sobol": [[0.7857947843149304, 0.6125270677730441], [0.032102531753480434, 0.4335428159683943]],
        "lhs": [[0.8198792981016059, 0.767890569812111], [0.015852764258114993, 0.3488454866041039]],
    }
    for name, points in golden.items():
        assert [list(p.values()) for p in suggest(load_searcher(name), SQUARE, 2, seed=1337)] == points


@pytest.mark.parametrize("name", STATIC)
def test_suggestions_need_a_reset_on_the_same_space(name: str) -> None:
    searcher = load_searcher(name)
    with pytest.raises(InvalidStudy, match=r"`reset\(space, seed\)` must be called before"):
        searcher.suggestions(SQUARE, 3)
    searcher.reset(OTHER, 1)
    with pytest.raises(InvalidStudy, match="got one with x, y after z; call `reset` first"):
        searcher.suggestions(SQUARE, 3)
    equal = SearchSpace(dict(OTHER.parameters))
    assert len(list(itertools.islice(searcher.suggestions(equal, 5), 3))) == 3


@pytest.mark.parametrize("name", STATIC)
@pytest.mark.parametrize("seed", [-1, 1.0, "1", True])
def test_seeds_are_integers_from_zero(name: str, seed: Any) -> None:
    with pytest.raises(InvalidStudy, match="`seed` must be an integer of at least 0"):
        load_searcher(name, {"seed": seed})
    with pytest.raises(InvalidStudy, match="`seed` must be an integer of at least 0"):
        load_searcher(name).reset(SQUARE, seed)


@dataclass
class Mine:
    """A searcher of a third party."""

    width: int = 3
    tags: tuple[str, ...] = ()
    seed: int | None = None
    state: int = field(default=0, init=False)

    def reset(self, space: SearchSpace, seed: int) -> None: ...
    def suggestions(self, space: SearchSpace, max_trials: int) -> Any: ...


class Plain:
    def reset(self, space: SearchSpace, seed: int) -> None: ...
    def suggestions(self, space: SearchSpace, max_trials: int) -> Any: ...


def test_options_identify_a_searcher_without_its_seed() -> None:
    assert searcher_options(GridSearch(grid_points=7, seed=3)) == {"grid_points": 7}
    assert searcher_options(RandomSearch(seed=3)) == {}
    assert searcher_options(Mine(width=4, tags=("a",))) == {"width": 4, "tags": ["a"]}
    assert searcher_options(Plain()) == {}
    assert searcher_name(Mine()) == f"{__name__}:Mine"
    with pytest.raises(
        InvalidStudy, match=r"the option `width` of the searcher .*Mine must be a JSON value, got \{1\}"
    ):
        searcher_options(Mine(width={1}))  # type: ignore[arg-type]


@pytest.mark.parametrize("searcher", [GridSearch(grid_points=9), SobolSearch()])
def test_name_and_options_make_an_equal_searcher(searcher: Any) -> None:
    assert load_searcher(searcher_name(searcher), searcher_options(searcher)) == searcher


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Write a third party's module and put it on the path."""
    text = """
        import autotune.errors

        class Search:
            def __init__(self, width=1): self.width = width
            def reset(self, space, seed): ...
            def suggestions(self, space, max_trials): return iter(())
            class Inner:
                def reset(self, space, seed): ...
                def suggestions(self, space, max_trials): return iter(())
        class NoReset:
            def suggestions(self, space, max_trials): ...
        class NoSuggestions:
            def reset(self, space, seed): ...
        class Picky(Search):
            def __init__(self, width): raise ValueError("too wide")
        class Polite(Search):
            def __init__(self): raise autotune.errors.InvalidStudy("mine must be so")
        def function(): ...
        number = 5
    """
    (tmp_path / "third_party_search.py").write_text(textwrap.dedent(text))
    (tmp_path / "third_party_broken.py").write_text("import a_module_that_is_not_there\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "third_party_search", raising=False)
    return "third_party_search"


def test_a_class_by_its_path(module: str) -> None:
    searcher = load_searcher(f"{module}:Search", {"width": 5})
    assert searcher.width == 5  # type: ignore[attr-defined]
    assert searcher_name(searcher) == f"{module}:Search"
    assert searcher_name(load_searcher(f"{module}:Search.Inner")) == f"{module}:Search.Inner"
    assert load_searcher("autotune.algorithms.grid:GridSearch", {"grid_points": 3}) == GridSearch(3)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("third_party_search:Serch", "must be a class in third_party_search, got none; did you mean 'Search'?"),
        ("third_party_search:zzz", "got none; its classes are Search, NoReset"),
        ("third_party_search:function", "must be a class, got <function"),
        ("third_party_search:number", "must be a class, got 5; name the class itself"),
        ("third_party_search:NoReset", "must have the methods reset and suggestions, got no reset"),
        ("third_party_search:NoSuggestions", "must have the methods reset and suggestions, got no suggestions"),
        ("third_party_search:Picky", "must be given options that it takes (width): missing a required argument"),
        ("third_party_search:Polite", "mine must be so"),
        ("third_party_broken:X", "got ModuleNotFoundError: No module named 'a_module_that_is_not_there'; install it"),
        ("no_such_module_here:X", "must be importable from no_such_module_here, got ModuleNotFoundError"),
        (":X", "must be named as package.module:Class, got ':X'"),
        ("x:", "must be named as package.module:Class, got 'x:'"),
        ("sobl", f"the searcher must be one of {NAMES}, or package.module:Class, got 'sobl'; did you"),
        ("", "the searcher must be one of random, grid, sobol, lhs"),
    ],
)
def test_what_cannot_be_loaded_is_said_in_a_sentence(module: str, name: str, message: str) -> None:
    with pytest.raises(InvalidStudy) as caught:
        load_searcher(name)
    assert message in str(caught.value)


def test_options_that_it_does_not_take(module: str) -> None:
    with pytest.raises(
        InvalidStudy, match=r"the searcher grid must be given options that it takes \(grid_points, seed\)"
    ):
        load_searcher("grid", {"points": 3})
    with pytest.raises(InvalidStudy, match=r"must accept its options, got \{'width': 9\}: too wide"):
        load_searcher(f"{module}:Picky", {"width": 9})


def install(folder: Path, name: str, *lines: str) -> None:
    """Write what pip leaves of a package that declares searchers."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[autotune.searchers]\n" + "\n".join(lines) + "\n")


def test_entry_points(module: str, tmp_path: Path) -> None:
    install(tmp_path, "alpha", f"evolve = {module}:Search", "broken = third_party_broken:X", "grid = nowhere:Grid")
    assert load_searcher("evolve", {"width": 2}).width == 2  # type: ignore[attr-defined]
    assert searcher_name(load_searcher("evolve")) == f"{module}:Search"
    assert type(load_searcher("grid")) is GridSearch, "a built-in name cannot be taken over"
    with pytest.raises(InvalidStudy, match="the searcher broken must be importable from third_party_broken"):
        load_searcher("broken")
    with pytest.raises(InvalidStudy, match=r"lhs, .*broken, evolve, grid, or .*got 'evolvee'; did you mean 'evolve'\?"):
        load_searcher("evolvee")


def test_two_packages_with_one_name(module: str, tmp_path: Path) -> None:
    install(tmp_path, "alpha", f"evolve = {module}:Search")
    install(tmp_path, "beta", f"evolve = {module}:Search.Inner")
    with pytest.raises(InvalidStudy, match="must be one class, got third_party_search:Search, third_party_search:Sea"):
        load_searcher("evolve")


def test_entry_points_are_looked_at_only_on_a_miss(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    def refuse() -> None:
        raise AssertionError("the entry points were read")

    monkeypatch.setattr(autotune.algorithms, "_entry_points", refuse)
    load_searcher("random")
    load_searcher(f"{module}:Search")
    with pytest.raises(AssertionError, match="were read"):
        load_searcher("elsewhere")
