"""Two studies beside each other: what differs in their plans, the work that both did, and which is better how surely.

What two studies say of each other depends on what they share. Trials of equal id are the same work, so their values
can be compared in pairs. The bests cannot: each is one draw, which would come out otherwise with another seed. Where
trials are drawn independently of one another, drawing them again (the bootstrap) shows how much of a difference is
luck; with an adaptive searcher, each of whose trials depends on those before, only more seeds can.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from autotune.records import COMPLETE, Result

CONFIDENCE = 0.95
FEWEST = 5  # values below which a bootstrap says nothing
_RESAMPLES = 9_999
_AT_ONCE = 100  # resamples in memory together: 100 of 10,000 values are 8 MB
# Of study.json: the space, which is compared by itself, and what follows from the rest.
_NOT_COMPARED = (
    *("space", "parameters", "schema_version", "digest", "config_bytes", "trials", "blocks", "rounds", "round_sizes"),
    *("search_path", "write_best_to"),
)


@dataclass(frozen=True, slots=True)
class Difference:
    """B's value less A's, with the interval that holds it with CONFIDENCE; None where there is too little for one.

    ``values`` is how many of each study it rests on.
    """

    a: float
    b: float
    difference: float
    interval: tuple[float, float] | None
    values: int

    def winner(self, mode: str) -> str | None:
        """Return ``A`` or ``B``, where the interval leaves no doubt; ``mode`` is min or max."""
        if self.interval is None or self.interval[0] <= 0 <= self.interval[1]:
            return None
        return "B" if (self.interval[1] < 0) == (mode == "min") else "A"


def plan_differences(a: dict[str, Any], b: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return what differs between two plans, other than the space: key -> (A's, B's)."""
    keys = [key for key in {**a, **b} if key not in _NOT_COMPARED]
    return {key: (a.get(key), b.get(key)) for key in keys if a.get(key) != b.get(key)}


def space_differences(a: dict[str, Any], b: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the parameters that differ: name -> (A's, B's), None where it has none."""
    names = {**a["space"], **b["space"]}
    pairs = {name: (a["space"].get(name), b["space"].get(name)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def shared_trials(a: Sequence[Result], b: Sequence[Result], metric: str) -> list[tuple[Result, Result]]:
    """Return the trials of equal id that are complete in both, each id once."""
    in_b = {result.id: result for result in reversed(b) if _has(result, metric)}
    in_a = {result.id: result for result in reversed(a) if _has(result, metric)}
    return [(in_a[id_], in_b[id_]) for id_ in reversed(in_a) if id_ in in_b]


def of_shared(pairs: Sequence[tuple[Result, Result]], metric: str) -> Difference | None:
    """Return the difference of the means over shared trials, with a bootstrap interval over pairs (BCa)."""
    if not pairs:
        return None
    import numpy as np

    values = np.array([[one.metrics[metric], other.metrics[metric]] for one, other in pairs])
    differences = values[:, 1] - values[:, 0]
    mean_a, mean_b = values.mean(axis=0)
    interval = None
    if np.ptp(differences) == 0 and len(pairs) >= FEWEST:
        interval = (float(differences[0]), float(differences[0]))
    elif len(pairs) >= FEWEST:
        interval = _interval((differences,), np.mean, "BCa")
    return Difference(float(mean_a), float(mean_b), float(differences.mean()), interval, len(pairs))


def of_bests(a: Sequence[float], b: Sequence[float], trials: int, mode: str) -> Difference | None:
    """Return the difference of the bests; None where a study has no value.

    The interval is that of drawing the trials of each study again (percentile bootstrap).

    Args:
        a: the values of one study's trials that may be best, among its first ``trials``.
        b: the other's.
        trials: how many trials of each study were looked at.
        mode: min or max.
    """
    import numpy as np

    if not a or not b:
        return None
    best = np.min if mode == "min" else np.max

    def difference(first: Any, second: Any, axis: int = -1) -> Any:
        return best(second, axis=axis) - best(first, axis=axis)

    values = (np.array(a), np.array(b))
    interval = _interval(values, difference, "percentile") if min(len(a), len(b)) >= FEWEST else None
    best_a, best_b = (float(best(some)) for some in values)
    return Difference(best_a, best_b, best_b - best_a, interval, trials)


def _interval(samples: tuple[Any, ...], statistic: Any, method: Any) -> tuple[float, float]:
    from scipy import stats

    found = stats.bootstrap(
        samples,
        statistic,
        n_resamples=_RESAMPLES,
        batch=_AT_ONCE,
        confidence_level=CONFIDENCE,
        method=method,
        rng=0,  # the same question has the same answer
    ).confidence_interval
    return float(found.low), float(found.high)


def _has(result: Result, metric: str) -> bool:
    return result.state == COMPLETE and metric in result.metrics
