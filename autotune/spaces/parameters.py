"""The kinds of parameters by their names in JSON, and a parameter from its JSON form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, Protocol

from autotune.errors import InvalidSpace
from autotune.spaces.checks import Scalar, hint, keys, show
from autotune.spaces.continuous import LogNormal, LogUniform, Normal, Uniform
from autotune.spaces.discrete import Choice, IntRange

Parameter = Choice | IntRange | Uniform | LogUniform | Normal | LogNormal


class Countable(Protocol):
    """A parameter whose values have places; those of floats have them only with a ``step``."""

    @property
    def size(self) -> int:
        """The number of values."""

    def at(self, index: int) -> Scalar:
        """Return the value at a place, 0 to ``size - 1``."""

    def index(self, value: Any) -> int:
        """Return the place of a value."""


TYPES: dict[str, type[Parameter]] = {
    "choice": Choice,
    "ordinal": Choice,
    "int": IntRange,
    "intrange": IntRange,
    "uniform": Uniform,
    "loguniform": LogUniform,
    "normal": Normal,
    "lognormal": LogNormal,
}


def make_parameter(spec: object, at: str) -> Parameter:
    """Make one parameter from its JSON form: a mapping; a bare list is a choice, a bare value a constant.

    Args:
        spec: the JSON form.
        at: file and key, which open the sentence of an InvalidSpace.
    """
    if isinstance(spec, str | int | float):
        spec = [spec]
    if isinstance(spec, list | tuple):
        spec = {"type": Choice.kind, "options": spec}
    if not isinstance(spec, Mapping):
        raise InvalidSpace(
            f"{at}: a parameter must be a mapping with a `type`, a list of options or one value, got {show(spec)}"
        )
    if "type" not in spec:
        raise InvalidSpace(f"{at}: a parameter must have the key `type`, got {keys(spec)}; use one of {keys(TYPES)}")
    name = spec["type"]
    if not isinstance(name, str) or name not in TYPES:
        raise InvalidSpace(f"{at}: `type` must be one of {keys(TYPES)}, got {show(name)}{hint(name, TYPES)}")
    arguments = {key: value for key, value in spec.items() if key != "type"}
    if name == "ordinal":
        arguments.setdefault("ordered", True)
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
            raise InvalidSpace(f"{at}: `{cls.kind}` takes the keys {keys(known)}, got {show(key)}{hint(key, known)}")
    for key, required in known.items():
        if required and key not in arguments:
            needed = keys(name for name, needed in known.items() if needed)
            got = keys(arguments)
            raise InvalidSpace(f"{at}: `{cls.kind}` must have the keys {needed}, got {got}; add `{key}`")
