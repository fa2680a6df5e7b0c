"""Every combination of values, in order."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar, final

from autotune.algorithms import check_reset, check_seed
from autotune.errors import InvalidStudy
from autotune.spaces import Params, SearchSpace


@final
@dataclass
class GridSearch:
    """The full grid, row-major in declared order: the last parameter changes fastest.

    Choices and integers give all their values, continuous parameters ``grid_points`` values from bound to bound.
    The seed changes nothing.
    """

    prefix_stable: ClassVar[bool] = True
    uses_seed: ClassVar[bool] = False
    grid_points: int = 5
    seed: int | None = None
    _space: SearchSpace | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if type(self.grid_points) is not int or self.grid_points < 2:
            raise InvalidStudy(f"`grid_points` must be an integer of at least 2, got {self.grid_points!r}")
        if self.seed is not None:
            check_seed(self.seed)

    def reset(self, space: SearchSpace, seed: int) -> None:
        """Start from the beginning; InvalidStudy where the seed is not an integer of at least 0."""
        check_seed(seed)
        self._space = space

    def suggestions(self, space: SearchSpace, max_trials: int) -> Iterator[Params]:
        """Return the grid, at most ``max_trials`` of it, with a warning when that cuts it.

        Raises:
            InvalidStudy: `reset` was not given this space.
            InvalidSpace: an integer parameter has too many values to list.
        """
        check_reset(space, self._space)
        size = space.grid_size(self.grid_points)
        if size > max_trials:
            warnings.warn(
                f"the grid has {size} points, of which max_trials={max_trials} takes the first; raise max_trials to "
                f"{size} for all, or lower grid_points={self.grid_points}",
                stacklevel=2,
            )
        axes = [parameter.grid(self.grid_points) for parameter in space.parameters.values()]
        rows = itertools.islice(itertools.product(*axes), max_trials)
        return (dict(zip(space.names, row, strict=True)) for row in rows)
