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
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from autotune.algorithms import Searcher
from autotune.files import canonical
from autotune.history import Observation, Proposal
from autotune.spaces import SCALAR_TYPES, Choice, IntRange, LogNormal, LogUniform, Normal, Params, SearchSpace, Uniform

SEED = 1337
OTHER_SEED = 1338
TRIALS = 24
ROUND = 4
_STATES = ("complete", "failed", "complete", "infeasible", "complete", "pruned", None)
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
CONDITIONAL = SearchSpace(
    {
        "optimizer": Choice(["adam", "sgd"]),
        "momentum": Uniform(0.0, 1.0, when="optimizer == 'sgd'"),
        "nesterov": Choice([True, False], when="momentum > 0.5"),
        "beta": LogUniform(1e-3, 0.5, when="optimizer == 'adam'"),
        "lr": LogUniform(1e-5, 1e-1),
    }
)
SPACES = {
    "mixed": MIXED,
    "one point": ONE_POINT,
    "two points": TWO_POINTS,
    "log floats": SearchSpace({"lr": LogUniform(1e-5, 1e-1)}),
    "floats": SearchSpace({"a": Uniform(-1.0, 1.0), "b": Uniform(0.1, 0.3)}),
    "large integers": SearchSpace({"big": IntRange(2**60, 2**60 + 5, 2), "negative": IntRange(-5, 0)}),
    "log integers": SearchSpace({"batch": IntRange(1, 1025, log=True), "rank": IntRange(4, 65, 4, log=True)}),
    "steps": SearchSpace({"a": Uniform(0.0, 1.0, 0.1), "b": LogUniform(0.01, 1.0, 0.01)}),
    "normal": SearchSpace({"a": Normal(0.0, 2.0), "b": LogNormal(-3.0, 1.0), "c": Choice([1, 2, 4], ordered=True)}),
    "conditional": CONDITIONAL,
    "constrained": SearchSpace(
        {"tp": Choice([1, 2, 4, 8]), "pp": IntRange(1, 9), "lr": Uniform(0.0, 1.0)},
        forbid=["tp * pp > 8", "lr > 0.9 and tp > 1"],
    ),
    "zipped": SearchSpace(
        {"width": Choice([64, 128, 256]), "depth": IntRange(2, 5), "heads": Choice([4, 8], when="width > 64")},
        forbid=["width == 256 and heads == 4"],
        zip=[["width", "depth"]],
    ),
    "one point of 64": SearchSpace({"a": IntRange(0, 8), "b": IntRange(0, 8)}, forbid=["a != 3 or b != 5"]),
}


