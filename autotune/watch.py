"""What Snakemake waits for, read from its log, beside what SLURM has: where they differ, it would wait for ever."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from autotune.slurm import ENDED, Job

_SUBMITTED = re.compile(r"Job (\d+) has been submitted with SLURM jobid (\S+)")
_REFUSED = re.compile(r"SLURM sbatch failed\. The error message was '(.*?)'\.\s*$", re.MULTILINE | re.DOTALL)
_ENDED = re.compile(r"SLURM-job '(\S+)' failed.*?SLURM status is: '(\w+)'", re.DOTALL)
_FINISHED = re.compile(r"Finished jobid: (\d+)|^\s+jobid: (\d+)")


@dataclass
class Belief:
    """What Snakemake waits for, read from its log as it grows."""

    path: str
    position: int = 0
    waiting: dict[str, str] = field(default_factory=dict)  # Snakemake's number of a job -> SLURM's
    changed: float = field(default_factory=time.monotonic)  # when it last saw a job end
    _is_error: bool = False

    def refresh(self) -> None:
        """Read what is new."""
        with open(self.path, encoding="utf-8", errors="replace") as log:
            log.seek(self.position)
            while (line := log.readline()).endswith("\n"):
                self._read(line)
                self.position = log.tell()

    def _read(self, line: str) -> None:
        if found := _SUBMITTED.search(line):
            self.waiting[found[1]] = found[2]
        elif line.startswith("Error in "):
            self._is_error = True
        elif found := _FINISHED.search(line):
            if found[1] or self._is_error:
                self.waiting.pop(found[1] or found[2], None)
                self.changed = time.monotonic()
            self._is_error = False


@dataclass
class Watch:
    """Compares what Snakemake waits for with what SLURM has.

    Args:
        belief: what Snakemake waits for.
        first_pause_s: the plugin's ``init-seconds-before-status-checks``.
        latency_s: Snakemake's ``latency-wait``.
    """

    belief: Belief
    first_pause_s: float
    latency_s: float
    gone: dict[str, float] = field(default_factory=dict)  # SLURM's number of a job -> when it was first seen to be over

    def look(self, jobs: list[Job]) -> dict[str, str]:
        """Return the jobs that SLURM is done with and Snakemake waits for all the same: number -> state."""
        now = time.monotonic()
        self.belief.refresh()
        states = {job.id: job.state for job in jobs}
        over = [id_ for id_ in self.belief.waiting.values() if states.get(id_, "unknown") in ENDED | {"unknown"}]
        self.gone = {id_: self.gone.get(id_, now) for id_ in over}
        late = [id_ for id_, since in self.gone.items() if now - since > self._patience_s(since)]
        return {id_: states.get(id_, "unknown") for id_ in late}

    def _patience_s(self, since: float) -> float:
        """Return how long the plugin may take to notice: its pause grows by 10 s with each look that finds nothing."""
        pause, elapsed = self.first_pause_s, 0.0
        while elapsed < since - self.belief.changed and pause < 180:
            elapsed += pause
            pause += 10
        return min(pause, 180) + self.latency_s + 10


def troubles(path: str, position: int) -> Iterator[str]:
    """Yield what SLURM did not do for Snakemake, or undid, by the log from a position on; one sentence each."""
    with open(path, encoding="utf-8", errors="replace") as log:
        log.seek(position)
        text = log.read()
    for message in dict.fromkeys(_REFUSED.findall(text)):
        yield f"SLURM refused jobs: {' '.join(message.split())}; what jobs ask for stands in the profile and the study"
    ended: dict[str, list[str]] = {}
    for id_, state in _ENDED.findall(text):
        if state != "FAILED":  # then the job ended by itself
            ended.setdefault(state, []).append(id_)
    for state, ids in ended.items():
        jobs = f"job{'s' if len(ids) > 1 else ''} {', '.join(ids[:8])}{' and others' if len(ids) > 8 else ''}"
        yield f"SLURM ended {jobs} with {state}; finished trials are kept"
