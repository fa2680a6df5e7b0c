"""Every searcher of the table, one of a third party, and searchers that break the contract on purpose."""

from __future__ import annotations

import inspect
import itertools
import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest

from autotune.algorithms import BUILTIN, Searcher, load_searcher
from autotune.files import canonical
from autotune.history import Observation, Proposal
from autotune.spaces import Params, SearchSpace
from autotune.testing import SearcherContract

EPOCHS = {"fidelity": {"name": "epochs", "min": 1, "max": 9, "eta": 3}}
OPTIONS = {"sha": EPOCHS, "hyperband": EPOCHS}


def contract_for(name: str) -> type[SearcherContract]:
    def make_searcher(self: SearcherContract) -> Searcher:
        return load_searcher(name, OPTIONS.get(name))

    return type(f"Test_{name}", (SearcherContract,), {"make_searcher": make_searcher, "__module__": __name__})


globals().update({f"Test_{name}": contract_for(name) for name in BUILTIN})


@dataclass
class Halton:
    """A third party's searcher: van der Corput's sequence in one prime base a dimension, shifted by the seed."""

    prefix_stable = True

    def reset(self, space: SearchSpace, seed: int) -> None:
        self.seed = seed

    def suggestions(self, space: SearchSpace, max_trials: int) -> Iterator[Params]:
        bases = (2, 3, 5, 7, 11, 13)[: len(space)]
        points = ([radical_inverse(index, base) for base in bases] for index in itertools.count(self.seed))
        return itertools.islice(space.feasible(points), max_trials)


def radical_inverse(index: int, base: int) -> float:
    value, weight = 0.0, 1.0 / base
    while index:
        index, digit = divmod(index, base)
        value, weight = value + digit * weight, weight / base
    return value


class TestThirdParty(SearcherContract):
    def make_searcher(self) -> Searcher:
        return Halton()


class Wrong:
    """Each subclass breaks the one thing that it is named after."""

    def __init__(self) -> None:
        self.inner = Halton()

    def reset(self, space: SearchSpace, seed: int) -> None:
        self.inner.reset(space, seed)

    def suggestions(self, space: SearchSpace, max_trials: int) -> Iterator[Any]:
        return self.inner.suggestions(space, max_trials)


class NumpyScalars(Wrong):
    def suggestions(self, space: SearchSpace, max_trials: int) -> Iterator[Any]:
        import numpy as np

        for params in self.inner.suggestions(space, max_trials):
            yield {name: np.float64(value) if type(value) is float else value for name, value in params.items()}


class OutOfBounds(Wrong):
    def suggestions(self, space: SearchSpace, max_trials: int) -> Iterator[Any]:
        for params in self.inner.suggestions(space, max_trials):
            yield {name: value + 5.0 if type(value) is float else value for name, value in params.items()}


class MissingKey(Wrong):
    def suggestions(self, space: SearchSpace, max_trials: int) -> Iterator[Any]:
        for params in self.inner.suggestions(space, max_trials):
            yield dict(list(params.items())[1:])


class GlobalRandom(Wrong):
    def suggestions(self, space: SearchSpace, max_trials: int) -> Iterator[Any]:
        for _ in range(max_trials):
            yield space.from_unit([random.random() for _ in range(len(space))])


class SeedsTheGlobalRandom(Wrong):
    def reset(self, space: SearchSpace, seed: int) -> None:
        random.seed(seed)

    def suggestions(self, space: SearchSpace, max_trials: int) -> Iterator[Any]:
        for _ in range(max_trials):
            yield space.from_unit([random.random() for _ in range(len(space))])


class HashOrder(Wrong):
    def reset(self, space: SearchSpace, seed: int) -> None:
        self.inner.reset(space, seed + hash("hash order") % 10_000_019)


class ProcessId(Wrong):
    def reset(self, space: SearchSpace, seed: int) -> None:
        self.inner.reset(space, seed + os.getpid())


class TooMany(Wrong):
    def suggestions(self, space: SearchSpace, max_trials: int) -> Iterator[Any]:
        return self.inner.suggestions(space, 10**9)


class Nothing(Wrong):
    def suggestions(self, space: SearchSpace, max_trials: int) -> Iterator[Any]:
        return iter(())


class IgnoresSeed(Wrong):
    def reset(self, space: SearchSpace, seed: int) -> None:
        self.inner.reset(space, 0)


