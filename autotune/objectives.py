"""What a study is judged by: its metrics, each with a direction, and constraints on what was measured."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, final

from autotune.errors import InvalidStudy
from autotune.expressions import Expression
from autotune.history import Observation
from autotune.records import COMPLETE, FAILED, PRUNED, Outcome, Result, TrialConfig


@final
@dataclass(frozen=True, slots=True)
class Constraint:
    """A condition on measured metrics, such as ``memory_gb <= 80``."""

    text: str
    small: Expression
    large: Expression

    @classmethod
    @functools.cache  # each trial asks for its study's constraints
    def parse(cls, text: str, where: str) -> Constraint:
        """Make a constraint of two expressions with ``<=`` or ``>=`` between them.

        Raises:
            InvalidStudy: it is none; the sentence begins with ``where``.
        """
        sides = re.split(r"(<=|>=)", text)
        if len(sides) != 3:
            raise InvalidStudy(f"{where} must have one `<=` or `>=`, got {text!r}; for example 'memory_gb <= 80'")
        left, right = Expression(sides[0], where), Expression(sides[2], where)
        return cls(text, *((left, right) if sides[1] == "<=" else (right, left)))

    @property
    def names(self) -> set[str]:
        """The metrics that it is about."""
        return {*self.small.names, *self.large.names}

    def violation(self, metrics: Mapping[str, float]) -> float:
        """Return by how much it is broken; at most 0 where it holds."""
        return float(self.small.evaluate(metrics)) - float(self.large.evaluate(metrics))


def objectives_of(study: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return (name, mode) of every metric that the study optimizes; the first is the one it is named by."""
    several = study.get("metrics") or [{"name": study["metric"], "mode": study["mode"]}]
    return [(metric["name"], metric["mode"]) for metric in several]


def constraints_of(study: Mapping[str, Any]) -> list[Constraint]:
    """Return the constraints of a study; InvalidStudy where one makes no sense."""
    texts = study.get("constraints") or []
    return [Constraint.parse(text, f"`constraints[{place}]`") for place, text in enumerate(texts)]


def directed_values(study: Mapping[str, Any], metrics: Mapping[str, float]) -> tuple[float, ...] | None:
    """Return the value of each objective, turned so that less is better; None where one is missing."""
    objectives = objectives_of(study)
    if any(name not in metrics for name, _ in objectives):
        return None
    return _directed(objectives, metrics)


def _directed(objectives: list[tuple[str, str]], metrics: Mapping[str, float]) -> tuple[float, ...]:
    return tuple([metrics[name] if mode == "min" else -metrics[name] for name, mode in objectives])


def observe(study: Mapping[str, Any], config: TrialConfig, result: Result | None) -> Observation:
    """Return a trial as a searcher sees it; without a result it still runs."""
    values: tuple[float, ...] | None = None
    violations: tuple[float, ...] = ()
    if result is not None and result.state in (COMPLETE, PRUNED):
        values = directed_values(study, result.metrics)
    if result is not None and result.state == COMPLETE:
        violations = tuple(constraint.violation(result.metrics) for constraint in constraints_of(study))
    return Observation(
        number=config.number,
        params=config.params,
        state=None if result is None else result.state,
        values=values,
        violations=violations,
        round=config.round,
        fidelity=config.fidelity,
        repeat=config.repeat,
    )


def with_all_metrics(study: Mapping[str, Any], outcome: Outcome) -> Outcome:
    """Return the outcome, as failed if it lacks a metric that the study is judged by."""
    needed = {name for name, _ in objectives_of(study)}.union(*(item.names for item in constraints_of(study)))
    missing = sorted(needed - outcome.metrics.keys())
    if outcome.state != COMPLETE or not missing:
        return outcome
    error = (
        f"the objective must return the metrics {', '.join(sorted(needed))}, got {', '.join(sorted(outcome.metrics))}; "
        "return them all in one dict"
    )
    return replace(outcome, state=FAILED, reason="exception", error=error)


def eligible(study: Mapping[str, Any], results: Iterable[Result]) -> list[Result]:
    """Return the trials that may be best, in order: complete, no constraint broken, at the largest fidelity of all."""
    constraints, needed = constraints_of(study), {name for name, _ in objectives_of(study)}
    found = [
        result
        for result in results
        if result.state == COMPLETE
        and result.metrics.keys() >= needed
        and all(constraint.violation(result.metrics) <= 0 for constraint in constraints)
    ]
    if not study.get("fidelity"):
        return found
    largest = max((result.fidelity or 0.0 for result in found), default=None)
    return [result for result in found if (result.fidelity or 0.0) == largest]


def best_trial(study: Mapping[str, Any], results: Iterable[Result]) -> Result | None:
    """Return the trial that is best by the first metric; of equals, the one with the lowest number."""
    objectives = objectives_of(study)
    candidates = eligible(study, results)
    return min(candidates, key=lambda one: (_directed(objectives, one.metrics), one.number), default=None)
