"""Repeats for noisy objectives: they go to the contenders, not evenly (racing: Maron & Moore 1994; irace 2016)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, final

from autotune.algorithms import Searcher, is_adaptive
from autotune.files import canonical
from autotune.history import Observation, Proposal
from autotune.repeats import standings
from autotune.spaces import Params, SearchSpace

_Group = list[Observation]
_MOST_DRAWS = 100_000  # of a searcher that goes on for ever, and may draw a point again


def with_repeats(study: Mapping[str, Any], searcher: Searcher) -> Searcher:
    """Return the searcher, within a race where the study repeats its trials."""
    repeats = study.get("repeats")
    if not repeats:
        return searcher
    return Racing(searcher, repeats["min"], repeats["max"], tuple(study.get("warm_start", ())))


@final
@dataclass
class Racing:
    """Repeats what another searcher proposes: each point ``least`` times, and contenders up to ``most`` times.

    A contender is a point whose mean cannot be told apart from the best one's. Contenders get up to half of a round, a
    repeat each; the rest goes to new points. A point that has failed, or is infeasible, is not repeated.
    """

    searcher: Searcher
    least: int
    most: int
    first: tuple[Params, ...] = ()
    _space: SearchSpace | None = field(default=None, init=False, repr=False)

    def reset(self, space: SearchSpace, seed: int) -> None:
        """Start from the beginning."""
        self._space = space
        self.searcher.reset(space, seed)

    def suggestions(self, space: SearchSpace, max_trials: int) -> Iterator[Params]:
        """Return the other searcher's points, none repeated."""
        return self.searcher.suggestions(space, max_trials)

    def propose(self, history: Sequence[Observation], n: int) -> list[Proposal]:
        """Return the trials of the next round; fewer than ``n`` where nothing is left to try."""
        groups: dict[str, _Group] = {}
        for item in history:
            groups.setdefault(canonical(item.params), []).append(item)
        alive = [group for group in groups.values() if all(_is_sound(item) for item in group)]
        contenders = _contenders(alive)
        begun = [proposal for group in alive for proposal in self._more(group, self.least - len(group))]
        again = [proposal for group in contenders for proposal in self._more(group, 1)] if len(contenders) > 1 else []
        chosen = [*begun, *again[: n // 2]]
        new = self._new_points(groups, max(0, n - len(chosen)))
        chosen += (Proposal(params, repeat=repeat) for params in new for repeat in range(self.least))
        spare = (proposal for group in [*contenders, *alive] for proposal in self._more(group, self.most - len(group)))
        return _distinct([*chosen, *spare])[:n]

    def _more(self, group: _Group, count: int) -> list[Proposal]:
        repeats = range(len(group), min(len(group) + max(0, count), self.most))
        return [Proposal(group[0].params, repeat=repeat) for repeat in repeats]

    def _new_points(self, groups: Mapping[str, _Group], trials: int) -> list[Params]:
        """Return points that are not known yet, enough for so many trials if there are."""
        count, found = -(-trials // self.least), dict[str, Params]()
        points = self._points(groups, count)
        while len(found) < count and (params := next(points, None)) is not None:
            if canonical(params) not in groups:
                found[canonical(params)] = params
        return list(found.values())

    def _points(self, groups: Mapping[str, _Group], count: int) -> Iterator[Params]:
        yield from self.first
        if self._space is None or not count:
            return
        if is_adaptive(self.searcher):
            asked = self.searcher.propose([_as_one(group) for group in groups.values()], count)
            yield from (item.params if isinstance(item, Proposal) else item for item in asked)
        else:
            has_prefix = getattr(self.searcher, "prefix_stable", False)
            size = _MOST_DRAWS if has_prefix else len(groups) + len(self.first) + count
            yield from self.searcher.suggestions(self._space, size)


def _is_sound(item: Observation) -> bool:
    return item.state is None or item.is_feasible


def _contenders(groups: Sequence[_Group]) -> list[_Group]:
    """Return the groups that may be best, the best mean first."""
    measured = [(group, [item.values[0] for item in group if item.values]) for group in groups]
    known = [(group, values) for group, values in measured if values]
    tied = zip(known, standings([values for _, values in known]), strict=True)
    return [group for (group, _), standing in sorted(tied, key=lambda pair: pair[1].mean) if standing.is_tied]


def _as_one(group: _Group) -> Observation:
    """Return the repeats of a point as one trial with their mean values, or with the state of the one that broke."""
    broken = next((item for item in group if not _is_sound(item)), None)
    measured = [item for item in group if item.values is not None]
    if broken is not None or not measured:
        return broken or group[0]
    columns: list[tuple[Any, ...]] = list(zip(*(item.values or () for item in measured), strict=True))
    first = measured[0]
    return Observation(first.number, first.params, first.state, tuple(map(fmean, columns)), first.violations)


def _distinct(proposals: Sequence[Proposal]) -> list[Proposal]:
    return list({canonical([item.params, item.repeat]): item for item in proposals}.values())