class SearcherContract:
    """What every searcher must do; override `make_searcher`, and rename nothing else.

    The tests on proposals are for searchers that learn (`propose`), whose rounds may have any size; one that says what
    its rounds hold (`round_sizes`) has a test of its own.
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
                    fault = _fault(space, params)
                    assert not fault, f"{label}, seed {seed}: suggestion {number} must {fault}"

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
        here = _lines(self.make_searcher())
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

    def test_proposals_are_new_points_of_the_space(self) -> None:
        for label, space in SPACES.items():
            points = space.count(TRIALS) or TRIALS
            for known in sorted({0, min(9, points - 1)}):  # of a tiny space all but one
                self._check_proposals(space, _history(space, known), f"{label}, {known} trials known")

    def test_proposals_are_new_whatever_came_of_the_trials(self) -> None:
        for label, history in _odd_histories().items():
            self._check_proposals(CONDITIONAL, history, f"conditional, {label}")
        point: Params = {"flag": False}
        longer = [Observation(number, point, "complete", (1.0,), repeat=number) for number in range(5)]
        self._check_proposals(TWO_POINTS, longer, "two points, one of them tried five times")

    def test_proposals_depend_on_space_seed_and_history_alone(self) -> None:
        searcher = self.make_searcher()
        if not _learns(searcher):
            return
        for space in (MIXED, CONDITIONAL):
            first = _propose(searcher, space, _history(space, 9), ROUND)
            _propose(searcher, TWO_POINTS, _history(TWO_POINTS, 1), 1)
            again = _propose(searcher, space, _history(space, 9), ROUND)
            fresh = _propose(self.make_searcher(), space, _history(space, 9), ROUND)
            _check_same([*map(repr, first)], [*map(repr, again)], "proposals before and after another history")
            _check_same([*map(repr, first)], [*map(repr, fresh)], "the proposals of two searchers")

    def test_rungs_are_new_points_of_the_space_as_many_as_it_says(self) -> None:
        """For a searcher with ``round_sizes``: a study, round by round; in a tiny space it may end with a short one."""
        sizes_of = getattr(self.make_searcher(), "round_sizes", None)
        if not callable(sizes_of):
            return
        sizes = sizes_of(TRIALS, [])
        assert sizes and 1 <= sum(sizes) <= TRIALS, f"rounds must hold 1 to {TRIALS} trials, got {sizes}"
        assert sizes_of(2 * TRIALS, sizes)[: len(sizes)] == sizes, f"rounds of {sizes} must stay with more trials"
        for label, space in SPACES.items():
            history: list[Observation] = []
            for round_, size in enumerate(sizes):
                proposals = self._check_rung(space, history, size, f"{label}, round {round_}")
                if len(proposals) < size:
                    break
                history += _observe(proposals, len(history), round_)

    def _check_rung(self, space: SearchSpace, history: Sequence[Observation], size: int, what: str) -> list[Proposal]:
        """Return a round, checked."""
        searcher: Any = self.make_searcher()
        proposals = _propose(searcher, space, history, size)
        again = _propose(self.make_searcher(), space, history, size)
        _check_same([*map(repr, proposals)], [*map(repr, again)], f"{what}: the proposals of two searchers")
        as_said = len(proposals) == size or (len(proposals) < size and space.count(TRIALS) is not None)
        assert as_said, f"{what}: there must be {size} proposals, got {len(proposals)}"
        known = {_key(item) for item in history}
        bounds = getattr(searcher, "fidelity", {"min": -float("inf"), "max": float("inf")})
        for number, proposal in enumerate(proposals):
            fault = _fault(space, proposal.params) or _promotion_fault(proposal, history)
            assert not fault, f"{what}: proposal {number} must {fault}"
            plain = all(type(value) in SCALAR_TYPES for value in proposal.params.values())
            assert plain, f"{what}: proposal {number} must have plain JSON values, got {proposal.params}"
            inside = proposal.fidelity is None or bounds["min"] <= proposal.fidelity <= bounds["max"]
            assert inside, f"{what}: proposal {number} must have a fidelity in {bounds}, got {proposal.fidelity}"
            assert _key(proposal) not in known, f"{what}: proposal {number} must be new, got {proposal} again"
            known.add(_key(proposal))
        return proposals

    def _check_proposals(self, space: SearchSpace, history: Sequence[Observation], what: str) -> None:
        """Check a round; a finite space is asked for no more points than there are left."""
        known = {_key(item) for item in history}
        points = space.count(TRIALS)
        left = ROUND if points is None else min(ROUND, points - len({canonical(item.params) for item in history}))
        if left < 1 or not _learns(self.make_searcher()):
            return
        proposals = _propose(self.make_searcher(), space, history, left)
        assert len(proposals) == left, f"{what}: a round of {left} must have {left} proposals, got {len(proposals)}"
        for number, proposal in enumerate(proposals):
            fault = _fault(space, proposal.params)
            assert not fault, f"{what}: proposal {number} must {fault}"
            plain = all(type(value) in SCALAR_TYPES for value in proposal.params.values())
            assert plain, f"{what}: proposal {number} must have plain JSON values, got {proposal.params}"
            assert _key(proposal) not in known, f"{what}: proposal {number} must be new, got {proposal.params} again"
            known.add(_key(proposal))

    def _suggest(self, space: SearchSpace, *, seed: int = SEED, max_trials: int = TRIALS) -> list[Params]:
        return _draw(self.make_searcher(), space, seed, max_trials)


def _draw(searcher: Searcher, space: SearchSpace, seed: int, max_trials: int) -> list[Params]:
    """Return the suggestions, cut at one too many so that an endless searcher fails instead of hanging."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        searcher.reset(space, seed)
        return list(itertools.islice(searcher.suggestions(space, max_trials), max_trials + 1))


