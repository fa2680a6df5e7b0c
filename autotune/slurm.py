"""What SLURM says of a study's jobs, and cancelling them.

A study's jobs bear its name, ``autotune-1a2b3c4d5e6f_<run>``, where `autotune study` submitted them, and always the
name of their batch in the comment. What matters is asked of ``squeue`` alone; ``sacct``, where there is an accounting
database, adds the jobs that ended so long ago that ``squeue`` has forgotten them.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from autotune.batch import Batch
from autotune.errors import InvalidInput
from autotune.files import digest
from autotune.storage import StudyDir

# The states of `man squeue` in which SLURM is done with a job; in all others it holds it, or will start it again.
ENDED = frozenset(
    {
        *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED"),
        *("REVOKED", "TIMEOUT"),
    }
)
WAITING = frozenset(
    {
        *("CONFIGURING", "PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT"),
    }
)

_QUERY_S = 60.0
_AWAY_S = 600.0  # how long SLURM's controller may not answer before a study gives up
_FORMAT = "%i|%T|%j|%Z|%r|%k"
_SACCT_FORMAT = "JobIDRaw,State,JobName,WorkDir,Reason,Comment"  # the same
_COMMENT = "rule_batch_wildcards_"
_OPTIONS = ("SQUEUE_", "SCANCEL_", "SACCT_")


@dataclass(frozen=True, slots=True)
class Job:
    """A job as squeue shows it; ``batch`` is the one that it runs, if it is a batch's."""

    id: str
    state: str
    name: str
    folder: str
    reason: str
    batch: str | None

    @property
    def is_active(self) -> bool:
        """Whether SLURM still holds the job: it is pending, runs, or is being ended."""
        return self.state not in ENDED


def prefix(store: StudyDir) -> str:
    """Return what the names of a study's jobs begin with; it stands for the study directory."""
    return f"autotune-{digest(os.path.realpath(store.root))[:12]}"


def is_here() -> bool:
    """Return whether this machine has SLURM's commands."""
    return shutil.which("squeue") is not None


def queue(store: StudyDir) -> list[Job] | None:
    """Return the study's jobs, also those that ended a while ago; None where SLURM does not answer.

    Those that a plain `snakemake` submitted have no name of the study's: they are known by their batch's name, and by
    having been submitted in a folder that holds the study directory.
    """
    return _ask(store, ["squeue", "--noheader", f"--user={os.getuid()}", "--states=all", f"--format={_FORMAT}"])


def known(store: StudyDir) -> list[Job]:
    """Return the study's jobs as `queue` does, and those of the accounting database since the study was last changed.

    What squeue says counts, as it is newer. The database names a batch only where ``AccountingStoreFlags`` has
    ``job_comment``.
    """
    changed = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(os.stat(store.study_file).st_mtime))
    wanted = [f"--uid={os.getuid()}", f"--starttime={changed}", f"--format={_SACCT_FORMAT}"]
    told = _ask(store, ["sacct", "--allocations", "--noheader", "--parsable2", *wanted]) or []
    shown = queue(store)
    if shown is None:
        return told
    ids = {job.id for job in shown}
    return shown + [job for job in told if job.id not in ids and not job.is_active]


def _ask(store: StudyDir, command: list[str]) -> list[Job] | None:
    """Return the study's jobs among those that a command lists; None where it does not answer."""
    try:
        text = _run(command)
    except (OSError, subprocess.SubprocessError):
        return None
    name, root, batches = prefix(store) + "_", os.path.realpath(store.root), set[str]()
    with contextlib.suppress(InvalidInput):
        batches = {batch.name for batch in store.batches()}
    jobs = [_parse(line) for line in text.splitlines() if line.count("|") >= _FORMAT.count("|")]
    return [
        job
        for job in jobs
        if job.name.startswith(name)
        or (not job.name.startswith("autotune-") and job.batch in batches and _holds(job.folder, root))
    ]


