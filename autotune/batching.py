"""How trials are packed into batches, the units that Snakemake schedules."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from autotune.config import StudyConfig
from autotune.storage import Batch

# `auto`: each slot gets several jobs, so that the last ones do not straggle; where the time of a trial is known, a job
# lasts minutes, so that its start (0.1 s here, seconds and a place in the queue on a cluster) is small beside it.
JOBS_PER_SLOT = 4
SHORTEST_JOB_S = 300.0
LONGEST_JOB_S = 1800.0


def auto_size(trials: int, slots: int, trial_s: float | None) -> int:
    """Return how many trials a job should run, for ``trials_per_job: auto``.

    Args:
        trials: trials that are still to run.
        slots: jobs that run side by side.
        trial_s: seconds that a trial takes, where known.
    """
    share = math.ceil(trials / (slots * JOBS_PER_SLOT))
    if trial_s is not None:
        trial_s = max(trial_s, 1e-6)
        share = min(max(share, math.ceil(SHORTEST_JOB_S / trial_s)), math.floor(LONGEST_JOB_S / trial_s))
    return max(1, min(share, trials))


def cut(ids: list[str], size: int, keep: Iterable[Batch]) -> list[Batch]:
    """Return batches of at most ``size`` trials that cover all, in order; settled ones in ``keep`` stay as they are."""
    batches: list[Batch] = []
    position = 0
    for batch in sorted(keep, key=lambda batch: batch.numbers.start):
        first, stop = batch.numbers.start, batch.numbers.stop
        if first < position or Batch.of(first, ids[first:stop]).name != batch.name:
            continue  # made for another plan, or for more trials than there are now
        batches += _cut_range(ids, position, first, size)
        batches.append(batch)
        position = stop
    return batches + _cut_range(ids, position, len(ids), size)


def _cut_range(ids: list[str], first: int, stop: int, size: int) -> list[Batch]:
    return [Batch.of(start, ids[start : min(start + size, stop)]) for start in range(first, stop, size)]


def is_settled(record: dict[str, Any], config: StudyConfig, sizes: dict[int, tuple[int, int]], batch: Batch) -> bool:
    """Return whether a batch's output still tells the truth: its results are there, and its failures still stand."""
    if record.get("result_bytes") != sum(sizes.get(number, (0, 0))[0] for number in batch.numbers):
        return False
    failed = record.get("states", {}).get("failed", 0)
    return not failed or (config.on_failure == "record" and config.attempts <= record.get("attempts", 1))