class ClaimsNoSeed(Wrong):
    uses_seed = False


class IgnoresReset(Wrong):
    calls = 0

    def reset(self, space: SearchSpace, seed: int) -> None:
        self.calls += 1
        self.inner.reset(space, seed + self.calls)


class UnstablePrefix(Wrong):
    prefix_stable = True

    def suggestions(self, space: SearchSpace, max_trials: int) -> Iterator[Any]:
        return iter(list(self.inner.suggestions(space, max_trials))[::-1])


class Learner(Wrong):
    """Proposes random points that are news; each subclass breaks one thing."""

    def reset(self, space: SearchSpace, seed: int) -> None:
        super().reset(space, seed)
        self.space, self.seed = space, seed

    def propose(self, history: Sequence[Observation], n: int) -> list[Params]:
        known = {canonical(item.params) for item in history}
        chosen: dict[str, Params] = {}
        for params in self.points(len(history)):
            if canonical(params) not in known and len(chosen) < n:
                chosen[canonical(params)] = params
        return list(chosen.values())

    def points(self, known: int) -> list[Params]:
        return self.space.sample(random.Random(self.seed + known), 2000)


class GoodRungsContract(SearcherContract):
    def make_searcher(self) -> Searcher:
        return Rungs()


class GoodLearnerContract(SearcherContract):
    def make_searcher(self) -> Searcher:
        return Learner()


class Remembers(Learner):
    calls = 0

    def points(self, known: int) -> list[Params]:
        self.calls += 1
        return super().points(known + self.calls)


class RepeatsItself(Learner):
    def propose(self, history: Sequence[Observation], n: int) -> list[Params]:
        return super().propose(history, 1) * n


class RepeatsTheHistory(Learner):
    def propose(self, history: Sequence[Observation], n: int) -> list[Params]:
        return ([item.params for item in history] + super().propose(history, n))[:n]


class RunsOut(Learner):
    def propose(self, history: Sequence[Observation], n: int) -> list[Params]:
        return super().propose(history, n - 1)


class ForgetsConditions(Learner):
    def points(self, known: int) -> list[Params]:
        draw = random.Random(known).random
        return [{name: p.from_unit(draw()) for name, p in self.space.parameters.items()} for _ in range(100)]


class NeedsValues(Learner):
    def propose(self, history: Sequence[Observation], n: int) -> list[Params]:
        sorted(history, key=lambda item: item.values[0])  # type: ignore[index]
        return super().propose(history, n)


class Rungs(Learner):
    """Two rungs, the best of the first twice as long; each subclass breaks one thing."""

    def round_sizes(self, max_trials: int, old: Sequence[int]) -> list[int]:
        return [*old, 4, 2] if max_trials - sum(old) >= 6 else list(old)

    def propose(self, history: Sequence[Observation], n: int) -> list[Any]:
        if not history:
            return [Proposal(params, 1.0) for params in super().propose(history, n)]
        feasible = [item for item in history if item.is_feasible]
        return [Proposal(item.params, 2.0, parent=item.number) for item in feasible[:n]]


class RungsOfAnotherSize(Rungs):
    def propose(self, history: Sequence[Observation], n: int) -> list[Any]:
        return super().propose(history, n)[:3]


class RungsWithWrongParents(Rungs):
    def propose(self, history: Sequence[Observation], n: int) -> list[Any]:
        return [replace(item, parent=1) if history else item for item in super().propose(history, n)]


class RungsWithoutGain(Rungs):
    def propose(self, history: Sequence[Observation], n: int) -> list[Any]:
        return [replace(item, fidelity=1.0, repeat=1) if history else item for item in super().propose(history, n)]


class RungsBeyondTheMost(Rungs):
    fidelity: ClassVar[dict[str, float]] = {"min": 1, "max": 1.5}


class TooManyRungs(Rungs):
    def round_sizes(self, max_trials: int, old: Sequence[int]) -> list[int]:
        return [4] * max_trials


class NumpyScalarsContract(SearcherContract):
    def make_searcher(self) -> Searcher:
        return NumpyScalars()


class HashOrderContract(SearcherContract):
    def make_searcher(self) -> Searcher:
        return HashOrder()


class ProcessIdContract(SearcherContract):
    def make_searcher(self) -> Searcher:
        return ProcessId()


