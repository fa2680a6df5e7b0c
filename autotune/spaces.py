"""The search space: parameters that turn a coordinate in [0, 1] into a plain JSON value, and their JSON form.

A parameter is immutable and knows nothing of searchers, files or other parameters. Each kind has

    kind, size          its name in JSON; how many values it has, None where they cannot be counted
    from_unit(u)        the value at a coordinate; never outside the bounds, the first at 0 and the last at 1
    contains(value)     whether a value is one of its own; a numpy scalar is no JSON value and so is not
    grid(points)        all values in order; of a continuous kind ``points`` evenly spaced ones, from bound to bound
    to_dict()           the JSON form

Making one raises `InvalidSpace` in one sentence where it makes no sense. A new kind is a class with these methods and
one line in `TYPES`. Nothing heavy is imported: numpy scalars become Python ones through their own ``item()``.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar, final

from autotune.errors import InvalidSpace, nearest

Scalar = str | int | float | bool | None
Params = dict[str, Scalar]

SCALAR_TYPES = (str, int, float, bool, type(None))
MAX_GRID_VALUES = 1_000_000  # of one int parameter: its grid is a list in memory
_EXACT_FLOAT = 2**53  # up to here every int has a float of its own

_T = TypeVar("_T")


@final
@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few strings, numbers, booleans or None, each equally likely; 1, 1.0 and True are different options."""

    kind: ClassVar[str] = "choice"
    options: Sequence[Scalar] = field(compare=False)
    size: int = field(init=False, repr=False, compare=False)
    _typed: tuple[tuple[type, Scalar], ...] = field(init=False, repr=False)
    _members: frozenset[tuple[type, Scalar]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        options = _options(self.options)
        typed = tuple((type(option), option) for option in options)
        members = frozenset(typed)
        if len(members) < len(typed):
            twice = next(option for i, (_, option) in enumerate(typed) if typed[i] in typed[:i])
            raise InvalidSpace(f"`options` of a choice must differ, got {_show(twice)} twice; remove one")
        _fill(self, options=options, size=len(options), _typed=typed, _members=members)

    def from_unit(self, u: float) -> Scalar:
        if 0.0 <= u < 1.0:
            return self.options[int(u * self.size)]
        return _end(u, self.options[0], self.options[-1])

    def contains(self, value: object) -> bool:
        return type(value) in SCALAR_TYPES and (type(value), value) in self._members

    def grid(self, points: int) -> list[Scalar]:
        return list(self.options)

    def to_dict(self) -> dict[str, Any]:
        return {"type": self.kind, "options": list(self.options)}


@final
@dataclass(frozen=True, slots=True)
class IntRange:
    """The integers ``low, low + step, …`` below ``high``, as in ``range``; exact at any magnitude."""

    kind: ClassVar[str] = "int"
    low: int
    high: int
    step: int = 1
    size: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        low, high, step = (_integer(self.kind, key, getattr(self, key)) for key in ("low", "high", "step"))
        if step < 1:
            raise InvalidSpace(f"`step >= 1` must hold for an int, got step={_show(step)}; use a positive step")
        _ordered("an int, whose `high` is exclusive", low, high, f"use high={_show(low + step)} for one value")
        _fill(self, low=low, high=high, step=step, size=(high - low + step - 1) // step)

    def from_unit(self, u: float) -> int:
        if 0.0 <= u < 1.0:
            if self.size <= _EXACT_FLOAT:
                return self.low + self.step * int(u * self.size)
            numerator, denominator = float(u).as_integer_ratio()
            return self.low + self.step * (numerator * self.size // denominator)
        return _end(u, self.low, self.low + self.step * (self.size - 1))

    def contains(self, value: object) -> bool:
        return type(value) is int and self.low <= value < self.high and (value - self.low) % self.step == 0

    def grid(self, points: int) -> list[Scalar]:
        if self.size > MAX_GRID_VALUES:
            raise InvalidSpace(
                f"an int must have at most {MAX_GRID_VALUES} values for a grid, which takes all of them, "
                f"got {_show(self.size)}; use a larger step, or the searcher random or sobol"
            )
        return list(range(self.low, self.high, self.step))

    def to_dict(self) -> dict[str, Any]:
        return {"type": self.kind, "low": self.low, "high": self.high, "step": self.step}


@final
@dataclass(frozen=True, slots=True)
class Uniform:
    """A float from ``low`` to ``high``, both included; bounds become floats."""

    kind: ClassVar[str] = "uniform"
    size: ClassVar[None] = None  # there is no counting them
    low: float
    high: float
    _span: float = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        low, high = (_number(self.kind, key, getattr(self, key)) for key in ("low", "high"))
        _ordered("a uniform", low, high, "use a choice for one value")
        _fill(self, low=low, high=high, _span=high - low)

    def from_unit(self, u: float) -> float:
        if 0.0 < u < 1.0:
            value = float(self.low + u * self._span)
            if self.low <= value <= self.high:
                return value
            return float(self.low * (1.0 - u) + self.high * u)  # the span is too large for a float
        return _end(u, self.low, self.high)

    def contains(self, value: object) -> bool:
        return (type(value) is float or type(value) is int) and self.low <= value <= self.high

    def grid(self, points: int) -> list[Scalar]:
        return _even_grid(self.from_unit, points)

    def to_dict(self) -> dict[str, Any]:
        return {"type": self.kind, "low": self.low, "high": self.high}


@final
@dataclass(frozen=True, slots=True)
class LogUniform:
    """A float from ``low`` to ``high``, both included, whose logarithm is uniform; bounds become floats."""

    kind: ClassVar[str] = "loguniform"
    size: ClassVar[None] = None  # there is no counting them
    low: float
    high: float
    _log_low: float = field(init=False, repr=False, compare=False)
    _log_span: float = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        low, high = (_number(self.kind, key, getattr(self, key)) for key in ("low", "high"))
        if min(low, high) <= 0.0:
            raise InvalidSpace(
                f"`0 < low < high` must hold for a loguniform, got low={low}, high={high}; use a uniform"
            )
        _ordered("a loguniform", low, high, "use a choice for one value")
        _fill(self, low=low, high=high, _log_low=math.log(low), _log_span=math.log(high) - math.log(low))

    def from_unit(self, u: float) -> float:
        if 0.0 < u < 1.0:
            try:
                value = math.exp(self._log_low + u * self._log_span)
            except OverflowError:  # the largest floats: the exponent was rounded up
                return self.high
            if self.low <= value <= self.high:
                return value
            return self.low if value < self.low else self.high
        return _end(u, self.low, self.high)

    def contains(self, value: object) -> bool:
        return (type(value) is float or type(value) is int) and self.low <= value <= self.high

    def grid(self, points: int) -> list[Scalar]:
        return _even_grid(self.from_unit, points)

    def to_dict(self) -> dict[str, Any]:
        return {"type": self.kind, "low": self.low, "high": self.high}


Parameter = Choice | IntRange | Uniform | LogUniform

TYPES: dict[str, type[Parameter]] = {
    "choice": Choice,
    "int": IntRange,
    "intrange": IntRange,
    "uniform": Uniform,
    "loguniform": LogUniform,
}


@final
class SearchSpace:
    """Named parameters, immutable; their order counts, as it decides a grid's order and whose each coordinate is."""

    __slots__ = ("_draws", "_names", "_parameters")

    def __init__(self, parameters: Mapping[str, Parameter]) -> None:
        _check_mapping(parameters, "space")
        for name, parameter in parameters.items():
            if type(parameter) not in TYPES.values():
                raise InvalidSpace(
                    f"space: {name}: a parameter must be a Choice, IntRange, Uniform or LogUniform, "
                    f"got {_show(parameter)}; use SearchSpace.from_dict for the JSON form"
                )
        self._parameters = dict(parameters)
        self._names = tuple(parameters)
        self._draws = tuple(parameter.from_unit for parameter in parameters.values())

    @classmethod
    def from_dict(cls, mapping: Mapping[str, Any], where: str = "space") -> SearchSpace:
        """Make a space from its JSON form; ``where`` (a file or key) opens the sentence of an InvalidSpace."""
        _check_mapping(mapping, where)
        return cls({name: _parameter(spec, f"{where}: {name}") for name, spec in mapping.items()})

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """The parameters by name, read-only, in declared order."""
        return MappingProxyType(self._parameters)

    @property
    def names(self) -> list[str]:
        """The names in declared order."""
        return list(self._names)

    def from_unit(self, point: Sequence[float]) -> Params:
        """Return the parameters at a point of the unit cube; InvalidSpace unless it has one coordinate for each."""
        if len(point) != len(self._names):
            raise InvalidSpace(f"a point must have {len(self._names)} coordinates, one a parameter, got {len(point)}")
        return {name: draw(u) for name, draw, u in zip(self._names, self._draws, point, strict=True)}

    def contains(self, params: object) -> bool:
        """Return whether these are values for exactly the parameters of the space, each within its own."""
        if not isinstance(params, Mapping) or params.keys() != self._parameters.keys():
            return False
        return all(parameter.contains(params[name]) for name, parameter in self._parameters.items())

    def grid_size(self, points: int) -> int:
        """Return the number of points of the full grid with ``points`` values for each continuous parameter."""
        return math.prod(points if p.size is None else p.size for p in self._parameters.values())

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Return the JSON form, in declared order (which a file with sorted keys does not keep)."""
        return {name: parameter.to_dict() for name, parameter in self._parameters.items()}

    def __len__(self) -> int:
        return len(self._names)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SearchSpace):
            return NotImplemented
        return list(self._parameters.items()) == list(other._parameters.items())

    def __hash__(self) -> int:
        return hash(tuple(self._parameters.items()))

    def __repr__(self) -> str:
        return f"SearchSpace({self._parameters!r})"


def _parameter(spec: object, at: str) -> Parameter:
    """Make one parameter from its JSON form; a bare list is a choice."""
    if isinstance(spec, list | tuple):
        spec = {"type": Choice.kind, "options": spec}
    if not isinstance(spec, Mapping):
        raise InvalidSpace(
            f"{at}: a parameter must be a mapping with a `type`, or a list of options, got {_show(spec)}"
        )
    if "type" not in spec:
        raise InvalidSpace(f"{at}: a parameter must have the key `type`, got {_keys(spec)}; use one of {_keys(TYPES)}")
    name = spec["type"]
    if not isinstance(name, str) or name not in TYPES:
        raise InvalidSpace(f"{at}: `type` must be one of {_keys(TYPES)}, got {_show(name)}{_hint(name, TYPES)}")
    arguments = {key: value for key, value in spec.items() if key != "type"}
    _check_keys(TYPES[name], arguments, at)
    try:
        return TYPES[name](**arguments)
    except InvalidSpace as error:
        raise InvalidSpace(f"{at}: {error}") from None


def _check_keys(cls: type[Parameter], arguments: Mapping[Any, Any], at: str) -> None:
    """Refuse keys that the parameter does not take, then missing ones."""
    known = {f.name: f.default is MISSING for f in fields(cls) if f.init}
    for key in arguments:
        if key not in known:
            raise InvalidSpace(f"{at}: `{cls.kind}` takes the keys {_keys(known)}, got {_show(key)}{_hint(key, known)}")
    for key, required in known.items():
        if required and key not in arguments:
            got = _keys(arguments)
            raise InvalidSpace(f"{at}: `{cls.kind}` must have the keys {_keys(known)}, got {got}; add `{key}`")


def _check_mapping(mapping: object, where: str) -> None:
    if not isinstance(mapping, Mapping):
        raise InvalidSpace(f"{where}: a space must be a mapping from names to parameters, got {_show(mapping)}")
    if not mapping:
        raise InvalidSpace(f"{where}: a space must have at least one parameter, got none; add one")
    for name in mapping:
        if type(name) is not str or not name:
            raise InvalidSpace(f"{where}: a parameter's name must be a non-empty string, got {_show(name)}; quote it")


def _fill(frozen: object, **values: object) -> None:
    for name, value in values.items():
        object.__setattr__(frozen, name, value)


def _plain(value: Any) -> Any:
    """Return a numpy scalar (or an array of one element) as the Python value, anything else as it is."""
    if type(value) in SCALAR_TYPES:
        return value
    item = getattr(value, "item", None)
    try:
        return item() if callable(item) else value
    except (TypeError, ValueError, RuntimeError):  # an array of several elements
        return value


def _number(kind: str, key: str, given: object) -> float:
    value = _plain(given)
    with contextlib.suppress(OverflowError):  # an int beyond the largest float
        if type(value) in (int, float) and math.isfinite(value):
            return float(value)
    raise InvalidSpace(f"`{key}` of a {kind} must be a finite number, got {_show(value)}{_number_hint(value)}")


def _integer(kind: str, key: str, given: object) -> int:
    value = _plain(given)
    if type(value) is int:
        return value
    whole = type(value) is float and value.is_integer()
    hint = f"; write {_show(int(value))}" if whole else _number_hint(value)
    raise InvalidSpace(f"`{key}` of an {kind} must be an integer, got {_show(value)}{hint}")


def _number_hint(value: object) -> str:
    if isinstance(value, str):
        return "; write it without quotes, and in YAML with a point and a sign, as in 1.0e-5"
    return "; write a number"


def _ordered(what: str, low: float, high: float, single: str) -> None:
    if low >= high:
        remedy = "swap them" if low > high else single
        raise InvalidSpace(f"`low < high` must hold for {what}, got low={_show(low)}, high={_show(high)}; {remedy}")


def _options(given: object) -> tuple[Scalar, ...]:
    """Return the options as plain values; a set has no order, and a string would be a list of letters."""
    if not isinstance(given, Iterable) or isinstance(given, str | bytes | Mapping | set | frozenset):
        raise InvalidSpace(f"`options` of a choice must be a list, got {_show(given)}; write [8, 16]")
    options = tuple(_plain(option) for option in given)
    if not options:
        raise InvalidSpace("`options` of a choice must have at least one option, got none; add one")
    for option in options:
        if type(option) not in SCALAR_TYPES or (type(option) is float and not math.isfinite(option)):
            raise InvalidSpace(
                "`options` of a choice must be strings, finite numbers, booleans or None, "
                f"got {_show(option)}; use a name that the objective looks up"
            )
    return options


def _end(u: float, first: _T, last: _T) -> _T:
    """Return the value at or beyond an end of [0, 1]; refuse NaN."""
    if math.isnan(u):
        raise InvalidSpace("a coordinate must be a number from 0 to 1, got nan")
    return first if u <= 0.0 else last


def _even_grid(from_unit: Callable[[float], Scalar], points: int) -> list[Scalar]:
    if type(points) is not int or points < 2:
        raise InvalidSpace(f"the points of a grid must be an integer of at least 2, got {_show(points)}")
    return [from_unit(i / (points - 1)) for i in range(points)]


def _hint(word: object, known: Mapping[str, Any]) -> str:
    close = nearest(word, list(known)).strip() if isinstance(word, str) else ""
    return f"; {close}" if close else ""


def _keys(mapping: Mapping[Any, Any]) -> str:
    return ", ".join(str(key) for key in mapping) or "nothing"


def _show(value: object) -> str:
    """Return a value for a message: its repr, cut to a readable length."""
    try:
        text = repr(value)
    except ValueError:  # an int of more than 4,300 digits
        return f"a {type(value).__name__} too long to print"
    return text if len(text) <= 80 else text[:77] + "..."
