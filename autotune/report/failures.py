"""What failed: trials grouped by cause, with the end of what one of each group printed."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass

from autotune.report.data import Data
from autotune.storage import StudyDir

_MOST_GROUPS = 25
_TAIL_BYTES = 4096
_TAIL_LINES = 30


@dataclass(frozen=True, slots=True)
class Failure:
    """Trials that failed alike; traceback and log are those of the first."""

    state: str
    reason: str
    error: str
    trials: list[int]
    traceback: str
    log: str


def failures(data: Data) -> list[Failure]:
    """Return the groups, the largest first; of very many, the largest ones."""
    results = {result.number: result for result in data.snapshot.results}
    found = []
    for (state, reason, error), numbers in list(data.summary.groups.items())[:_MOST_GROUPS]:
        first = results[min(numbers)]
        log = log_tail(data.snapshot.store, first.number)
        found.append(Failure(state, reason, error, sorted(numbers), first.outcome.traceback or "", log))
    return found


def log_tail(store: StudyDir, number: int) -> str:
    """Return the last lines that a trial printed; empty where it printed nothing."""
    with contextlib.suppress(OSError), open(store.stdout_file(number), "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL_BYTES))
        return "\n".join(file.read().decode("utf-8", "replace").splitlines()[-_TAIL_LINES:])
    return ""
