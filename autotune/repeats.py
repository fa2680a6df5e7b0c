"""Noisy objectives: trials of equal parameters are a group, judged by its mean and a confidence interval.

Intervals are bootstrap-t ones (Efron & Tibshirani 1993, "An Introduction to the Bootstrap", chapter 12). Since a group
has few values, the residuals that are drawn from are those of all groups, each group's divided by its own standard
deviation: the groups may differ in their noise's size, not in its shape. Of three values a plain percentile interval
would hold the mean in 77 % of cases, as tests/unit/test_repeats.py measures it for these.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import Any

from autotune.files import canonical
from autotune.objectives import directed_values, eligible
from autotune.records import Result
from autotune.spaces import Params

_LEVEL = 0.95
_RESAMPLES = 4000
_LEAST_SPREAD = 1e-9


@dataclass(frozen=True, slots=True)
class Standing:
    """How a group of repeated trials stands: its mean, the interval that holds it at 95 %, and whether it may be best.

    ``low`` and ``high`` are None for a single value. ``is_tied``: it cannot be told apart from the group with the best
    mean, or is that group.
    """

    values: tuple[float, ...]
    mean: float
    low: float | None
    high: float | None
    is_tied: bool


def standings(groups: Sequence[Sequence[float]]) -> list[Standing]:
    """Return how groups of values stand, less being better; always the same for the same values.

    Args:
        groups: the values of each group, at least one in each.
    """
    if not groups:
        return []
    bootstrap = _Bootstrap(groups)
    best = min(range(len(groups)), key=lambda place: fmean(groups[place]))
    found = []
    for place, values in enumerate(groups):
        low, high = bootstrap.interval([values])
        behind, _ = bootstrap.interval([values, groups[best]])
        is_tied = place == best or behind is None or behind <= 0
        found.append(Standing(tuple(values), fmean(values), low, high, is_tied))
    return found


class _Bootstrap:
    """Intervals of a mean, and of the difference of two, by the residuals of all groups."""

    def __init__(self, groups: Sequence[Sequence[float]]) -> None:
        import numpy as np

        noisy = [np.array(values) for values in groups if len(values) > 1 and stdev(values) > 0]
        self._residuals = np.concatenate([(v - v.mean()) / v.std(ddof=1) for v in noisy]) if noisy else None

    def interval(self, groups: Sequence[Sequence[float]]) -> tuple[float | None, float | None]:
        """Return the interval of the first group's mean, less the second's if there is one; None for single values."""
        import numpy as np

        if min(len(values) for values in groups) < 2:
            return None, None
        signs = (1, -1)[: len(groups)]
        estimate = sum(sign * fmean(values) for sign, values in zip(signs, groups, strict=True))
        error = math.hypot(*(stdev(values) / math.sqrt(len(values)) for values in groups))
        if self._residuals is None or error == 0:
            return estimate, estimate
        draw, shift, spread = np.random.default_rng(0), np.zeros(_RESAMPLES), np.zeros(_RESAMPLES)
        for sign, values in zip(signs, groups, strict=True):
            drawn = stdev(values) * draw.choice(self._residuals, size=(_RESAMPLES, len(values)))
            shift += sign * drawn.mean(axis=1)
            spread += drawn.var(axis=1, ddof=1) / len(values)
        is_spread = spread > (_LEAST_SPREAD * error) ** 2  # else all residuals drawn are one and the same
        tail = (1 - _LEVEL) / 2
        low, high = np.quantile(shift[is_spread] / np.sqrt(spread[is_spread]), [tail, 1 - tail])
        return float(estimate - high * error), float(estimate - low * error)


def grouped(results: Sequence[Result]) -> list[list[Result]]:
    """Return the results in groups of equal parameters, in order of their first trials."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(canonical(result.params), []).append(result)
    return list(groups.values())


def best_group(study: Mapping[str, Any], results: Sequence[Result]) -> Result | None:
    """Return the group that is best by the mean of the first metric, as a result with the mean of every metric.

    Groups that have fewer repeats than the study's least count only where no other does. Where the first point of
    `warm_start`, which stands for the default, cannot be told apart from the best, it is the best.
    """
    table = tie_class(study, results)
    return None if not table else mean_result(table[0][0])


def tie_class(study: Mapping[str, Any], results: Sequence[Result]) -> list[tuple[list[Result], Standing]]:
    """Return the groups that may be best, the chosen one first, then by mean."""
    groups = grouped(eligible(study, results))
    full = [group for group in groups if len(group) >= study["repeats"]["min"]] or groups
    values = [[(directed_values(study, result.metrics) or (math.inf,))[0] for result in group] for group in full]
    tied = [pair for pair in zip(full, standings(values), strict=True) if pair[1].is_tied]
    default: Params | None = next(iter(study.get("warm_start", [])), None)
    return sorted(tied, key=lambda pair: (pair[0][0].params != default, pair[1].mean, pair[0][0].number))


def mean_result(group: Sequence[Result]) -> Result:
    """Return a group's first result with the mean of each metric that all of the group have."""
    names = set.intersection(*(set(result.metrics) for result in group))
    metrics = {name: fmean(result.metrics[name] for result in group) for name in sorted(names)}
    return replace(group[0], outcome=replace(group[0].outcome, metrics=metrics))


def tie_records(study: Mapping[str, Any], results: Sequence[Result]) -> list[dict[str, Any]]:
    """Return the tie class as ``best.json`` holds it, the chosen group first; values with the metric's own sign."""
    sign = 1 if study["mode"] == "min" else -1
    records = []
    for group, standing in tie_class(study, results):
        ends = sorted(sign * end for end in (standing.low, standing.high) if end is not None)
        records.append(
            {
                "params": group[0].params,
                "trials": [result.number for result in group],
                "mean": sign * standing.mean,
                "interval": ends or None,
            }
        )
    return records
