"""The JSON forms of parameters, as the converters write them into a study file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def constant(value: Any) -> Any:
    """Return the form of one value: bare, but for null, which cannot stand so."""
    return choice([None]) if value is None else value


def choice(options: Iterable[Any], *, ordered: bool = False) -> dict[str, Any]:
    """Return the form of a list of options."""
    return {"type": "ordinal" if ordered else "choice", "options": list(options)}


def integers(low: int, last: int, *, log: bool = False, step: int | None = None) -> Any:
    """Return the form of the integers from ``low`` to ``last``, both included."""
    if low == last:
        return low
    form: dict[str, Any] = {"type": "int", "low": low, "high": last + 1}
    return form | ({"step": step} if step not in (None, 1) else {}) | ({"log": True} if log else {})


def floats(low: float, high: float, *, log: bool = False, step: float | None = None) -> Any:
    """Return the form of the floats from ``low`` to ``high``, both included."""
    if low == high:
        return low
    form: dict[str, Any] = {"type": "loguniform" if log else "uniform", "low": low, "high": high}
    return form | ({} if step is None else {"step": step})
