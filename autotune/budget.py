"""A study's budget: what its trials may take in all, and the account of what they have taken.

The account is one small file, ``spent.json``: each execution adds what it took, failed ones and earlier attempts
included, and each job looks at it before it begins a trial; no result is read for that. What a trial took that a kill
ended is not known, and results from elsewhere are free. So the budget is overdrawn by at most the trials that run when
it is spent: one for each slot.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autotune.errors import AutotuneError
from autotune.files import LockFile, json_bytes, read_record, write_atomic
from autotune.records import Result
from autotune.resources import resources_of
from autotune.storage import BUDGET_LOCK, Results, StudyDir

_NAMES = {"gpu_hours": "GPU-hours", "hours": "hours of trials"}


@dataclass(frozen=True, slots=True)
class Spent:
    """What trials took, summed up: seconds, and seconds times GPUs."""

    seconds: float = 0.0
    gpu_seconds: float = 0.0

    def __add__(self, other: Spent) -> Spent:
        """Return what both took."""
        return Spent(self.seconds + other.seconds, self.gpu_seconds + other.gpu_seconds)

    def of(self, name: str) -> float:
        """Return what counts for ``gpu_hours`` or ``hours``."""
        return (self.gpu_seconds if name == "gpu_hours" else self.seconds) / 3600


def spent_by(study: Mapping[str, Any], results: Mapping[int, Result]) -> Spent:
    """Return what the executions took that results tell of; those from elsewhere are free."""
    total = Spent()
    for result in results.values():
        if result.reused_from is None:
            took_s = result.duration_s + (result.earlier_s or 0)
            total += Spent(took_s, took_s * resources_of(study["resources"], result.params)["gpus"])
    return total


def read_spent(store: StudyDir) -> Spent | None:
    """Return what the account says; None where there is none, or it is not whole."""
    with contextlib.suppress(FileNotFoundError, AutotuneError, KeyError):
        record = read_record(store.spent_file)
        return Spent(record["seconds"], record["gpu_seconds"])
    return None


def keep_account(store: StudyDir, study: Mapping[str, Any]) -> None:
    """Open the account of a study with a budget from its results, close that of a study without; the plan is locked."""
    if not study.get("budget"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(store.spent_file)
    elif read_spent(store) is None:
        with contextlib.closing(store.lock()) as lock, lock.holding(BUDGET_LOCK):
            _write(store, spent_by(study, Results(store).refresh().by_number))


def spent_sentence(store: StudyDir, study: Mapping[str, Any]) -> str | None:
    """Return how much of the budget was spent, if all of it is: ``2.1 of 2 GPU-hours``; else None."""
    budget = study.get("budget")
    spent = read_spent(store) if budget else None
    if not budget or spent is None:
        return None
    over = [name for name, limit in budget.items() if spent.of(name) >= limit]
    return f"{spent.of(over[0]):.4g} of {budget[over[0]]:g} {_NAMES[over[0]]}" if over else None


def unit(name: str) -> str:
    """Return what ``gpu_hours`` and ``hours`` are called."""
    return _NAMES[name]


class Purse:
    """A study's budget as those see it who run its trials.

    Args:
        store: the study directory.
        study: the content of ``study.json``.
        lock: the study's locks.
    """

    def __init__(self, store: StudyDir, study: Mapping[str, Any], lock: LockFile) -> None:
        self._store, self._study, self._lock = store, study, lock

    def is_empty(self) -> bool:
        """Return whether no further trial may begin."""
        return spent_sentence(self._store, self._study) is not None

    def pay(self, duration_s: float, gpus: float) -> None:
        """Add one execution to the account."""
        if self._study.get("budget"):
            with self._lock.holding(BUDGET_LOCK):
                before = read_spent(self._store) or Spent()
                _write(self._store, before + Spent(duration_s, duration_s * gpus))


def _write(store: StudyDir, spent: Spent) -> None:
    record = {"seconds": round(spent.seconds, 6), "gpu_seconds": round(spent.gpu_seconds, 6)}
    write_atomic(store.spent_file, json_bytes(record))
