"""Several objectives: which trials no other one beats, the ranks of all, and the volume that they dominate.

The computations are moocore's (https://multi-objective.github.io/moocore/python/).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from autotune.objectives import directed_values, eligible, objectives_of
from autotune.records import Result


def ranks(study: Mapping[str, Any], results: Sequence[Result]) -> dict[int, int]:
    """Return trial number -> rank: 1 on the Pareto front, 2 on the front without those, and so on.

    Trials that cannot be best (not complete, or a constraint broken) have no rank. The method is non-dominated sorting
    (Goldberg 1989; Deb et al. 2002, doi:10.1109/4235.996017).
    """
    import moocore

    candidates = eligible(study, results)
    if not candidates:
        return {}
    found = moocore.pareto_rank(_values(study, candidates))
    return {result.number: int(rank) + 1 for result, rank in zip(candidates, found, strict=True)}


def front(study: Mapping[str, Any], results: Sequence[Result]) -> list[Result]:
    """Return the trials that no other one beats in one metric without losing in another, by the first metric."""
    rank = ranks(study, results)
    best = [result for result in results if rank.get(result.number) == 1]
    return sorted(best, key=lambda result: (directed_values(study, result.metrics) or (), result.number))


def hypervolumes(study: Mapping[str, Any], results: Sequence[Result], rounds: Sequence[int]) -> list[float]:
    """Return the hypervolume (Zitzler & Thiele 1998) that the trials up to the end of each round dominate.

    The reference point is the worst value of each metric among all trials that may be best, so that the volumes of one
    study can be compared with one another, at one time.

    Args:
        study: the content of ``study.json``.
        results: all results.
        rounds: trials in each round.
    """
    import moocore

    candidates = eligible(study, results)
    if not candidates:
        return []
    values = _values(study, candidates)
    reference, volumes, stop = values.max(axis=0), [], 0
    for size in rounds:
        stop += size
        known = values[[result.number < stop for result in candidates]]
        volumes.append(float(moocore.hypervolume(known, ref=reference)) if len(known) else 0.0)
    return volumes


def _values(study: Mapping[str, Any], results: Sequence[Result]) -> Any:
    """Return the values as an array [trials, metrics], each to be minimised."""
    import numpy as np

    values = [directed_values(study, result.metrics) for result in results]
    return np.array(values, dtype=float).reshape(len(results), len(objectives_of(study)))
