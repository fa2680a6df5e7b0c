"""The contract of a searcher as a pytest class, for the searchers of this package and of any other.

    from autotune.testing import SearcherContract

    class TestMySearch(SearcherContract):
        def make_searcher(self):
            return MySearch()

The class must stand at the top level of its file: one test runs the searcher again in a fresh process.
"""

from __future__ import annotations

import importlib.util
import itertools
import operator
import os
import subprocess
import sys
import warnings
from pathlib import Path

from autotune.algorithms import Searcher
from autotune.spaces import SCALAR_TYPES, Choice, IntRange, LogUniform, Params, SearchSpace, Uniform

SEED = 1337
OTHER_SEED = 1338
TRIALS = 24
MIXED = SearchSpace(
    {
        "lr": LogUniform(1e-5, 5e-3),
        "dropout": Uniform(-0.5, 0.5),
        "hidden": IntRange(128, 513, 128),
        "optimizer": Choice(["adam", "sgd", None]),
        "fused": Choice([True, False]),
        "scale": Choice([1, 1.5]),
    }
)
ONE_POINT = SearchSpace({"only": Choice(["value"]), "number": IntRange(7, 8)})
TWO_POINTS = SearchSpace({"flag": Choice([True, False])})
SPACES = {
    "mixed": MIXED,
    "one point": ONE_POINT,
    "two points": TWO_POINTS,
    "log floats": SearchSpace({"lr": LogUniform(1e-5, 1e-1)}),
    "floats": SearchSpace({"a": Uniform(-1.0, 1.0), "b": Uniform(0.1, 0.3)}),
    "large integers": SearchSpace({"big": IntRange(2**60, 2**60 + 5, 2), "negative": IntRange(-5, 0)}),
}


class SearcherContract:
    """What every searcher must do; override `make_searcher`, and rename nothing else.

    ``prefix_stable`` and ``uses_seed`` are read from the searcher; without them they are taken as False and True.
    """

    def make_searcher(self) -> Searcher:
        """Return a fresh searcher, configured but not reset."""
        raise NotImplementedError("a subclass of SearcherContract must override make_searcher")

    def test_gives_some_and_at_most_max_trials(self) -> None:
        for label, space in SPACES.items():
            for max_trials in (1, 2, 3, TRIALS):
                given = len(self._suggest(space, max_trials=max_trials))
                assert 1 <= given <= max_trials, (
                    f"{label}: there must be 1 to max_trials={max_trials} suggestions, got "
                    + (f"{given}" if given <= max_trials else f"{given} or more")
                )

    def test_gives_nothing_for_no_trials(self) -> None:
        given = self._suggest(MIXED, max_trials=0)
        assert given == [], f"max_trials=0 must give no suggestion, got {given}"

    def test_stays_in_the_space(self) -> None:
        for label, space in SPACES.items():
            for seed in (0, SEED, 2**40):
                for number, params in enumerate(self._suggest(space, seed=seed)):
                    assert isinstance(params, dict), f"{label}: suggestion {number} must be a dict, got {params!r}"
                    assert params.keys() == space.parameters.keys(), (
                        f"{label}: suggestion {number} must have the keys {space.names}, got {list(params)}"
                    )
                    for name, parameter in space.parameters.items():
                        value = _python_value(params[name])
                        assert parameter.contains(value), (
                            f"{label}, seed {seed}: suggestion {number} must have {name} in {parameter}, got {value!r}"
                        )

    def test_gives_plain_json_values(self) -> None:
        for label, space in SPACES.items():
            for number, params in enumerate(self._suggest(space)):
                for name, value in params.items():
                    assert type(value) in SCALAR_TYPES, (
                        f"{label}: suggestion {number} must have a plain str, int, float, bool or None as {name}, "
                        f"got {value!r} of {type(value).__module__}.{type(value).__name__}; convert it, as .item() does"
                    )

    def test_same_seed_gives_the_same(self) -> None:
        for label, space in SPACES.items():
            _check_same(self._suggest(space), self._suggest(space), f"{label}: two fresh searchers with the same seed")

    def test_two_searchers_leave_each_other_alone(self) -> None:
        alone = self._suggest(MIXED)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            searchers = [self.make_searcher(), self.make_searcher()]
            for searcher, seed in zip(searchers, (SEED, OTHER_SEED), strict=True):
                searcher.reset(MIXED, seed)
            pairs = itertools.zip_longest(*(searcher.suggestions(MIXED, TRIALS) for searcher in searchers))
            beside = [first for first, _ in itertools.islice(pairs, TRIALS + 1)]
        _check_same(alone, beside[: len(alone)], "a searcher alone and beside another one")

    def test_same_seed_gives_the_same_in_another_process(self) -> None:
        here = [repr(params) for params in self._suggest(MIXED)]
        there = _replay_in_another_process(type(self))
        _check_same(here, there, "two processes with different PYTHONHASHSEED")

    def test_another_seed_gives_another_list(self) -> None:
        searcher = self.make_searcher()
        same = _draw(searcher, MIXED, SEED, TRIALS) == _draw(searcher, MIXED, OTHER_SEED, TRIALS)
        if getattr(searcher, "uses_seed", True):
            assert not same, (
                f"seeds {SEED} and {OTHER_SEED} must give different lists, got the same {TRIALS} suggestions; "
                "set `uses_seed = False` on a searcher that needs no seed"
            )
        else:
            assert same, "a searcher with `uses_seed = False` must give the same list for every seed, got another"

    def test_reset_starts_again(self) -> None:
        searcher = self.make_searcher()
        first = _draw(searcher, MIXED, SEED, TRIALS)
        _draw(searcher, TWO_POINTS, OTHER_SEED, 3)
        _check_same(first, _draw(searcher, MIXED, SEED, TRIALS), "suggestions before and after a second reset")

    def test_prefix_is_stable_where_it_says_so(self) -> None:
        if not getattr(self.make_searcher(), "prefix_stable", False):
            return
        for label, space in SPACES.items():
            longest = self._suggest(space, max_trials=TRIALS)
            for max_trials in (1, 3, 7, TRIALS - 1):
                shorter = self._suggest(space, max_trials=max_trials)
                _check_same(longest[:max_trials], shorter, f"{label}: the first {max_trials} of {TRIALS} trials")

    def _suggest(self, space: SearchSpace, *, seed: int = SEED, max_trials: int = TRIALS) -> list[Params]:
        return _draw(self.make_searcher(), space, seed, max_trials)


