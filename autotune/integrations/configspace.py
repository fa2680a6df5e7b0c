"""ConfigSpace's JSON (``ConfigurationSpace.to_json``) as a space, with its conditions and forbidden clauses."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from autotune.errors import InvalidSpace
from autotune.integrations import forms
from autotune.integrations.convert import Converted

_COMPARISONS = {"EQ": "==", "NEQ": "!=", "LT": "<", "LE": "<=", "GT": ">", "GE": ">="}
_RELATIONS = {"LESS": "LT", "EQUALS": "EQ", "GREATER": "GT"}  # the words of old files


def convert(content: Mapping[str, Any], where: str) -> Converted:
    """Return the space, and what is forbidden in it."""
    return _Conversion(content, where).result()


class _Conversion:
    def __init__(self, content: Mapping[str, Any], where: str) -> None:
        self._content, self._where = content, where
        self._given = {item["name"]: item for item in content["hyperparameters"]}
        self._conditional = {item["child"] for item in content.get("conditions", [])}
        self._notes: list[str] = []

    def result(self) -> Converted:
        space = {name: self._parameter(name, item) for name, item in self._given.items()}
        whens: dict[str, list[str]] = {}
        for item in self._content.get("conditions", []):
            whens.setdefault(item["child"], []).append(self._condition(item))
        for name, texts in whens.items():
            space[name] = _mapping(space[name]) | {"when": " and ".join(texts)}
        study: dict[str, Any] = {"space": {self._name(name): parameter for name, parameter in space.items()}}
        forbidden = [self._forbidden(item) for item in self._content.get("forbiddens", [])]
        return Converted("ConfigSpace", study | ({"forbid": forbidden} if forbidden else {}), self._notes)

    # Parameters

    def _parameter(self, name: str, item: Mapping[str, Any]) -> Any:
        kind = item["type"]
        self._name(name)
        if kind in ("constant", "unparametrized"):
            return forms.constant(item["value"])
        if kind == "ordinal":
            return forms.choice(item["sequence"], ordered=True)
        if kind == "categorical":
            weights = item.get("weights") or item.get("probabilities") or []
            if len(set(weights)) > 1:
                self._notes.append(f"the weights of {name} are not taken over: its options are equally likely")
            return forms.choice(item["choices"])
        shape, _, number = kind.partition("_")
        if number not in ("int", "float") or item.get("lower") is None:
            raise InvalidSpace(f"{self._where}: {name}: a hyperparameter must be of a kind with bounds, got {kind}")
        if shape != "uniform":
            self._notes.append(
                f"{name} is drawn evenly from its bounds, for there is no bounded {shape} distribution here"
            )
        numbers = forms.integers if number == "int" else forms.floats
        return numbers(item["lower"], item["upper"], log=bool(item.get("log")), step=item.get("q"))

    def _name(self, name: str) -> str:
        """Return a name that an expression can use, if it has to."""
        plain = re.sub(r"\W", "_", name)
        if plain == name or name not in self._named():
            return name
        if plain in self._given:
            raise InvalidSpace(
                f"{self._where}: {name} must have a name of letters, digits and _, to be used in conditions"
            )
        note = f"{name} is named {plain}, for a condition uses it"
        if note not in self._notes:
            self._notes.append(note)
        return plain

    def _named(self) -> set[str]:
        """Return the names that conditions and forbidden clauses use."""
        return set(_names_in([self._content.get("conditions", []), self._content.get("forbiddens", [])]))

    # Expressions

    def _condition(self, item: Mapping[str, Any]) -> str:
        kind = item["type"]
        if kind in ("AND", "OR"):
            if kind == "OR" and not self._conditional.isdisjoint(_names_in(item["conditions"])):
                raise InvalidSpace(
                    f"{self._where}: the condition of {item['child']} must not join conditional parameters with OR: "
                    "here an expression that names an inactive parameter is false as a whole"
                )
            return _joined(kind, [self._condition(part) for part in item["conditions"]])
        if kind == "IN":
            return f"{self._name(item['parent'])} in {list(item['values'])!r}"
        return self._comparison(item["parent"], kind, item["value"])

    def _forbidden(self, item: Mapping[str, Any]) -> str:
        kind = item["type"]
        if kind in ("AND", "OR"):
            return _joined(kind, [self._forbidden(part) for part in item["clauses"]])
        if kind == "IN":
            return f"{self._name(item['name'])} in {list(item['values'])!r}"
        if kind == "EQUALS":
            return self._comparison(item["name"], "EQ", item["value"])
        if kind.startswith("CLAUSE_"):
            return self._comparison(item["name"], kind.removeprefix("CLAUSE_"), item["value"])
        word = _RELATIONS.get(item.get("lambda", ""), item.get("lambda")) or kind.removeprefix("RELATION_")
        return f"{self._name(item['left'])} {_COMPARISONS[word]} {self._name(item['right'])}"

    def _comparison(self, name: str, kind: str, value: Any) -> str:
        """Return ``name < value``; of an ordinal the order of its sequence counts."""
        sequence = self._given[name].get("sequence")
        if sequence is None or kind in ("EQ", "NEQ"):
            return f"{self._name(name)} {_COMPARISONS[kind]} {value!r}"
        place = sequence.index(value)
        first, last = {"LT": (0, place), "LE": (0, place + 1), "GT": (place + 1, None), "GE": (place, None)}[kind]
        return f"{self._name(name)} in {list(sequence[first:last])!r}"


def _mapping(parameter: Any) -> dict[str, Any]:
    """Return the JSON form of a parameter that can have further keys."""
    return parameter if isinstance(parameter, dict) else forms.choice([parameter])


def _joined(kind: str, parts: list[str]) -> str:
    return "(" + f" {kind.lower()} ".join(parts) + ")"


def _names_in(item: Any) -> list[str]:
    """Return the parameters that conditions or clauses compare, however deep."""
    if isinstance(item, list):
        return [name for part in item for name in _names_in(part)]
    own = [item[key] for key in ("parent", "name", "left", "right") if key in item]
    return own + _names_in([*item.get("conditions", []), *item.get("clauses", [])])
