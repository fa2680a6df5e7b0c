"""Parameters that are floats: uniform and normal, of the value or of its logarithm; the bounded ones also in steps."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, final

from autotune.errors import InvalidSpace
from autotune.spaces.checks import (
    Scalar,
    condition,
    end,
    fill,
    grid_points,
    in_order,
    number,
    show,
    shown_fields,
)
from autotune.spaces.discrete import Steps, log_index, log_middle, refuse_long_grid, with_given

if TYPE_CHECKING:
    from statistics import NormalDist

_TAIL = 2.0**-53  # of a normal on either side, left out: its ends are 8.2 standard deviations from the mean


@final
@dataclass(frozen=True, slots=True, repr=False)
class Uniform:
    """A float from ``low`` to ``high``, both included; bounds become floats. With ``step`` only ``low + k * step``."""

    kind: ClassVar[str] = "uniform"
    low: float
    high: float
    step: float | None = None
    when: str | None = field(default=None, kw_only=True)
    size: int | None = field(init=False, compare=False)
    _span: float = field(init=False, compare=False)
    _steps: Steps | None = field(init=False, compare=False)

    def __post_init__(self) -> None:
        low, high = (number(self.kind, key, getattr(self, key)) for key in ("low", "high"))
        in_order("a uniform", low, high, "use a choice for one value")
        _fill_steps(self, low, high)
        fill(self, _span=high - low)

    def from_unit(self, u: float) -> float:
        if self._steps is not None:
            last = self._steps.size - 1
            return self._steps.at(int(u * (last + 1)) if 0.0 <= u < 1.0 else end(u, 0, last))
        if 0.0 < u < 1.0:
            value = float(self.low + u * self._span)
            if self.low <= value <= self.high:
                return value
            return float(self.low * (1.0 - u) + self.high * u)  # the span is too large for a float
        return end(u, self.low, self.high)

    def to_unit(self, value: Any) -> float:
        if self._steps is not None:
            return (self.index(value) + 0.5) / self._steps.size
        return _part(value, self.low, self.high)

    def at(self, index: int) -> float:
        return _countable(self._steps).at(index)

    def index(self, value: Any) -> int:
        return _index(self._steps, value)

    def contains(self, value: object) -> bool:
        return _within(self, value)

    def grid(self, points: int) -> list[Scalar]:
        return _grid(self, points)

    def to_dict(self) -> dict[str, Any]:
        return with_given({"type": self.kind, "low": self.low, "high": self.high}, step=self.step, when=self.when)

    __repr__ = shown_fields


@final
@dataclass(frozen=True, slots=True, repr=False)
class LogUniform:
    """A float from ``low`` to ``high``, both included, whose logarithm is uniform; bounds become floats.

    With ``step`` only ``low + k * step``, each as likely as its step is long in the logarithm.
    """

    kind: ClassVar[str] = "loguniform"
    low: float
    high: float
    step: float | None = None
    when: str | None = field(default=None, kw_only=True)
    size: int | None = field(init=False, compare=False)
    _log_low: float = field(init=False, compare=False)
    _log_span: float = field(init=False, compare=False)
    _steps: Steps | None = field(init=False, compare=False)

    def __post_init__(self) -> None:
        low, high = (number(self.kind, key, getattr(self, key)) for key in ("low", "high"))
        if min(low, high) <= 0.0:
            raise InvalidSpace(
                f"`0 < low < high` must hold for a loguniform, got low={low}, high={high}; use a uniform"
            )
        in_order("a loguniform", low, high, "use a choice for one value")
        _fill_steps(self, low, high)
        fill(self, _log_low=math.log(low), _log_span=math.log(high) - math.log(low))

    def from_unit(self, u: float) -> float:
        if self._steps is not None:
            low, step, size = self._steps.low, self._steps.step, self._steps.size
            return self._steps.at(log_index(u, low, step, size) if 0.0 <= u < 1.0 else end(u, 0, size - 1))
        if 0.0 < u < 1.0:
            try:
                value = math.exp(self._log_low + u * self._log_span)
            except OverflowError:  # the largest floats: the exponent was rounded up
                return self.high
            if self.low <= value <= self.high:
                return value
            return self.low if value < self.low else self.high
        return end(u, self.low, self.high)

    def to_unit(self, value: Any) -> float:
        if self._steps is not None:
            return log_middle(self.index(value), self._steps.low, self._steps.step, self._steps.size)
        return _part(math.log(value), self._log_low, math.log(self.high))

    def at(self, index: int) -> float:
        return _countable(self._steps).at(index)

    def index(self, value: Any) -> int:
        return _index(self._steps, value)

    def contains(self, value: object) -> bool:
        return _within(self, value)

    def grid(self, points: int) -> list[Scalar]:
        return _grid(self, points)

    def to_dict(self) -> dict[str, Any]:
        return with_given({"type": self.kind, "low": self.low, "high": self.high}, step=self.step, when=self.when)

    __repr__ = shown_fields


@final
@dataclass(frozen=True, slots=True, repr=False)
class Normal:
    """A float of the normal distribution, by its mean and standard deviation; no bounds.

    A coordinate is the probability of a smaller value. The last 2^-53 of it on either side are left out, so that 0 and
    1 have values.
    """

    kind: ClassVar[str] = "normal"
    size: ClassVar[None] = None  # there is no counting them
    mean: float
    std: float
    when: str | None = field(default=None, kw_only=True)
    _normal: NormalDist = field(init=False, compare=False)

    def __post_init__(self) -> None:
        _fill_normal(self, 1e300)

    def from_unit(self, u: float) -> float:
        return _quantile(self._normal, u)

    def to_unit(self, value: Any) -> float:
        return self._normal.cdf(value)

    def contains(self, value: object) -> bool:
        return (type(value) is float or type(value) is int) and abs(value) < math.inf

    def grid(self, points: int) -> list[Scalar]:
        return [self.from_unit(u) for u in _middles(points)]

    def to_dict(self) -> dict[str, Any]:
        return with_given({"type": self.kind, "mean": self.mean, "std": self.std}, when=self.when)

    __repr__ = shown_fields


@final
@dataclass(frozen=True, slots=True, repr=False)
class LogNormal:
    """A positive float whose natural logarithm is normal, by that one's mean and standard deviation; see Normal."""

    kind: ClassVar[str] = "lognormal"
    size: ClassVar[None] = None  # there is no counting them
    mean: float
    std: float
    when: str | None = field(default=None, kw_only=True)
    _normal: NormalDist = field(init=False, compare=False)

    def __post_init__(self) -> None:
        _fill_normal(self, 700.0)  # exp(±700) are floats

    def from_unit(self, u: float) -> float:
        return math.exp(_quantile(self._normal, u))

    def to_unit(self, value: Any) -> float:
        return self._normal.cdf(math.log(value))

    def contains(self, value: object) -> bool:
        return (type(value) is float or type(value) is int) and 0 < value < math.inf

    def grid(self, points: int) -> list[Scalar]:
        return [self.from_unit(u) for u in _middles(points)]

    def to_dict(self) -> dict[str, Any]:
        return with_given({"type": self.kind, "mean": self.mean, "std": self.std}, when=self.when)

    __repr__ = shown_fields


