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

_MOST_STEPS = 1_000_000  # a few seconds, where almost all points are forbidden


@final
@dataclass
class GridSearch:
    """The full grid, row-major in declared order: the last parameter changes fastest.

    Choices, integers and what has a ``step`` give all their values, continuous parameters ``grid_points`` values from
    bound to bound. Points that are forbidden, or that differ only in parameters that are not active, are left out.
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
            InvalidStudy: `reset` was not given this space, or no point of the grid is feasible.
            InvalidSpace: an integer parameter has too many values to list, or almost all of the grid is forbidden.
        """
        check_reset(space, self._space)
        size = space.grid_size(self.grid_points)
        if not space.has_conditions:
            if size > max_trials:
                self._warn(f"{size} points", size, max_trials)
            return itertools.islice(space.grid(self.grid_points), max_trials)
        # Only a look shows whether it has more.
        most_steps = _MOST_STEPS + 10 * max_trials
        given = list(itertools.islice(space.grid(self.grid_points, most_steps), max_trials + 1))
        if not given and max_trials > 0:
            raise InvalidStudy(
                f"the grid must have a feasible point, got none of at most {size}; "
                f"raise grid_points={self.grid_points}, or use another searcher"
            )
        if len(given) > max_trials:
            self._warn(f"more than {max_trials} points, at most {size}", size, max_trials)
        return iter(given[:max_trials])

    def _warn(self, found: str, size: int, max_trials: int) -> None:
        warnings.warn(
            f"the grid has {found}, of which max_trials={max_trials} takes the first; raise max_trials to "
            f"{size} for all, or lower grid_points={self.grid_points}",
            stacklevel=3,
        )
