"""A batch: the unit that Snakemake schedules, whose name says all about it."""

from __future__ import annotations

import re

from autotune.errors import InvalidStudy
from autotune.files import digest

BATCH_NAME = re.compile(r"(\d+)-(\d+)-([0-9a-f]{8})")


class Batch:
    """A run of trials that Snakemake schedules as one job; its name says which, so that a job reads no list.

    ``00000-00049-1a2b3c4d`` is trials 0 to 49; the last part is a digest of their ids.
    """

    def __init__(self, name: str) -> None:
        match = BATCH_NAME.fullmatch(name)
        if match is None:
            raise InvalidStudy(
                f"a batch must be named like 00000-00049-1a2b3c4d, got {name!r}; `autotune plan` makes them"
            )
        self.name = name
        self.numbers = range(int(match[1]), int(match[2]) + 1)
        self.digest = match[3]

    @classmethod
    def of(cls, first: int, ids: list[str]) -> Batch:
        """Return the batch of the trials with these ids, the first of which has this number."""
        return cls(f"{first:05d}-{first + len(ids) - 1:05d}-{digest(ids)[:8]}")
