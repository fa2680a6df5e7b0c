"""Sweeps of Weights & Biases: a sweep file as a study whose trials run the sweep's program as it stands.

The program's metrics come from what it gives to ``wandb.log``: see `autotune.integrations.wandb_program`.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from autotune.errors import InvalidSpace, InvalidStudy
from autotune.integrations import forms
from autotune.integrations.convert import Converted

_METHODS = {"grid": "grid", "random": "random", "bayes": "auto"}
_COMMAND = ["${env}", "${interpreter}", "${program}", "${args}"]
_RUN = "python -m autotune.integrations.wandb_program"
_NO_FORM = ("q_normal", "q_log_normal", "beta", "q_beta")
_NOT_TAKEN = {"early_terminate": "see `trial.should_prune` and the searcher `hyperband`", "controller": "there is none"}


def convert(content: Mapping[str, Any], where: str) -> Converted:
    """Return the study."""
    notes = [f"the sweep's `{key}` is not taken over; {hint}" for key, hint in _NOT_TAKEN.items() if key in content]
    method = content["method"]
    if method not in _METHODS:
        raise InvalidStudy(f"{where}: `method` must be grid, random or bayes, got {method!r}")
    if method == "bayes":
        notes.append("the sweep's method `bayes` is the searcher `auto` here, which learns from results in rounds")
    space = _flat(content["parameters"], where, notes)
    metric = content.get("metric") or {}
    study = {
        **_command(content, where, space),
        "metric": metric.get("name", "loss"),
        "mode": "max" if metric.get("goal") == "maximize" else "min",
        "algo": _METHODS[method],
        "max_trials": _max_trials(content, where, space, notes),
        "space": space,
    }
    if "name" not in metric:
        notes.append("the sweep names no metric: `loss` is minimized; give another with --metric")
    return Converted("W&B sweeps", study, notes)


def _max_trials(content: Mapping[str, Any], where: str, space: Mapping[str, Any], notes: list[str]) -> int:
    from autotune.config import MOST_TRIALS, StudyConfig
    from autotune.spaces import SearchSpace

    cap = content.get("run_cap")
    if content["method"] == "grid":
        points = SearchSpace.from_dict(space, where=f"{where}: parameters").grid_size(5)
        return min(points, cap or MOST_TRIALS)
    if cap is None:
        notes.append(
            f"the sweep has no `run_cap`: {StudyConfig.max_trials} trials; give another number with --max-trials"
        )
    return int(cap or StudyConfig.max_trials)


# The command


def _command(content: Mapping[str, Any], where: str, space: Mapping[str, Any]) -> dict[str, str]:
    """Return the study's command; none where the sweep has no program, so that flags may name one."""
    given = content.get("command")
    if given is None and "program" not in content:
        return {}
    words = [word for item in given or _COMMAND for word in _word(str(item), content, where, space)]
    nested = " --nested" if any("parameters" in item for item in content["parameters"].values()) else ""
    return {"command": f"{_RUN}{nested} {' '.join(words)}"}


def _word(item: str, content: Mapping[str, Any], where: str, space: Mapping[str, Any]) -> list[str]:
    """Return what a word of W&B's command is in ours: several, one or none."""
    if item == "${env}":
        return []
    if item == "${args}":
        return ["{args}"]
    if item == "${args_no_hyphens}":
        return [shlex.quote(f"{name}={{{name}}}") for name in space]
    if "${args" in item or "${envvar" in item:
        raise InvalidStudy(
            f"{where}: `command` must be made of ${{env}}, ${{interpreter}}, ${{program}}, ${{args}} and "
            f"${{args_no_hyphens}}, got {item}; the trial's parameters are as JSON in $AUTOTUNE_PARAMS"
        )
    plain = item.replace("${interpreter}", "python").replace("${program}", str(content.get("program", "")))
    return [shlex.quote(plain.replace("{", "{{").replace("}", "}}"))]


# Parameters


