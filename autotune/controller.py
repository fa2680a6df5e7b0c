"""Standing over Snakemake on SLURM: it never hangs for long, and it can be killed and started again at any moment.

Snakemake knows nothing of jobs that an earlier Snakemake left in the queue, and its SLURM plugin waits for ever for
jobs that it has lost. Here the left-over ones are waited for before Snakemake starts, and a Snakemake that waits for
jobs which SLURM is done with is ended and started again, for all but what is still in the queue. Results decide what is
still to run: nothing is repeated.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from typing import Any

from autotune import slurm, snakemake
from autotune.aggregation import Summary, summarize
from autotune.batch import Batch
from autotune.budget import spent_sentence
from autotune.errors import InvalidStudy
from autotune.execution.kernel import die_with_parent, signal_name
from autotune.progress import Progress
from autotune.slurm import Job
from autotune.storage import CONTROLLER_LOCK, Results, StudyDir
from autotune.watch import Belief, Watch, troubles

_POLL_S = 0.5
_LOOK_S = 20.0  # between two looks at the queue, at least
_FRUITLESS = 3  # restarts after which not one trial more was done
_INT_S, _TERM_S = 30.0, 5.0
_STARVED_S = 60.0


class Terminated(KeyboardInterrupt):
    """This process got SIGTERM: unlike after Ctrl-C, nobody is there who wants the jobs to end."""


@contextlib.contextmanager
def alone(store: StudyDir) -> Iterator[None]:
    """Be the only one that runs the study on SLURM.

    Raises:
        InvalidStudy: another process does.
    """
    store.make()
    with contextlib.closing(store.lock()) as lock:
        if not lock.acquire(CONTROLLER_LOCK):
            raise InvalidStudy(
                f"only one `autotune study` must run the study in {store.root!r} on SLURM, but another one does, "
                "perhaps on another login node; `autotune status --watch` follows it, `autotune cancel` ends it"
            )
        with contextlib.suppress(FileNotFoundError):
            os.unlink(store.cancel_file)
        yield


def settle_leftovers(store: StudyDir, study: dict[str, Any], *, cancel: bool = False) -> bool:
    """Wait until no job of an earlier run is in the queue, or cancel them; return whether there were any."""
    jobs = slurm.active(store)
    if not jobs:
        return False
    results = Results(store)
    summary = summarize(store, study, results)
    with Progress(summary.trials, summary.done, plain=True) as progress:
        if cancel:
            progress.say(f"cancelling {slurm.described(jobs)} of an earlier run")
            slurm.cancel(jobs)
        else:
            progress.say(
                f"{slurm.described(jobs)} of an earlier run in the queue: waiting for them "
                "(`--cancel-leftovers` cancels them, finished trials are kept)"
            )
        pause = 1.0
        while jobs:
            time.sleep(pause)
            pause = min(pause * 1.5, _LOOK_S)
            jobs = slurm.active(store)
            progress.show(summarize(store, study, results))
    return True


def run(store: StudyDir, study: dict[str, Any], rest: list[str], targets: Sequence[str] = ()) -> tuple[int, Summary]:
    """Run Snakemake until the study is done or cannot be; return its exit status and where the study stands then.

    ``targets`` are the files to be made, where not all of the study is to run.
    """
    results, wanted = Results(store), ["--", *targets] if targets else []
    argv = [*snakemake.command(store, study, rest), "--slurm-jobname-prefix", slurm.prefix(store)]
    done, fruitless = summarize(store, study, results).done, 0
    left: list[Job] = []  # what an ended Snakemake has in the queue: the next one does the rest meanwhile
    while True:
        status = _run_once([*argv, *_all_but(store, left), *wanted], store, study, results, snakemake.settings(rest))
        is_spent = spent_sentence(store, study) is not None
        if left or is_spent:  # so that never more than two Snakemakes have jobs in the queue
            settle_leftovers(store, study)
        summary = summarize(store, study, results)
        if is_spent or (status >= 0 and not left):
            return abs(status), summary
        if status < 0:
            done, fruitless = summary.done, 0 if summary.done > done else fruitless + 1
        if fruitless >= _FRUITLESS:
            _say(f"Snakemake had to be started again {fruitless} times, and no trial was done meanwhile: giving up")
            return 1, summary
        left = [] if left else slurm.active(store)
        meanwhile = f"; {slurm.described(left)} of the one before go on" if left else ""
        _say(f"starting Snakemake again{meanwhile}; finished trials are kept")


def _all_but(store: StudyDir, jobs: list[Job]) -> list[str]:
    """Return the flags by which Snakemake leaves the batches of these jobs alone, and what needs them."""
    files = [os.path.normpath(store.batch_file(Batch(job.batch))) for job in jobs if job.batch is not None]
    return ["--omit-from", *files] if files else []


def _run_once(
    argv: list[str], store: StudyDir, study: dict[str, Any], results: Results, settings: dict[str, Any]
) -> int:
    """Run Snakemake once; return its exit status, below zero where it was killed, here because it hung or by others."""
    pause_s = float(settings["slurm-init-seconds-before-status-checks"])
    with open(store.snakemake_log, "ab") as log, _terminated():
        start = log.tell()
        watch = Watch(Belief(store.snakemake_log, position=start), pause_s, float(settings["latency-wait"]))
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is for this process alone, which then ends Snakemake
            preexec_fn=die_with_parent,  # noqa: PLW1509  # one thread; else a killed controller left a second Snakemake
        )
        try:
            hangs = _follow(process, watch, store, study, results, min(pause_s, _LOOK_S))
            if hangs:
                end(process, kill=True)  # by SIGINT it would cancel the jobs that run well
        except Terminated:
            end(process, kill=True)
            jobs = slurm.queue(store) or []
            _say(
                f"ended; {slurm.described(job for job in jobs if job.is_active)} of the study in the queue: "
                "the same command waits for them, `autotune cancel` ends them"
            )
            raise
        except KeyboardInterrupt:
            _say("ending, and cancelling the study's jobs; a moment for the trials in flight")
            end(process)
            slurm.cancel(job for job in slurm.queue(store) or [] if job.is_active)  # such as were just being submitted
            raise
        except BaseException:  # a full disk, say: the jobs may well go on
            end(process, kill=True)
            raise
    is_spent = spent_sentence(store, study) is not None
    for sentence in () if is_spent else troubles(store.snakemake_log, start):
        _say(f"note: {sentence}")
    if process.returncode < 0 and not hangs and not is_spent:
        _say(f"Snakemake was killed by {signal_name(-process.returncode)}; its jobs go on")
    return process.returncode


def _follow(
    process: subprocess.Popen[bytes],
    watch: Watch,
    store: StudyDir,
    study: dict[str, Any],
    results: Results,
    look_s: float,
) -> bool:
    """Show progress until Snakemake has ended; return whether it hangs."""
    summary = summarize(store, study, results)
    with Progress(summary.trials, summary.done, plain=True) as progress:
        speaker, is_spent = _Speaker(progress), False
        pause, next_look = _POLL_S, time.monotonic() + look_s
        while not snakemake.has_ended(process, pause):
            now = time.monotonic()
            progress.show(summarize(store, study, results))
            if not is_spent and snakemake.close_if_spent(store, study, process):
                is_spent, next_look = True, now
                progress.say("budget spent: waiting for the trials that run, cancelling the jobs that have not started")
            pause = max(_POLL_S, 30 * (time.monotonic() - now))
            if now < next_look:
                continue
            next_look = now + look_s
            if os.path.exists(store.cancel_file):
                raise KeyboardInterrupt
            jobs = slurm.queue(store)
            speaker.answers(jobs is not None)
            if jobs is not None:
                slurm.cancel(job for job in jobs if is_spent and job.state in slurm.WAITING)
                stuck = watch.look(jobs)
                speaker.starved(jobs)
                speaker.stuck(stuck)
                if stuck:
                    return True
    return False


class _Speaker:
    """Says what a user should know of the queue, each thing once."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._answers = True
        self._stuck: set[str] = set()
        self._hungry_since: float | None = None
        self._reasons: set[str] = set()

    def answers(self, answers: bool) -> None:
        """Say that SLURM is away, or back."""
        if answers != self._answers:
            self._progress.say("SLURM answers again" if answers else "SLURM does not answer `squeue`; waiting for it")
        self._answers = answers

    def stuck(self, stuck: dict[str, str]) -> None:
        """Say which jobs Snakemake waits for in vain."""
        for id_, state in stuck.items():
            if id_ not in self._stuck:
                how = "does not know it any more" if state == "unknown" else f"says {state}"
                self._progress.say(f"Snakemake waits for SLURM job {id_}, but SLURM {how}")
        self._stuck |= stuck.keys()

    def starved(self, jobs: list[Job]) -> None:
        """Say why, where SLURM has jobs of the study and has started none for a while."""
        held = [job for job in jobs if job.is_active]
        now = time.monotonic()
        if not held or any(job.state not in slurm.WAITING for job in held):
            self._hungry_since = None
            return
        self._hungry_since = self._hungry_since or now
        reasons = {job.reason for job in held}
        if now - self._hungry_since >= _STARVED_S and not reasons <= self._reasons:
            self._reasons |= reasons
            self._progress.say(f"SLURM starts none of the study's jobs: {', '.join(sorted(reasons))}")


def end(process: subprocess.Popen[bytes], *, kill: bool = False) -> None:
    """End Snakemake and what it has started: by SIGINT, on which it cancels its jobs, or by SIGKILL."""
    steps: list[tuple[signal.Signals, float]] = [(signal.SIGINT, _INT_S), (signal.SIGTERM, _TERM_S)]
    for number, wait_s in [] if kill else steps:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
        if snakemake.has_ended(process, wait_s):
            return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextlib.contextmanager
def _terminated() -> Iterator[None]:
    """Raise Terminated on SIGTERM."""

    def terminate(_number: int, _frame: object) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _say(sentence: str) -> None:
    Progress(0, 0).say(sentence)
