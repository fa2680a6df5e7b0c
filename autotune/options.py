"""What the value of an option may be: one class a kind, which checks a value, parses a flag and gives the schema."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from autotune.errors import InvalidStudy, nearest
from autotune.expressions import Expression


class Kind(Protocol):
    """The kind of an option's value."""

    def check(self, value: Any, where: str) -> Any:
        """Return the value in its plain form, or raise InvalidStudy with a sentence that begins with ``where``."""

    def parse(self, text: str) -> Any:
        """Return what a command-line flag's text stands for; ``check`` judges it."""

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the value."""


def _refuse(where: str, must: str, value: Any, example: object) -> InvalidStudy:
    return InvalidStudy(f"{where} must be {must}, got {_shown(value)}; for example {example}")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def parse_scalar(text: str) -> Any:
    """Read a number, true, false or null from a flag; everything else is a string."""
    try:
        return json.loads(text)
    except ValueError:
        return text


@dataclass(frozen=True, slots=True)
class Text:
    """A string that is not empty."""

    example: str = "loss"

    def check(self, value: Any, where: str) -> str:
        """See Kind."""
        if not isinstance(value, str) or not value.strip():
            raise _refuse(where, "a non-empty string", value, repr(self.example))
        return value

    def parse(self, text: str) -> Any:
        """See Kind."""
        return text

    def schema(self) -> dict[str, Any]:
        """See Kind."""
        return {"type": "string", "minLength": 1}


@dataclass(frozen=True, slots=True)
class Label:
    """A word or a number, such as ``2`` or ``"2.1"``, which is kept as a string."""

    example: str = "2"

    def check(self, value: Any, where: str) -> str:
        """See Kind."""
        return str(value) if type(value) in (int, float) else Text(self.example).check(value, where)

    def parse(self, text: str) -> Any:
        """See Kind."""
        return text

    def schema(self) -> dict[str, Any]:
        """See Kind."""
        return {"type": ["string", "number"]}


@dataclass(frozen=True, slots=True)
class Number:
    """A finite number with a lower bound; ``whole`` ones are integers, and a ``word`` may stand in its place."""

    low: float = 0
    exclusive: bool = False
    whole: bool = False
    word: str | None = None
    example: float = 1

    def check(self, value: Any, where: str) -> Any:
        """See Kind."""
        if self.word is not None and value == self.word:
            return value
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if number and self.whole and isinstance(value, float) and value.is_integer():
            value = int(value)
        fits = number and abs(value) < math.inf and (isinstance(value, int) or not self.whole)
        if not fits or value < self.low or (self.exclusive and value == self.low):
            raise _refuse(where, self._sentence(), value, self.example)
        return value

    def parse(self, text: str) -> Any:
        """See Kind."""
        return parse_scalar(text)

    def schema(self) -> dict[str, Any]:
        """See Kind."""
        bound = "exclusiveMinimum" if self.exclusive else "minimum"
        number = {"type": "integer" if self.whole else "number", bound: self.low}
        return number if self.word is None else {"anyOf": [number, {"const": self.word}]}

    def _sentence(self) -> str:
        kind = "an integer" if self.whole else "a number"
        bound = f"above {self.low:g}" if self.exclusive else f"of at least {self.low:g}"
        return f"{kind} {bound}" + (f" or {self.word!r}" if self.word else "")


@dataclass(frozen=True, slots=True)
class Formula:
    """A number, or an expression over a trial's parameters that gives one."""

    number: Number

    def check(self, value: Any, where: str) -> Any:
        """See Kind."""
        return Expression(value, where).text if isinstance(value, str) else self.number.check(value, where)

    def parse(self, text: str) -> Any:
        """See Kind."""
        return parse_scalar(text)

    def schema(self) -> dict[str, Any]:
        """See Kind."""
        return {"anyOf": [self.number.schema(), {"type": "string", "minLength": 1}]}


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of a few names."""

    names: tuple[str, ...]

    def check(self, value: Any, where: str) -> str:
        """See Kind."""
        if value not in self.names:
            known = " or ".join(repr(name) for name in self.names)
            raise InvalidStudy(f"{where} must be {known}, got {_shown(value)}")
        return str(value)

    def parse(self, text: str) -> Any:
        """See Kind."""
        return text

    def schema(self) -> dict[str, Any]:
        """See Kind."""
        return {"enum": list(self.names)}


@dataclass(frozen=True, slots=True)
class Table:
    """A mapping from names to values; with ``fields`` only those names, each of its own kind."""

    fields: tuple[tuple[str, Kind], ...] = ()
    example: str = "{key: value}"

    def check(self, value: Any, where: str) -> dict[str, Any]:
        """See Kind."""
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            raise _refuse(where, "a mapping with names as keys", value, self.example)
        kinds = dict(self.fields)
        if not kinds:
            return dict(value)
        for key in value:
            if key not in kinds:
                known = ", ".join(kinds)
                raise InvalidStudy(f"{where} has no {key!r}; {nearest(key, list(kinds))}known: {known}")
        return {key: kinds[key].check(item, f"{where}.{key}") for key, item in value.items()}

    def parse(self, text: str) -> Any:
        """See Kind: ``key=value,key=value``."""
        pairs = [pair.partition("=") for pair in text.split(",") if pair]
        if not all(separator for _, separator, _ in pairs):
            return text
        return {key.strip(): parse_scalar(item) for key, _, item in pairs}

    def schema(self) -> dict[str, Any]:
        """See Kind."""
        if not self.fields:
            return {"type": "object"}
        properties = {key: kind.schema() for key, kind in self.fields}
        return {"type": "object", "properties": properties, "additionalProperties": False}


@dataclass(frozen=True, slots=True)
class YesNo:
    """true or false."""

    def check(self, value: Any, where: str) -> bool:
        """See Kind."""
        if not isinstance(value, bool):
            raise _refuse(where, "true or false", value, "true")
        return value

    def parse(self, text: str) -> Any:
        """See Kind."""
        return parse_scalar(text)

    def schema(self) -> dict[str, Any]:
        """See Kind."""
        return {"type": "boolean"}


@dataclass(frozen=True, slots=True)
class OneOrMore:
    """A value of a kind, or a list of such values."""

    item: Kind

    def check(self, value: Any, where: str) -> Any:
        """See Kind."""
        if not isinstance(value, list | tuple):
            return self.item.check(value, where)
        if not value:
            raise InvalidStudy(f"{where} must have at least one value, got an empty list")
        return [self.item.check(item, f"{where}[{place}]") for place, item in enumerate(value)]

    def parse(self, text: str) -> Any:
        """See Kind."""
        return parse_scalar(text)

    def schema(self) -> dict[str, Any]:
        """See Kind."""
        item = self.item.schema()
        return {"anyOf": [item, {"type": "array", "items": item, "minItems": 1}]}


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list of values of one kind; a flag gives it as JSON."""

    item: Kind
    example: str = "[...]"

    def check(self, value: Any, where: str) -> list[Any]:
        """See Kind."""
        if not isinstance(value, list | tuple):
            raise _refuse(where, "a list", value, self.example)
        return [self.item.check(item, f"{where}[{place}]") for place, item in enumerate(value)]

    def parse(self, text: str) -> Any:
        """See Kind."""
        return parse_scalar(text)

    def schema(self) -> dict[str, Any]:
        """See Kind."""
        return {"type": "array", "items": self.item.schema()}