def _draw(searcher: Searcher, space: SearchSpace, seed: int, max_trials: int) -> list[Params]:
    """Return the suggestions, cut at one too many so that an endless searcher fails instead of hanging."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        searcher.reset(space, seed)
        return list(itertools.islice(searcher.suggestions(space, max_trials), max_trials + 1))


def _python_value(value: object) -> object:
    """Return a numpy scalar's value, so that its bounds and its type are judged by different tests."""
    item = getattr(value, "item", None)
    return item() if callable(item) else value


def _check_same(first: list[Params] | list[str], second: list[Params] | list[str], what: str) -> None:
    assert len(first) == len(second), f"{what} must give equally many suggestions, got {len(first)} and {len(second)}"
    for number, (a, b) in enumerate(zip(first, second, strict=True)):
        assert repr(a) == repr(b), f"{what} must give the same suggestion {number}, got {a} and {b}"


def _replay_in_another_process(contract: type[SearcherContract]) -> list[str]:
    """Return the reprs of the mixed space's suggestions as a fresh process makes them, with another hash seed."""
    file = sys.modules[contract.__module__].__file__
    assert file and "<locals>" not in contract.__qualname__, (
        f"{contract.__qualname__} must stand at the top level of a file, so that a fresh process can import it"
    )
    code = "import sys; from autotune.testing import _replay; _replay(sys.argv[1], sys.argv[2])"
    hash_seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
    done = subprocess.run(
        [sys.executable, "-c", code, file, contract.__qualname__],
        env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"the searcher must work in a fresh process, got:\n{done.stderr}"
    return done.stdout.splitlines()


def _replay(file: str, qualname: str) -> None:
    """Load a contract class by its file and print the suggestions of its searcher, one a line; runs in the child."""
    spec = importlib.util.spec_from_file_location("_autotune_searcher_contract", file)
    assert spec is not None and spec.loader is not None, f"{file} must be a Python file"
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their own module up
    spec.loader.exec_module(module)
    contract: SearcherContract = operator.attrgetter(qualname)(module)()
    for params in _draw(contract.make_searcher(), MIXED, SEED, TRIALS):
        sys.stdout.write(f"{params!r}\n")