def _flat(parameters: Mapping[str, Any], where: str, notes: list[str], prefix: str = "") -> dict[str, Any]:
    """Return the parameters as a space; those that are nested as ``outer.inner``."""
    space: dict[str, Any] = {}
    for key, spec in parameters.items():
        name = f"{prefix}{key}"
        if isinstance(spec, Mapping) and isinstance(spec.get("parameters"), Mapping):
            space |= _flat(spec["parameters"], where, notes, f"{name}.")
        elif isinstance(spec, Mapping):
            space[name] = _parameter(dict(spec), f"{where}: {name}", name, notes)
        else:
            raise InvalidSpace(
                f"{where}: {name}: a parameter must be a mapping such as {{values: [1, 2]}}, got {spec!r}"
            )
    return space


def _parameter(spec: dict[str, Any], where: str, name: str, notes: list[str]) -> Any:
    kind = spec.get("distribution") or _kind_by_keys(spec, where)
    if kind in _NO_FORM:
        raise InvalidSpace(
            f"{where}: there is no form for the distribution {kind}; use normal, log_normal or q_uniform"
        )
    if kind == "constant":
        return forms.constant(spec["value"])
    if kind.startswith("categorical"):
        if len(set(spec.get("probabilities", []))) > 1:
            notes.append(f"the probabilities of {name} are not taken over: its values are equally likely")
        return forms.choice(spec["values"])
    if kind in ("normal", "log_normal"):
        return {"type": kind.replace("_", ""), "mean": spec.get("mu", 0.0), "std": spec.get("sigma", 1.0)}
    if kind not in _RANGES:
        raise InvalidSpace(f"{where}: a distribution must be one that W&B has, got {kind!r}")
    return _RANGES[kind](spec)


def _kind_by_keys(spec: Mapping[str, Any], where: str) -> str:
    """Return the distribution that W&B takes where none is named."""
    if "value" in spec:
        return "constant"
    if "values" in spec:
        return "categorical"
    if "mu" in spec or "sigma" in spec:
        return "normal"
    if "min" in spec and "max" in spec:
        return "int_uniform" if type(spec["min"]) is int and type(spec["max"]) is int else "uniform"
    raise InvalidSpace(f"{where}: a parameter must have `value`, `values`, or `min` and `max`, got {', '.join(spec)}")


def _float(bound: Callable[[str, Mapping[str, Any]], float], *, log: bool, steps: bool = False) -> Callable[..., Any]:
    """Return what makes a float parameter; ``bound`` reads ``min`` or ``max``."""

    def make(spec: Mapping[str, Any]) -> Any:
        low, high = bound("min", spec), bound("max", spec)
        if not steps:
            return forms.floats(low, high, log=log)
        step = spec.get("q", 1)
        low, high = (_rounded(value, step, least=1 if log else None) for value in (low, high))
        return forms.floats(low, high, log=log, step=step)

    return make


def _rounded(value: float, step: float, least: int | None) -> float:
    """Return the multiple of the step that is nearest to a value, as its decimal digits say."""
    multiple = round(value / step)
    return float(Decimal(str(step)) * (multiple if least is None else max(multiple, least)))


def _plain(key: str, spec: Mapping[str, Any]) -> float:
    return float(spec[key])


def _exponent(key: str, spec: Mapping[str, Any]) -> float:
    return math.exp(spec[key])


def _inverse_exponent(key: str, spec: Mapping[str, Any]) -> float:
    """``inv_log_uniform``: the logarithm of 1/X is uniform between min and max."""
    return math.exp(-spec["max" if key == "min" else "min"])


_RANGES: dict[str, Callable[..., Any]] = {
    "int_uniform": lambda spec: forms.integers(spec["min"], spec["max"]),
    "uniform": _float(_plain, log=False),
    "q_uniform": _float(_plain, log=False, steps=True),
    "log_uniform": _float(_exponent, log=True),
    "log_uniform_values": _float(_plain, log=True),
    "q_log_uniform": _float(_exponent, log=True, steps=True),
    "q_log_uniform_values": _float(_plain, log=True, steps=True),
    "inv_log_uniform": _float(_inverse_exponent, log=True),
    "inv_log_uniform_values": _float(_plain, log=True),
}
