"""Hydra's sweep overrides, ``lr=tag(log,interval(1e-5,1e-1)) bs=16,32``, as a space; Hydra's own parser reads them."""

from __future__ import annotations

import shlex
from typing import Any

from autotune.errors import InvalidSpace
from autotune.integrations import forms, library
from autotune.integrations.convert import Converted


def convert(text: str, where: str) -> Converted:
    """Return the space, and a command that passes each trial's values as overrides."""
    parser = library("hydra.core.override_parser.overrides_parser", "hydra").OverridesParser.create()
    errors = library("hydra.errors", "hydra")
    try:
        overrides = parser.parse_overrides(shlex.split(text))
    except (ValueError, errors.HydraException) as error:  # ValueError: quotes that do not match
        fault = str(error).partition("\nSee ")[0]
        raise InvalidSpace(f"{where} must be of Hydra's override grammar, got {text!r}: {fault}") from None
    space = {override.get_key_element(): _parameter(override, where) for override in overrides}
    words = [f"{name}={{{name.lstrip('+')}}}" for name in space]
    space = {name.lstrip("+"): parameter for name, parameter in space.items()}
    return Converted("Hydra", {"command": f"python train.py {' '.join(words)}", "space": space})


def _parameter(override: Any, where: str) -> Any:
    at = f"{where}: {override.input_line}"
    kind, value = override.value_type, override.value()
    kinds = type(kind)
    if override.is_delete() or kind is None or kind is kinds.GLOB_CHOICE_SWEEP:
        raise InvalidSpace(f"{at}: an override must give a value, a list, a range or an interval")
    if override.is_interval_sweep():
        return _interval(value)
    if override.is_range_sweep():
        return _range(value)
    if override.is_choice_sweep():
        return forms.choice(_scalar(item, at) for item in value.list)
    return forms.constant(_scalar(value, at))


def _interval(sweep: Any) -> Any:
    """Return an int where both bounds are, by ``int(interval(1, 5))``, as in Hydra's Optuna sweeper; both included."""
    log = "log" in sweep.tags
    if isinstance(sweep.start, int) and isinstance(sweep.end, int):
        return forms.integers(sweep.start, sweep.end, log=log)
    return forms.floats(sweep.start, sweep.end, log=log)


def _range(sweep: Any) -> Any:
    values = sweep.range()
    if isinstance(values, range) and values.step > 0:
        return forms.integers(values[0], values[-1], step=values.step)
    return forms.choice(values, ordered=True)


def _scalar(item: Any, at: str) -> Any:
    """Return a plain value; Hydra keeps what is quoted apart."""
    item = getattr(item, "text", item)
    if isinstance(item, list | dict):
        raise InvalidSpace(f"{at}: a value must be a string, a number, true, false or null, got {item!r}; name it")
    return item
