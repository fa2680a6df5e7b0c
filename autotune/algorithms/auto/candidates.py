"""Points that could be tried, and the search among them for the one of the highest score."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from autotune.algorithms.auto.coding import Coding
from autotune.files import canonical
from autotune.spaces import Params

Floats = NDArray[np.float64]

_BEAM = 8  # the best so far, which others are made from
_CHILDREN = 8  # of each
_STEPS = (0.2, 0.06, 0.02, 0.006)  # typical sizes of the changes, in ranges of a parameter, from first to last


@final
@dataclass(frozen=True)
class Candidates:
    """Feasible canonical points that are not ``taken``, as parameters, coordinates and features, row by row."""

    coding: Coding
    params: tuple[Params, ...]
    keys: tuple[str, ...]
    coordinates: Floats
    features: Floats
    taken: frozenset[str]

    @classmethod
    def make(cls, coding: Coding, points: Iterable[Params], taken: Iterable[str]) -> Candidates:
        """Return those of the points that are not taken, each once."""
        taken = frozenset(taken)
        keyed = {canonical(params): params for params in points}
        new = {key: params for key, params in keyed.items() if key not in taken}
        coordinates = coding.coordinates(new.values())
        return cls(coding, tuple(new.values()), tuple(new), coordinates, coding.features(coordinates), taken)

    def without(self, point: Candidates) -> Candidates:
        """Return all but these, which are taken from now on."""
        rest = self._rows([row for row, key in enumerate(self.keys) if key not in point.keys])
        return Candidates(
            rest.coding, rest.params, rest.keys, rest.coordinates, rest.features, self.taken | {*point.keys}
        )

    def search(
        self, score: Callable[[Candidates], Floats], parents: Floats, rng: np.random.Generator
    ) -> Candidates | None:
        """Return the point of the highest score among these and others near them and near ``parents`` [n, axes].

        An evolution strategy, since points may be discrete, conditional or forbidden; None where there is no point.
        """
        best, scores = self._fittest(score(self))
        parents = np.vstack([parents, best.coordinates])
        for step in _STEPS:
            born = self.coding.space.feasible(
                vary(self.coding, np.repeat(parents, _CHILDREN, axis=0), step, rng).tolist()
            )
            children = Candidates.make(self.coding, born, self.taken | {*best.keys})
            best, scores = best._and(children)._fittest(np.append(scores, score(children)))
            parents = best.coordinates
        return best._rows([0]) if best.params else None

    def _and(self, others: Candidates) -> Candidates:
        return Candidates(
            self.coding,
            self.params + others.params,
            self.keys + others.keys,
            np.vstack([self.coordinates, others.coordinates]),
            np.vstack([self.features, others.features]),
            self.taken,
        )

    def _fittest(self, scores: Floats) -> tuple[Candidates, Floats]:
        order = np.argsort(-scores, kind="stable")[:_BEAM]
        return self._rows(order.tolist()), scores[order]

    def _rows(self, rows: list[int]) -> Candidates:
        return Candidates(
            self.coding,
            tuple(self.params[row] for row in rows),
            tuple(self.keys[row] for row in rows),
            self.coordinates[rows],
            self.features[rows],
            self.taken,
        )


def vary(coding: Coding, parents: Floats, step: float, rng: np.random.Generator) -> Floats:
    """Return a changed copy of each parent [n, axes]: normal steps, at least to a neighbouring value; new options.

    How many axes change differs from copy to copy, from one to all, and so does the size of the steps.
    """
    shape = count, axes = parents.shape
    base = np.where(np.isnan(parents), rng.random(shape), parents)
    changes = rng.random(shape) < rng.choice([1.0 / axes, 0.5, 1.0], size=(count, 1))
    changes[np.arange(count), rng.integers(axes, size=count)] = True
    sizes = np.maximum(step * np.exp(rng.standard_normal((count, 1))), coding.least_steps)
    moved = base + sizes * rng.standard_normal(shape)
    moved = np.clip(1.0 - np.abs(1.0 - np.abs(moved)), 0.0, 1.0)  # reflected at the bounds
    redrawn = rng.random(shape)
    switches = changes & coding.unordered & (rng.random(shape) < 0.5)
    return np.where(switches, redrawn, np.where(changes & ~coding.unordered, moved, base))
