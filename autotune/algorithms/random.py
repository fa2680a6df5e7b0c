"""Independent uniform draws: the baseline that every other searcher has to beat."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import ClassVar, final

from autotune.algorithms import check_reset, check_seed
from autotune.spaces import Params, SearchSpace


@final
@dataclass
class RandomSearch:
    """Random search (Bergstra & Bengio 2012, JMLR 13:281-305).

    It uses nothing but ``random.Random(seed).random()``, whose sequence Python guarantees across versions ("Notes on
    Reproducibility" of the module `random`), so a plan made again years later is the same.
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
        return itertools.islice(space.feasible(_draw(len(space), self._seed)), max_trials)


def _draw(dimensions: int, seed: int) -> Iterator[list[float]]:
    draw = Random(seed).random
    axes = range(dimensions)
    while True:
        yield [draw() for _ in axes]
