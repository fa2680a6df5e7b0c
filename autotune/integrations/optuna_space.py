"""Optuna's distributions, ``{name: distribution_to_json(distribution)}``, as a space."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from autotune.errors import InvalidSpace
from autotune.integrations import forms
from autotune.integrations.convert import Converted

_KINDS = ("FloatDistribution", "IntDistribution", "CategoricalDistribution")


def convert(content: Mapping[str, Any], where: str) -> Converted:
    """Return the space."""
    return Converted(
        "Optuna", {"space": {name: _parameter(item, f"{where}: {name}") for name, item in content.items()}}
    )


def _parameter(item: Any, where: str) -> Any:
    try:
        distribution = json.loads(item) if isinstance(item, str) else item
    except ValueError as error:
        raise InvalidSpace(f"{where} must be what Optuna's distribution_to_json returns: {error}") from None
    kind, given = distribution["name"], distribution["attributes"]
    if kind not in _KINDS:
        raise InvalidSpace(
            f"{where}: a distribution must be one of {', '.join(_KINDS)}, got {kind}; "
            "load it with Optuna and save it again, which brings it to one of these"
        )
    if kind == "CategoricalDistribution":
        return forms.choice(given["choices"])
    numbers = forms.integers if kind == "IntDistribution" else forms.floats
    return numbers(given["low"], given["high"], log=bool(given.get("log")), step=given.get("step"))