def _parse(line: str) -> Job:
    id_, state, name, folder, reason, comment = line.split("|", 5)
    batch = comment.removeprefix(_COMMENT) if comment.startswith(_COMMENT) else None
    return Job(id_, state.partition(" ")[0], name, folder, reason, batch)  # sacct says "CANCELLED by 0"


def _holds(folder: str, path: str) -> bool:
    return os.path.commonpath([os.path.realpath(folder), path]) == os.path.realpath(folder)


def _run(command: list[str]) -> str:
    # What a user set for his own squeue (SQUEUE_PARTITION, SQUEUE_FORMAT, ...) would change what is asked here.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(_OPTIONS)}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, errors="replace", timeout=_QUERY_S, check=True
    )
    return done.stdout


def active(store: StudyDir) -> list[Job]:
    """Return the study's jobs that SLURM holds; wait for SLURM where it does not answer.

    Raises:
        InvalidInput: it has not answered for ten minutes.
    """
    deadline = time.monotonic() + _AWAY_S
    while (jobs := queue(store)) is None:
        if time.monotonic() > deadline:
            raise InvalidInput(
                f"SLURM must answer `squeue`, but has not for {_AWAY_S / 60:.0f} minutes; "
                "try `squeue` yourself, then the same command again"
            )
        time.sleep(5)
    return [job for job in jobs if job.is_active]


def cancel(jobs: Iterable[Job]) -> None:
    """Cancel jobs; those that have ended meanwhile do not matter.

    Raises:
        InvalidInput: SLURM did not take it.
    """
    ids = [job.id for job in jobs]
    for start in range(0, len(ids), 1000):  # a command line has its limits
        try:
            _run(["scancel", *ids[start : start + 1000]])
        except (OSError, subprocess.SubprocessError) as error:
            why = getattr(error, "stderr", None) or error
            raise InvalidInput(f"SLURM must cancel the study's jobs, but says: {str(why).strip()}; try again") from None


def described(jobs: Iterable[Job]) -> str:
    """Return for example ``3 jobs (2 running, 1 pending)``."""
    states = Counter("pending" if job.state in WAITING else job.state.lower() for job in jobs)
    total = sum(states.values())
    listed = ", ".join(f"{number} {state}" for state, number in sorted(states.items()))
    return f"{total} job{'' if total == 1 else 's'} ({listed})" if total else "no jobs"


def trials_by_state(jobs: Iterable[Job], open_: Iterable[int]) -> dict[str, list[int]]:
    """Return where SLURM has the trials that are still to run: ``running``, ``pending``, ``lost``.

    A trial is lost when the last job that was to run it has ended without settling it; one that is in none of these has
    not been submitted (or so long ago that SLURM has forgotten its job).
    """
    last: dict[int, Job] = {}
    for job in sorted(jobs, key=lambda job: (job.is_active, _number(job.id))):
        if job.batch is not None:
            with contextlib.suppress(InvalidInput):
                last |= dict.fromkeys(Batch(job.batch).numbers, job)
    states: dict[str, list[int]] = {"running": [], "pending": [], "lost": []}
    for number in open_:
        if number in last:
            state = last[number].state
            states["lost" if state in ENDED else "pending" if state in WAITING else "running"].append(number)
    return states


def sentence(jobs: Iterable[Job], trials: dict[str, list[int]]) -> str:
    """Return where SLURM has the trials, in a line."""
    parts = [f"{len(numbers)} {state}" for state, numbers in trials.items() if numbers]
    lost = trials["lost"]
    shown = ", ".join(map(str, lost[:8])) + (", ..." if len(lost) > 8 else "")
    why = f" (their jobs have ended without them: {shown})" if lost else ""
    held = described(job for job in jobs if job.is_active)
    return f"SLURM holds {held}; of the trials to run: {', '.join(parts)}{why}"


def _number(job_id: str) -> int:
    return int(re.match(r"\d*", job_id)[0] or 0)  # type: ignore[index]
