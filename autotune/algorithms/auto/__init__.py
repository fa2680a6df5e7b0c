"""The recommended searcher of adaptive studies: models of value and feasibility, asked in several ways at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, final

from autotune.algorithms import check_reset, check_seed, was_reset
from autotune.history import Observation
from autotune.spaces import Params, SearchSpace


@final
@dataclass
class AutoSearch:
    """Bayesian optimisation with Gaussian processes for mixed, conditional, noisy and partly infeasible spaces.

    The first points are the middle of the space and a Sobol' sequence; see `autotune.algorithms.auto.rounds` for the
    rounds after. It needs nothing but NumPy and SciPy.
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
        """Return what it proposes before anything is known; InvalidStudy where `reset` was not given this space."""
        check_reset(space, self._space)
        return iter(self.propose([], max_trials))

    def propose(self, history: Sequence[Observation], n: int) -> list[Params]:
        """Return the next ``n`` points; fewer only where the space has no more that are new."""
        from threadpoolctl import threadpool_limits

        from autotune.algorithms.auto.rounds import next_points

        with threadpool_limits(1):  # the same sums in the same order on any number of cores; threads cost time here
            return next_points(was_reset(self._space), self._seed, history, n)
