"""Points of a space as numbers: coordinates to search in, and features whose distances the models see."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import final

import numpy as np
from numpy.typing import NDArray

from autotune.spaces import Choice, Params, SearchSpace

Floats = NDArray[np.float64]

_NUMBER_WIDTH, _OPTION_WIDTH = 0.15, 0.45  # of the kernels of a density
_ACTIVE = 0.5  # the distance between a parameter's being active and not, in lengths of its range


@final
class Coding:
    """Translates canonical parameters to coordinates [n, axes] (NaN where inactive) and to features [n, columns].

    An axis is a column of its coordinate, or, for an unordered choice, one column an option; one that may be inactive
    has a column more, which says so. Numbers among the options of a choice, in order, count as ordered. ``owner`` is
    the axis of each column.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        groups = [[space.parameters[name] for name in names] for names in space.axes]
        self.sizes = [group[0].size for group in groups]
        self.unordered = np.array([all(_is_unordered(p) for p in group) for group in groups], dtype=bool)
        self.conditional = [any(p.when is not None for p in group) for group in groups]
        widths = [size if is_choice and size else 1 for size, is_choice in zip(self.sizes, self.unordered, strict=True)]
        self._widths = widths
        self.least_steps = np.array([0.7 / size if size else 0.0 for size in self.sizes])  # [axes]
        self.owner = np.array(
            [axis for axis, width in enumerate(widths) for _ in range(width + self.conditional[axis])], dtype=int
        )
        self.kernel_widths = np.where(np.array(widths)[self.owner] > 1, _OPTION_WIDTH, _NUMBER_WIDTH)  # [columns]

    def coordinates(self, points: Iterable[Params]) -> Floats:
        """Return the coordinates [n, axes] of canonical parameters, NaN where an axis is inactive."""
        rows = [self.space.to_unit(params) for params in points]
        return np.array(rows, dtype=float).reshape(len(rows), len(self.sizes))  # None becomes NaN

    def features(self, coordinates: Floats) -> Floats:
        """Return the features [n, columns] of coordinates [n, axes]."""
        columns = []
        for axis, (width, size) in enumerate(zip(self._widths, self.sizes, strict=True)):
            u = coordinates[:, axis]
            inactive = np.isnan(u)
            if width > 1 and size:
                places = np.minimum(np.nan_to_num(u) * size, size - 1).astype(int)
                one_hot = np.eye(size)[places] * np.sqrt(0.5)  # two options are as far apart as the ends of a range
                one_hot[inactive] = 0.0
                columns.append(one_hot)
            else:
                columns.append(np.where(inactive, 0.5, u)[:, None])
            if self.conditional[axis]:
                columns.append(np.where(inactive, 0.0, _ACTIVE)[:, None])
        return np.hstack(columns)

    def same_options(self, coordinates: Floats, point: Floats) -> NDArray[np.bool_]:
        """Return which of the coordinates [n, axes] have the same unordered options as one point [axes]."""
        gaps = np.abs(coordinates - point)[:, self.unordered]  # of different options at least 1 / size; NaN is inactive
        return np.asarray((np.nan_to_num(gaps) < 1e-9).all(axis=1))


def _is_unordered(parameter: object) -> bool:
    if not isinstance(parameter, Choice) or parameter.ordered:
        return False
    return not _ascends(parameter.options)


def _ascends(options: Sequence[object]) -> bool:
    """Return whether options are numbers in order, up or down, such as powers of two."""
    numbers = [option for option in options if isinstance(option, int | float) and not isinstance(option, bool)]
    if len(numbers) < len(options):
        return False
    steps = [b - a for a, b in itertools.pairwise(numbers)]
    return all(step > 0 for step in steps) or all(step < 0 for step in steps)