RUNGS = "test_rungs_are_new_points_of_the_space_as_many_as_it_says"
IN_PROCESS = [
    (NumpyScalars, "test_gives_plain_json_values", "plain str, int"),
    (OutOfBounds, "test_stays_in_the_space", "must have lr in LogUniform"),
    (MissingKey, "test_stays_in_the_space", "must have the keys"),
    (GlobalRandom, "test_same_seed_gives_the_same", "same seed must give the same suggestion 0"),
    (SeedsTheGlobalRandom, "test_two_searchers_leave_each_other_alone", "beside another one"),
    (TooMany, "test_gives_some_and_at_most_max_trials", "got 2 or more"),
    (TooMany, "test_gives_nothing_for_no_trials", "max_trials=0"),
    (Nothing, "test_gives_some_and_at_most_max_trials", "got 0"),
    (IgnoresSeed, "test_another_seed_gives_another_list", "must give different lists"),
    (ClaimsNoSeed, "test_another_seed_gives_another_list", "same list for every seed"),
    (IgnoresReset, "test_reset_starts_again", "second reset"),
    (Remembers, "test_proposals_depend_on_space_seed_and_history_alone", "proposals before and after another history"),
    (RepeatsItself, "test_proposals_are_new_points_of_the_space", "proposal 1 must be new"),
    (RepeatsTheHistory, "test_proposals_are_new_points_of_the_space", "9 trials known: proposal 0 must be new"),
    (RunsOut, "test_proposals_are_new_points_of_the_space", "a round of 4 must have 4 proposals, got 3"),
    (ForgetsConditions, "test_proposals_are_new_whatever_came_of_the_trials", "have exactly the active parameters"),
    (RungsOfAnotherSize, RUNGS, "there must be 4 proposals, got 3"),
    (RungsWithWrongParents, RUNGS, "go on from a feasible trial of the same params"),
    (RungsWithoutGain, RUNGS, "more fidelity than its parent"),
    (RungsBeyondTheMost, RUNGS, "must have a fidelity in"),
    (TooManyRungs, RUNGS, "rounds must hold 1 to 24 trials"),
    (UnstablePrefix, "test_prefix_is_stable_where_it_says_so", "the first 1 of 24"),
]


def failures(contract: SearcherContract, skip: str = "") -> set[str]:
    """Return the names of the contract's tests that fail, but for one."""
    failed = set()
    for name, test in inspect.getmembers(contract, inspect.ismethod):
        if name.startswith("test_") and name != skip:
            try:
                test()
            except AssertionError:
                failed.add(name)
    return failed


@pytest.mark.parametrize(("searcher", "test", "message"), IN_PROCESS)
def test_the_contract_catches(searcher: type[Wrong], test: str, message: str) -> None:
    class Contract(SearcherContract):
        def make_searcher(self) -> Searcher:
            return searcher()

    with pytest.raises(AssertionError, match=message):
        getattr(Contract(), test)()


@pytest.mark.parametrize("contract", [HashOrderContract, ProcessIdContract])
def test_the_contract_catches_what_only_another_process_shows(contract: type[SearcherContract]) -> None:
    failed = failures(contract())
    assert failed == {"test_same_seed_gives_the_same_in_another_process"}


def test_what_crashes_on_a_failed_trial_is_caught() -> None:
    class Contract(SearcherContract):
        def make_searcher(self) -> Searcher:
            return NeedsValues()

    with pytest.raises(TypeError):
        Contract().test_proposals_are_new_points_of_the_space()


def test_a_searcher_that_learns_passes() -> None:
    assert failures(GoodLearnerContract()) == set()
    assert failures(GoodRungsContract()) == set()


def test_one_fault_fails_only_its_own_test() -> None:
    failed = failures(NumpyScalarsContract(), skip="test_same_seed_gives_the_same_in_another_process")
    assert failed == {"test_gives_plain_json_values"}


def test_a_local_contract_class_is_told_to_move() -> None:
    class Contract(SearcherContract):
        def make_searcher(self) -> Searcher:
            return Halton()

    with pytest.raises(AssertionError, match="top level of a file"):
        Contract().test_same_seed_gives_the_same_in_another_process()


def test_the_contract_asks_for_make_searcher() -> None:
    with pytest.raises(NotImplementedError, match="make_searcher"):
        SearcherContract().test_gives_nothing_for_no_trials()


def test_every_builtin_searcher_has_a_contract_class() -> None:
    assert {f"Test_{name}" for name in BUILTIN} <= globals().keys()
