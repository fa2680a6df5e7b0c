"""How trials are packed into batches, the units that Snakemake schedules, and which of these are settled."""

from __future__ import annotations

import bisect
import itertools
import math
import os
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from autotune.batch import Batch
from autotune.config import StudyConfig
from autotune.errors import UnreadableFile
from autotune.files import json_bytes, write_if_changed
from autotune.records import Result
from autotune.storage import StudyDir

# `auto`: each slot gets several jobs, so that the last ones do not straggle; where the time of a trial is known, a job
# lasts minutes, so that its start (0.1 s here, seconds and a place in the queue on a cluster) is small beside it.
JOBS_PER_SLOT = 4
SHORTEST_JOB_S = 300.0
LONGEST_JOB_S = 1800.0


def processors() -> int:
    """Return how many processors this process may use: under `taskset`, SLURM or a cpuset fewer than there are."""
    return len(os.sched_getaffinity(0))


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


def cut(ids: list[str], size: int, keep: Iterable[Batch], ends: Iterable[int] = ()) -> list[Batch]:
    """Return batches of at most ``size`` trials that cover all, in order; settled ones in ``keep`` stay as they are.

    No batch goes on over one of ``ends``, the numbers of trials that begin a round or need other resources.
    """
    batches: list[Batch] = []
    position, borders = 0, sorted(ends)
    for batch in sorted(keep, key=lambda batch: batch.numbers.start):
        first, stop = batch.numbers.start, batch.numbers.stop
        if first < position or Batch.of(first, ids[first:stop]).name != batch.name:
            continue  # made for another plan, or for more trials than there are now
        batches += _cut_range(ids, position, first, size, borders)
        batches.append(batch)
        position = stop
    return batches + _cut_range(ids, position, len(ids), size, borders)


def _cut_range(ids: list[str], first: int, stop: int, size: int, borders: list[int]) -> list[Batch]:
    inner = borders[bisect.bisect_right(borders, first) : bisect.bisect_left(borders, stop)]
    return [
        Batch.of(start, ids[start : min(start + size, to)])
        for begin, to in itertools.pairwise([first, *inner, stop])
        for start in range(begin, to, size)
    ]


def is_settled(record: dict[str, Any], config: StudyConfig, sizes: dict[int, tuple[int, int]], batch: Batch) -> bool:
    """Return whether a batch's output still tells the truth: its results are there, and its failures still stand."""
    if record.get("result_bytes") != sum(sizes.get(number, (0, 0))[0] for number in batch.numbers):
        return False
    failed = record.get("states", {}).get("failed", 0)
    return not failed or (config.on_failure == "record" and config.attempts <= record.get("attempts", 1))


def first_size(config: StudyConfig, trials: int, slots: int) -> int:
    """Return the trials in a batch of a study of which nothing has run yet."""
    return auto_size(trials, slots, None) if config.trials_per_job == "auto" else int(config.trials_per_job)


class Packer:
    """Packs the trials of a plan, around the batches that are settled already.

    Attributes:
        pending_batches: batches that are to run.
        done: trials that need no execution any more.
        notes: results that were found damaged.
        sources: of the objective, by which the results were made -> how many.

    ``ends`` are the trials at which a batch must begin anew.
    """

    def __init__(self, store: StudyDir, config: StudyConfig, slots: int, ends: Sequence[int] = ()) -> None:
        self._store, self._config, self._slots, self._ends = store, config, slots, ends
        self._sizes = store.result_sizes()  # once: with 100,000 results it takes half a second
        self.pending_batches = self.done = 0
        self.sources: Counter[str] = Counter()
        self.notes: list[str] = []

    def pack(self, trials: int, ids: list[str] | None, *, write: bool) -> list[Batch]:
        """Return all batches, and write the list; ``ids`` is None where the trials are as they were."""
        index = self._index()
        settled = self._settled(write=write)
        pending = trials - sum(len(batch.numbers) for batch in settled)
        size, measured_s = self._size(index, trials, pending)
        record: dict[str, Any] = {"trials_per_job": size, "measured_s": measured_s}
        if ids is None and all(index.get(key) == item for key, item in record.items()):
            batches = [Batch(name) for name in index["batches"]]
        else:
            ids = ids or [self._store.read_config(number).id for number in range(trials)]
            batches = cut(ids, size, settled, self._ends)
        names = {batch.name for batch in settled}
        open_ = [batch for batch in batches if batch.name not in names]
        self.pending_batches = len(open_)
        self.done = trials - sum(len(batch.numbers) for batch in open_) + self._settled_in(open_)
        if write:
            record["batches"] = [batch.name for batch in batches]
            write_if_changed(self._store.index_file, json_bytes(record))
        return batches

    def _index(self) -> dict[str, Any]:
        if not os.path.exists(self._store.index_file):
            return {}
        try:
            return self._store.read_index()
        except UnreadableFile:  # cut off: it follows from the trials, and is written anew
            return {}

    def _settled(self, *, write: bool) -> list[Batch]:
        """Return the batches whose output still holds; remove the output of the others, so that they run again."""
        settled = []
        for name, record in self._store.batch_records().items():
            batch = Batch(name)
            if is_settled(record, self._config, self._sizes, batch):
                settled.append(batch)
                self.sources.update(record.get("sources", {}))
            else:
                self._note_damage(batch)
                if write:
                    self._store.forget_batch(batch)
        return settled

    def _note_damage(self, batch: Batch) -> None:
        for number in batch.numbers:
            try:
                if self._store.read_result(number) is None:
                    self.notes.append(f"trial {number} has lost its result and will run again")
            except UnreadableFile as error:
                self.notes.append(f"{error}; trial {number} will run again")

    def _settled_in(self, batches: list[Batch]) -> int:
        done = 0
        for result in (self._result(number) for batch in batches for number in batch.numbers):
            if result is not None:
                done += result.settles(self._config.on_failure, self._config.attempts)
                self.sources.update([result.source] if result.source else [])
        return done

    def _result(self, number: int) -> Result | None:
        try:
            return self._store.read_result(number)
        except UnreadableFile:
            return None

    def _size(self, index: dict[str, Any], trials: int, pending: int) -> tuple[int, float | None]:
        """Return the trials in a batch, and for ``auto`` the seconds a trial takes; both change only if need be.

        That is when the time becomes known, or turns out to be twice as long or half as long as it was.
        """
        if self._config.trials_per_job != "auto":
            return int(self._config.trials_per_job), None
        known, measured = index.get("measured_s"), self._measured_s()
        is_off = measured is not None and (known is None or not known / 2 <= measured <= known * 2)
        if index and (not is_off or not pending):
            return index["trials_per_job"], known
        at_once = max(stop - first for first, stop in itertools.pairwise([0, *self._ends, trials]))
        return auto_size(min(pending or trials, at_once), self._slots, measured), measured

    def _measured_s(self) -> float | None:
        found = (self._result(number) for number in itertools.islice(self._sizes, 100))
        times = [result.duration_s for result in found if result is not None]
        return round(statistics.median(times), 6) if times else None
