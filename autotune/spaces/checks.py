"""What the parameters and the space check alike, and how their sentences show a value."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from autotune.errors import InvalidSpace, nearest

Scalar = str | int | float | bool | None

SCALAR_TYPES = (str, int, float, bool, type(None))

_T = TypeVar("_T")


def fill(frozen: object, **values: object) -> None:
    """Set fields of a frozen dataclass while it is made."""
    for name, value in values.items():
        object.__setattr__(frozen, name, value)


def plain(value: Any) -> Any:
    """Return a numpy scalar (or an array of one element) as the Python value, anything else as it is."""
    if type(value) in SCALAR_TYPES:
        return value
    item = getattr(value, "item", None)
    try:
        return item() if callable(item) else value
    except (TypeError, ValueError, RuntimeError):  # an array of several elements
        return value


def number(kind: str, key: str, given: object) -> float:
    """Return a finite number as a float; InvalidSpace where it is none."""
    value = plain(given)
    with contextlib.suppress(OverflowError):  # an int beyond the largest float
        if type(value) in (int, float) and math.isfinite(value):
            return float(value)
    raise InvalidSpace(f"`{key}` of a {kind} must be a finite number, got {show(value)}{_number_hint(value)}")


def integer(kind: str, key: str, given: object) -> int:
    """Return an int; InvalidSpace where it is none, a float such as 8.0 included."""
    value = plain(given)
    if type(value) is int:
        return value
    whole = type(value) is float and value.is_integer()
    hint = f"; write {show(int(value))}" if whole else _number_hint(value)
    raise InvalidSpace(f"`{key}` of an {kind} must be an integer, got {show(value)}{hint}")


def flag(kind: str, key: str, given: object) -> bool:
    """Return True or False; InvalidSpace where it is neither."""
    value = plain(given)
    if type(value) is not bool:
        raise InvalidSpace(f"`{key}` of a {kind} must be true or false, got {show(value)}")
    return value


def condition(kind: str, given: object) -> None:
    """Refuse what cannot be the text of a ``when``; whether it is an expression, the space will say."""
    if given is not None and not isinstance(given, str):
        raise InvalidSpace(
            f"`when` of a {kind} must be an expression in quotes, got {show(given)}; write \"optimizer == 'sgd'\""
        )


def in_order(what: str, low: float, high: float, single: str) -> None:
    """Refuse bounds unless ``low < high``; ``single`` says how to have one value alone."""
    if low >= high:
        remedy = "swap them" if low > high else single
        raise InvalidSpace(f"`low < high` must hold for {what}, got low={show(low)}, high={show(high)}; {remedy}")


def options_of(given: object) -> tuple[Scalar, ...]:
    """Return the options as plain values; a set has no order, and a string would be a list of letters."""
    if not isinstance(given, Iterable) or isinstance(given, str | bytes | Mapping | set | frozenset):
        raise InvalidSpace(f"`options` of a choice must be a list, got {show(given)}; write [8, 16]")
    options = tuple(plain(option) for option in given)
    if not options:
        raise InvalidSpace("`options` of a choice must have at least one option, got none; add one")
    for option in options:
        if type(option) not in SCALAR_TYPES or (type(option) is float and not math.isfinite(option)):
            raise InvalidSpace(
                "`options` of a choice must be strings, finite numbers, booleans or None, "
                f"got {show(option)}; use a name that the objective looks up"
            )
    return options


def end(u: float, first: _T, last: _T) -> _T:
    """Return the value at or beyond an end of [0, 1]; refuse NaN."""
    if math.isnan(u):
        raise InvalidSpace("a coordinate must be a number from 0 to 1, got nan")
    return first if u <= 0.0 else last


def grid_points(points: object) -> int:
    """Return the number of grid points of a continuous parameter; InvalidSpace unless at least 2."""
    if type(points) is not int or points < 2:
        raise InvalidSpace(f"the points of a grid must be an integer of at least 2, got {show(points)}")
    return points


def hint(word: object, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for a word that is nearly a known one, or an empty string."""
    close = nearest(word, list(known)).strip() if isinstance(word, str) else ""
    return f"; {close}" if close else ""


def keys(names: Iterable[Any]) -> str:
    """Return names for a message, or ``nothing``."""
    return ", ".join(str(name) for name in names) or "nothing"


def show(value: object) -> str:
    """Return a value for a message: its repr, cut to a readable length."""
    try:
        text = repr(value)
    except ValueError:  # an int of more than 4,300 digits
        return f"a {type(value).__name__} too long to print"
    return text if len(text) <= 80 else text[:77] + "..."


def shown_fields(frozen: Any) -> str:
    """Return the repr of a parameter: the fields that make it, without those left at None or False."""
    import dataclasses

    given = {item.name: getattr(frozen, item.name) for item in dataclasses.fields(frozen) if item.init}
    shown = ", ".join(f"{name}={value!r}" for name, value in given.items() if value is not None and value is not False)
    return f"{type(frozen).__name__}({shown})"


def _number_hint(value: object) -> str:
    if isinstance(value, str):
        return "; write it without quotes, and in YAML with a point and a sign, as in 1.0e-5"
    return "; write a number"
