"""Parameters whose values can be counted: choices and integers; and the steps that quantised numbers go in."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, final

from autotune.errors import InvalidSpace
from autotune.spaces.checks import (
    SCALAR_TYPES,
    Scalar,
    condition,
    end,
    fill,
    flag,
    in_order,
    integer,
    options_of,
    show,
    shown_fields,
)

MAX_GRID_VALUES = 1_000_000  # of one parameter: its grid is a list in memory
_EXACT_FLOAT = 2**53  # up to here every int has a float of its own
MOST_LOG_STEPS = 2**40  # up to here a float tells neighbouring steps of a logarithmic scale apart


@final
@dataclass(frozen=True, slots=True, repr=False)
class Choice:
    """One of a few strings, numbers, booleans or None, each equally likely; 1, 1.0 and True are different options.

    With ``ordered`` (in JSON also the type ``ordinal``) the order of the options means something to a searcher.
    """

    kind: ClassVar[str] = "choice"
    options: Sequence[Scalar] = field(compare=False)
    ordered: bool = False
    when: str | None = field(default=None, kw_only=True)
    size: int = field(init=False, compare=False)
    _typed: tuple[tuple[type, Scalar], ...] = field(init=False)
    _places: Mapping[tuple[type, Scalar], int] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        options = options_of(self.options)
        typed = tuple((type(option), option) for option in options)
        places = {option: place for place, option in enumerate(typed)}
        if len(places) < len(typed):
            twice = next(option for i, (_, option) in enumerate(typed) if typed[i] in typed[:i])
            raise InvalidSpace(f"`options` of a choice must differ, got {show(twice)} twice; remove one")
        condition(self.kind, self.when)
        ordered = flag(self.kind, "ordered", self.ordered)
        fill(self, options=options, ordered=ordered, size=len(options), _typed=typed, _places=places)

    def from_unit(self, u: float) -> Scalar:
        if 0.0 <= u < 1.0:
            return self.options[int(u * self.size)]
        return end(u, self.options[0], self.options[-1])

    def to_unit(self, value: Any) -> float:
        return (self.index(value) + 0.5) / self.size

    def at(self, index: int) -> Scalar:
        return self.options[index]

    def index(self, value: Any) -> int:
        return self._places[type(value), value]

    def contains(self, value: object) -> bool:
        return type(value) in SCALAR_TYPES and (type(value), value) in self._places

    def grid(self, points: int) -> list[Scalar]:
        return list(self.options)

    def to_dict(self) -> dict[str, Any]:
        return with_given({"type": self.kind, "options": list(self.options)}, ordered=self.ordered, when=self.when)

    __repr__ = shown_fields


@final
@dataclass(frozen=True, slots=True, repr=False)
class IntRange:
    """The integers ``low, low + step, …`` below ``high``, as in ``range``; exact at any magnitude.

    With ``log`` each value ``v`` has the part of the coordinate that ``v`` to ``v + step`` has of the logarithm.
    """

    kind: ClassVar[str] = "int"
    low: int
    high: int
    step: int = 1
    log: bool = False
    when: str | None = field(default=None, kw_only=True)
    size: int = field(init=False, compare=False)

    def __post_init__(self) -> None:
        low, high, step = (integer(self.kind, key, getattr(self, key)) for key in ("low", "high", "step"))
        log = flag(self.kind, "log", self.log)
        condition(self.kind, self.when)
        if step < 1:
            raise InvalidSpace(f"`step >= 1` must hold for an int, got step={show(step)}; use a positive step")
        in_order("an int, whose `high` is exclusive", low, high, f"use high={show(low + step)} for one value")
        if log and (low < 1 or high > MOST_LOG_STEPS):
            raise InvalidSpace(
                f"`1 <= low` and `high <= {MOST_LOG_STEPS}` must hold for an int with `log`, "
                f"got low={show(low)}, high={show(high)}; use other bounds, or a loguniform"
            )
        fill(self, low=low, high=high, step=step, log=log, size=(high - low + step - 1) // step)

    def from_unit(self, u: float) -> int:
        if 0.0 <= u < 1.0:
            if self.log:
                return self.low + self.step * log_index(u, self.low, self.step, self.size)
            if self.size <= _EXACT_FLOAT:
                return self.low + self.step * int(u * self.size)
            numerator, denominator = float(u).as_integer_ratio()
            return self.low + self.step * (numerator * self.size // denominator)
        return end(u, self.low, self.low + self.step * (self.size - 1))

    def to_unit(self, value: Any) -> float:
        index = self.index(value)
        if self.log:
            return log_middle(index, self.low, self.step, self.size)
        return (2 * index + 1) / (2 * self.size)  # division of ints rounds only once, at any magnitude

    def at(self, index: int) -> int:
        return self.low + self.step * index

    def index(self, value: Any) -> int:
        return int(value - self.low) // self.step

    def contains(self, value: object) -> bool:
        return type(value) is int and self.low <= value < self.high and (value - self.low) % self.step == 0

    def grid(self, points: int) -> list[Scalar]:
        refuse_long_grid("an int", self.size)
        return list(range(self.low, self.high, self.step))

    def to_dict(self) -> dict[str, Any]:
        base = {"type": self.kind, "low": self.low, "high": self.high, "step": self.step}
        return with_given(base, log=self.log, when=self.when)

    __repr__ = shown_fields


@final
@dataclass(frozen=True, slots=True)
class Steps:
    """The floats ``low, low + step, …`` up to ``high``, as their decimal digits say: 0.1 + 2 * 0.1 is 0.3."""

    low: float
    step: float
    size: int
    _first: int
    _step: int
    _scale: int

    @classmethod
    def make(cls, kind: str, low: float, high: float, step: float) -> Steps:
        """Return the steps between two bounds; InvalidSpace where there is only one, or more than floats tell apart."""
        from fractions import Fraction

        if not 0.0 < step <= high - low or step * MOST_LOG_STEPS < max(abs(low), abs(high)):
            raise InvalidSpace(
                f"`step` of a {kind} must be above 1e-12 of its bounds and at most high - low, "
                f"got step={show(step)} with low={show(low)}, high={show(high)}"
            )
        exact = [Fraction(repr(value)) for value in (low, high, step)]
        scale = math.lcm(*(value.denominator for value in exact))
        first, last, stride = (int(value * scale) for value in exact)
        return cls(low, step, (last - first) // stride + 1, first, stride, scale)

    def at(self, index: int) -> float:
        """Return a value by its place."""
        return (self._first + index * self._step) / self._scale

    def find(self, value: float) -> int | None:
        """Return the place of a value, None where it is not one of these."""
        place = round((value - self.low) / self.step)
        return place if 0 <= place < self.size and self.at(place) == value else None


def log_index(u: float, low: float, step: float, size: int) -> int:
    """Return the place of the step that a coordinate in [0, 1) falls into, on a logarithmic scale from ``low``."""
    start, span = _log_span(low, step, size)
    try:
        return min(max(int((math.exp(start + u * span) - low) / step), 0), size - 1)
    except OverflowError:  # beyond the largest float
        return size - 1


def log_middle(index: int, low: float, step: float, size: int) -> float:
    """Return the coordinate in the middle of a step, on a logarithmic scale from ``low``."""
    start, span = _log_span(low, step, size)
    value = low + index * step
    return ((math.log(value) + _log(value + step)) / 2 - start) / span


def _log_span(low: float, step: float, size: int) -> tuple[float, float]:
    start = math.log(low)
    return start, _log(low + size * step) - start


def _log(value: float) -> float:
    return math.log(min(value, sys.float_info.max))


def refuse_long_grid(what: str, size: int) -> None:
    """Refuse a parameter with more values than a list should hold."""
    if size > MAX_GRID_VALUES:
        raise InvalidSpace(
            f"{what} must have at most {MAX_GRID_VALUES} values for a grid, which takes all of them, "
            f"got {show(size)}; use a larger step, or the searcher random or sobol"
        )


def with_given(base: dict[str, Any], **options: Any) -> dict[str, Any]:
    """Return a JSON form with those options that were given: what is None or False is left out."""
    return base | {key: value for key, value in options.items() if value is not None and value is not False}
