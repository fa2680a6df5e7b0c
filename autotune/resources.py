"""What a trial needs of a machine: numbers, or formulas over its parameters such as ``gpus: "tp * pp"``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autotune.config import RESOURCES
from autotune.errors import InvalidStudy
from autotune.expressions import Expression

_NAMES = ("gpu_model",)  # resources that are a name, and so no formula


def formulas_of(resources: Mapping[str, Any]) -> dict[str, Expression]:
    """Return the resources that depend on a trial's parameters."""
    return {
        name: Expression(value, f"`resources.{name}`")
        for name, value in resources.items()
        if isinstance(value, str) and name not in _NAMES
    }


def resources_of(resources: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a trial with these parameters needs, every formula as its value.

    Raises:
        InvalidStudy: a formula has no value for them, or one that makes no sense.
    """
    values = {name: formula.evaluate(params) for name, formula in formulas_of(resources).items()}
    return {**resources, **RESOURCES.check(values, f"with {dict(params)} `resources`")} if values else dict(resources)


def check_formulas(resources: Mapping[str, Any], parameters: list[str]) -> None:
    """Refuse formulas over what is no parameter of the space.

    Raises:
        InvalidStudy: one is.
    """
    for name, formula in formulas_of(resources).items():
        unknown = sorted(formula.names - set(parameters))
        if unknown:
            raise InvalidStudy(
                f"`resources.{name}` must be a formula over the parameters {', '.join(parameters)}, "
                f"got {formula.text!r} with {', '.join(unknown)}"
            )
