"""A low-discrepancy sequence: even cover of the space, however many trials there are."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar, final

from autotune.algorithms import check_reset, check_seed
from autotune.qmc import load_qmc
from autotune.spaces import Params, SearchSpace

_BLOCK_POINTS = 1024  # a power of two keeps the sequence balanced (Owen 2020, arXiv:2008.08051)


@final
@dataclass
class SobolSearch:
    """Scrambled Sobol' sequence (Sobol' 1967), as `scipy.stats.qmc.Sobol` makes it.

    Direction numbers are those of Joe & Kuo (2008, SIAM J. Sci. Comput. 30:2635-2654); the scrambling in the spirit of
    Owen (1998, J. Complexity 14:466-489) is SciPy's linear matrix scramble with a digital shift, drawn from the seed.
    """

    prefix_stable: ClassVar[bool] = True
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
        points = itertools.chain.from_iterable(_blocks(len(space), self._seed))
        return itertools.islice(space.feasible(points), max_trials)


def _blocks(dimensions: int, seed: int) -> Iterator[list[list[float]]]:
    """Yield the sequence in blocks, so that memory follows use and where it is cut changes nothing before the cut."""
    engine = load_qmc().Sobol(dimensions, scramble=True, rng=seed)
    while True:
        yield engine.random(_BLOCK_POINTS).tolist()