def _propose(searcher: Any, space: SearchSpace, history: Sequence[Observation], n: int) -> list[Proposal]:
    """Return a round, cut at one too many."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        searcher.reset(space, SEED)
        given = itertools.islice(searcher.propose(history, n), n + 1)
        return [item if isinstance(item, Proposal) else Proposal(item) for item in given]


def _learns(searcher: Any) -> bool:
    """Return whether to check rounds; one with ``round_sizes`` knows what each of its trials is for, so none fit it."""
    return callable(getattr(searcher, "propose", None)) and not callable(getattr(searcher, "round_sizes", None))


def _history(space: SearchSpace, trials: int, states: Sequence[str | None] = _STATES) -> list[Observation]:
    """Return trials at distinct points, their states in turn; in a small space fewer."""
    points = {canonical(params): params for params in space.sample(Random(SEED), 4 * trials)}
    return [
        Observation(number, params, state, (float(number % 3),) if state in ("complete", "pruned") else None)
        for number, params, state in zip(range(trials), points.values(), itertools.cycle(states), strict=False)
    ]


def _observe(proposals: Sequence[Proposal], first: int, round_: int) -> list[Observation]:
    """Return what came of a round's trials, their states in turn."""
    return [
        Observation(
            number, item.params, state, (float(number % 5),) if state in ("complete", "pruned") else None,
            round=round_, fidelity=item.fidelity,
        )
        for number, (item, state) in enumerate(zip(proposals, itertools.cycle(_STATES), strict=False), first)
    ]  # fmt: skip


def _promotion_fault(proposal: Proposal, history: Sequence[Observation]) -> str:
    """Return what the trial that this one goes on from must be and is not, or an empty string."""
    if proposal.parent is None:
        return ""
    parent = history[proposal.parent] if 0 <= proposal.parent < len(history) else None
    if parent is None or canonical(parent.params) != canonical(proposal.params) or not parent.is_feasible:
        return f"go on from a feasible trial of the same params, got {proposal} and {parent}"
    less = (parent.fidelity or 0) < (proposal.fidelity or 0)
    return "" if less else f"have more fidelity than its parent, got {proposal} and {parent}"


def _odd_histories() -> dict[str, list[Observation]]:
    """Return what a searcher may have to do with."""
    completed = _history(CONDITIONAL, 9, ["complete"])
    return {
        "all failed": _history(CONDITIONAL, 9, ["failed"]),
        "all infeasible": _history(CONDITIONAL, 9, ["infeasible"]),
        "all still running": _history(CONDITIONAL, 9, [None]),
        "all of one value": [replace(item, values=(1.0,)) for item in completed],
        "huge values": [replace(item, values=((-1.0) ** item.number * 3e38,)) for item in completed],
        "all against a constraint": [replace(item, violations=(1.0,)) for item in completed],
        "one complete, eight failed": completed[:1] + _history(CONDITIONAL, 9, ["failed"])[1:],
    }


def _key(item: Observation | Proposal) -> str:
    return canonical([item.params, item.fidelity, item.repeat])


def _fault(space: SearchSpace, params: Params) -> str:
    """Return what a point must do and does not, or an empty string."""
    if not params.keys() <= space.parameters.keys() or (not space.has_conditions and len(params) < len(space.names)):
        return f"have the keys {space.names}, got {list(params)}"
    values = {name: _python_value(value) for name, value in params.items()}
    for name, value in values.items():
        if not space.parameters[name].contains(value):
            return f"have {name} in {space.parameters[name]}, got {value!r}"
    if space.contains(values):
        return ""
    return f"have exactly the active parameters and not be forbidden, got {values}; see SearchSpace.feasible"


def _lines(searcher: Searcher) -> list[str]:
    """Return what the searcher gives on the mixed space, and what it proposes if it learns, for a comparison."""
    suggestions = [repr(params) for params in _draw(searcher, MIXED, SEED, TRIALS)]
    if not _learns(searcher):
        return suggestions
    return suggestions + [repr(proposal) for proposal in _propose(searcher, MIXED, _history(MIXED, 9), ROUND)]


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
    for line in _lines(contract.make_searcher()):
        sys.stdout.write(f"{line}\n")