def _fill_steps(parameter: Uniform | LogUniform, low: float, high: float) -> None:
    condition(parameter.kind, parameter.when)
    step = None if parameter.step is None else number(parameter.kind, "step", parameter.step)
    steps = None if step is None else Steps.make(parameter.kind, low, high, step)
    fill(parameter, low=low, high=high, step=step, size=None if steps is None else steps.size, _steps=steps)


def _fill_normal(parameter: Normal | LogNormal, bound: float) -> None:
    from statistics import NormalDist

    condition(parameter.kind, parameter.when)
    mean, std = (number(parameter.kind, key, getattr(parameter, key)) for key in ("mean", "std"))
    if std <= 0.0:
        raise InvalidSpace(f"`std > 0` must hold for a {parameter.kind}, got std={show(std)}; use a constant")
    if not abs(mean) + 9.0 * std <= bound:
        raise InvalidSpace(
            f"`mean ± 9 std` of a {parameter.kind} must lie within ±{bound:g}, got mean={show(mean)}, std={show(std)}"
        )
    fill(parameter, mean=mean, std=std, _normal=NormalDist(mean, std))


def _quantile(normal: NormalDist, u: float) -> float:
    return normal.inv_cdf(min(max(u, _TAIL), 1.0 - _TAIL) if 0.0 < u < 1.0 else end(u, _TAIL, 1.0 - _TAIL))


def _part(value: float, low: float, high: float) -> float:
    """Return how far a value lies from low to high, from 0 to 1."""
    span = high - low
    if span == math.inf:  # too large for a float
        value, low, span = value / 2, low / 2, high / 2 - low / 2
    return min(max((value - low) / span, 0.0), 1.0) if span > 0.0 else 0.0


def _within(parameter: Uniform | LogUniform, value: object) -> bool:
    if not (type(value) is float or type(value) is int) or not parameter.low <= value <= parameter.high:
        return False
    return parameter._steps is None or parameter._steps.find(value) is not None


def _countable(steps: Steps | None) -> Steps:
    if steps is None:
        raise InvalidSpace("a continuous parameter must have a `step` for its values to be counted, got none")
    return steps


def _index(steps: Steps | None, value: float) -> int:
    place = _countable(steps).find(value)
    if place is None:
        raise InvalidSpace(f"a value must be one of the steps of its parameter, got {show(value)}")
    return place


def _grid(parameter: Uniform | LogUniform, points: int) -> list[Scalar]:
    """Return all steps, or evenly spaced values from bound to bound."""
    if parameter._steps is not None:
        refuse_long_grid(f"a {parameter.kind} with `step`", parameter._steps.size)
        return [parameter._steps.at(index) for index in range(parameter._steps.size)]
    points = grid_points(points)
    return [parameter.from_unit(i / (points - 1)) for i in range(points)]


def _middles(points: int) -> list[float]:
    """Return the middles of equal parts of [0, 1]: the ends of a normal are no values to try."""
    points = grid_points(points)
    return [(i + 0.5) / points for i in range(points)]
