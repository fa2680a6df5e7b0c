"""A stratified sample of a size that is known beforehand."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar, final

from autotune.algorithms import check_reset, check_seed
from autotune.qmc import load_qmc
from autotune.spaces import Params, SearchSpace

_BLOCK_POINTS = 1024  # so many become Python lists at a time; all at once keep the garbage collector busy


@final
@dataclass
class LatinHypercubeSearch:
    """Latin hypercube sampling (McKay, Beckman & Conover 1979, Technometrics 21:239-245), as SciPy makes it.

    Each parameter's range is cut into ``max_trials`` equal parts, and each part holds one point. So the whole sample
    depends on ``max_trials``: it is not prefix-stable. Where points are forbidden, points of further samples fill up.
    """

    prefix_stable: ClassVar[bool] = False
    uses_seed: ClassVar[bool] = True
    seed: int | None = None
    _space: SearchSpace | None = field(default=None, init=False, repr=False, compare=False)
    _seed: int = field(default=0, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.seed is not None:
            check_seed(self.seed)

    def reset(self, space: SearchSpace, seed: int) -> None:
        """Start from the beginning; InvalidStudy where the seed is not an integer of at least 0."""
        check_seed(seed)
        self._space, self._seed = space, seed

    def suggestions(self, space: SearchSpace, max_trials: int) -> Iterator[Params]:
        """Return ``max_trials`` points; InvalidStudy where `reset` was not given this space."""
        check_reset(space, self._space)
        if max_trials < 1:
            return iter(())
        return itertools.islice(space.feasible(_points(len(space), self._seed, max_trials)), max_trials)


def _points(dimensions: int, seed: int, max_trials: int) -> Iterator[list[float]]:
    """Yield the sample, then more of them, which take the place of points that are forbidden."""
    engine = load_qmc().LatinHypercube(dimensions, rng=seed)
    while True:
        sample = engine.random(max_trials)
        for start in range(0, max_trials, _BLOCK_POINTS):
            yield from sample[start : start + _BLOCK_POINTS].tolist()
