"""Successive halving and Hyperband: many points with little, the best of them with more, few with all.

A rung is a round: its trials get the same fidelity (in Hyperband each bracket its own), and the best ``1 / eta`` of
them go on in the next one. Brackets begin together and run side by side, so that slots do not idle.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

from autotune.algorithms import Searcher, check_seed, is_adaptive, load_searcher
from autotune.errors import InvalidStudy
from autotune.fidelity import complete_fidelity
from autotune.files import canonical
from autotune.history import Observation, Proposal
from autotune.spaces import Params, SearchSpace

_MORE = (1, 2, 8, 32)  # times as many suggestions, until enough of them differ
Counts = Sequence[tuple[float, int]]  # fidelity and trials of each bracket, in a round


@final
@dataclass
class SuccessiveHalving:
    """Successive halving (Jamieson & Talwalkar 2016, arXiv:1502.07943), as large as ``max_trials`` allows.

    Args:
        fidelity: ``name``, ``min``, ``max`` and ``eta`` of what a trial is given: epochs, say.
        sampler: the searcher that new points come from; one that learns sees each point's best-trained trial.
        sampler_options: its options.
    """

    fidelity: dict[str, Any]
    sampler: str = "random"
    sampler_options: dict[str, Any] = field(default_factory=dict)
    _ladder: _Ladder = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.fidelity = complete_fidelity(self.fidelity)
        self._ladder = _Ladder(self.fidelity, load_searcher(self.sampler, self.sampler_options), brackets=1)

    def reset(self, space: SearchSpace, seed: int) -> None:
        """Start from the beginning; InvalidStudy where the seed is not an integer of at least 0."""
        self._ladder.reset(space, seed)

    def suggestions(self, space: SearchSpace, max_trials: int) -> Iterator[Params]:
        """Return the points of the first rung."""
        return iter(self._ladder.points([], max_trials))

    def round_sizes(self, max_trials: int, old: Sequence[int]) -> list[int]:
        """Return the trials in each rung: those there were, and a bracket more where it fits."""
        return self._ladder.round_sizes(max_trials, old)

    def propose(self, history: Sequence[Observation], n: int) -> list[Proposal]:
        """Return the next rung."""
        return self._ladder.propose(history, n)


@final
@dataclass
class Hyperband:
    """Hyperband (Li et al. 2018, arXiv:1603.06560): brackets that begin with little for many or with more for few.

    The arguments are those of SuccessiveHalving.
    """

    fidelity: dict[str, Any]
    sampler: str = "random"
    sampler_options: dict[str, Any] = field(default_factory=dict)
    _ladder: _Ladder = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.fidelity = complete_fidelity(self.fidelity)
        self._ladder = _Ladder(self.fidelity, load_searcher(self.sampler, self.sampler_options), brackets=None)

    def reset(self, space: SearchSpace, seed: int) -> None:
        """Start from the beginning; InvalidStudy where the seed is not an integer of at least 0."""
        self._ladder.reset(space, seed)

    def suggestions(self, space: SearchSpace, max_trials: int) -> Iterator[Params]:
        """Return the points of the first rungs."""
        return iter(self._ladder.points([], max_trials))

    def round_sizes(self, max_trials: int, old: Sequence[int]) -> list[int]:
        """Return the trials in each round: those there were, and all brackets once more where they fit."""
        return self._ladder.round_sizes(max_trials, old)

    def propose(self, history: Sequence[Observation], n: int) -> list[Proposal]:
        """Return the next rung of every bracket."""
        return self._ladder.propose(history, n)


class _Ladder:
    """The rungs of one or of all brackets, and who climbs them."""

    def __init__(self, fidelity: Mapping[str, Any], sampler: Searcher, brackets: int | None) -> None:
        self._least, self._most, self._eta = fidelity["min"], fidelity["max"], fidelity["eta"]
        self._sampler = sampler
        self._space: SearchSpace | None = None
        self._top = math.floor(math.log(self._most / self._least) / math.log(self._eta) + 1e-9)
        self._brackets = self._top + 1 if brackets is None else brackets

    def reset(self, space: SearchSpace, seed: int) -> None:
        check_seed(seed)
        self._space = space
        self._sampler.reset(space, seed)

    def points(self, history: Sequence[Observation], n: int) -> list[Params]:
        """Return ``n`` points that are new; fewer where the sampler knows no more."""
        known = _best_trained(history)
        if self._space is None:
            raise InvalidStudy("`reset(space, seed)` must be called first, got no call of it")
        if is_adaptive(self._sampler):
            asked = self._sampler.propose(known, n)
            return [item.params if isinstance(item, Proposal) else item for item in asked]
        tried = {canonical(item.params) for item in known}
        new: dict[str, Params] = {}
        for more in _MORE:  # a sampler may repeat itself
            given = self._sampler.suggestions(self._space, more * (len(known) + n))
            new |= {key: params for params in given if (key := canonical(params)) not in tried}
            if len(new) >= n:
                break
        return list(new.values())[:n]

    def round_sizes(self, max_trials: int, old: Sequence[int]) -> list[int]:
        sizes, left = list(old), max_trials - sum(old)
        if not sizes and left < sum(self._block(1)):
            raise InvalidStudy(
                f"`max_trials` must be at least {sum(self._block(1))}, as each bracket needs a trial at every rung, "
                f"got {max_trials}; raise it, or `fidelity.min`"
            )
        scale = next((k for k in range(left, 0, -1) if sum(self._block(k)) <= left), 0)
        return sizes + (self._block(scale) if scale else [])

    def propose(self, history: Sequence[Observation], n: int) -> list[Proposal]:
        latest = max((item.round for item in history), default=-1)
        rung = [item for item in history if item.round == latest]
        below = [list(group) for _, group in itertools.groupby(rung, key=lambda item: item.fidelity)]
        climbing = [group for group in below if group and group[0].fidelity != self._most]
        if not climbing:
            return self._begin(history, self._first_rungs_of(n))
        chosen = [proposal for group in climbing for proposal in self._climb(group)]
        missing = n - len(chosen)
        spare = self.points(history, missing) if missing > 0 else []
        return chosen[:n] + [Proposal(params, fidelity=self._most) for params in spare]

    def _climb(self, group: Sequence[Observation]) -> list[Proposal]:
        """Return the best of a rung with the next fidelity; what has no value comes last, and goes on from nothing."""
        fidelity = self._above(group[0].fidelity or self._least)
        ranked = sorted(group, key=lambda item: (not item.is_feasible, item.values or (), item.number))
        count = max(1, len(group) // self._eta)
        return [
            Proposal(item.params, fidelity, parent=item.number if item.is_feasible else None) for item in ranked[:count]
        ]

    def _begin(self, history: Sequence[Observation], counts: Counts) -> list[Proposal]:
        points = iter(self.points(history, sum(count for _, count in counts)))
        return [Proposal(params, fidelity) for fidelity, count in counts for params in itertools.islice(points, count)]

    def _fidelity(self, rungs_below_top: int) -> float:
        """Return ``max / eta^k``, whole where the study's bounds are."""
        value = float(self._most / self._eta**rungs_below_top)
        whole = all(float(bound).is_integer() for bound in (self._least, self._most))
        return max(1, round(value)) if whole else value

    def _above(self, fidelity: float) -> float:
        levels = [self._fidelity(k) for k in range(self._top, -1, -1)]
        return next((level for level in levels if level > fidelity), self._most)

    def _first_rungs(self, scale: int) -> list[tuple[float, int]]:
        """Return fidelity and trials of the first rung of each bracket, where the largest has ``scale`` trials."""
        counts = []
        for bracket in range(self._top, self._top - self._brackets, -1):
            share = (self._top + 1) / (bracket + 1) * self._eta ** (bracket - self._top)
            counts.append((self._fidelity(bracket), max(1, math.ceil(scale * share - 1e-9))))
        return counts

    def _first_rungs_of(self, trials: int) -> Counts:
        sized = (self._first_rungs(scale) for scale in range(1, trials + 1))
        return next((counts for counts in sized if sum(count for _, count in counts) == trials), [(self._most, trials)])

    def _block(self, scale: int) -> list[int]:
        """Return the trials of each round until all brackets are at the top."""
        counts = [count for _, count in self._first_rungs(scale)]
        rounds = []
        for _ in range(self._top + 1):
            rounds.append(sum(counts))
            counts = [max(1, int(count // self._eta)) for count in counts[: self._top - len(rounds) + 1]]
        return rounds


def _best_trained(history: Sequence[Observation]) -> list[Observation]:
    """Return one observation a point, that with the largest fidelity."""
    found: dict[str, Observation] = {}
    for item in history:
        key = canonical(item.params)
        if key not in found or (item.fidelity or 0) >= (found[key].fidelity or 0):
            found[key] = item
    return list(found.values())
