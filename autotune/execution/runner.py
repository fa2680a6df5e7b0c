"""Running the trials of a batch: skip what is settled, run the rest one after another, settle each in a file."""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from autotune import __version__
from autotune.batch import Batch
from autotune.budget import Purse, spent_sentence
from autotune.errors import UnreadableFile
from autotune.execution.begun import Note, noting
from autotune.execution.kernel import adopt_orphans, end_orphans
from autotune.execution.objective import load_objective
from autotune.execution.outcome import Objective, Stopped, call_objective, same_surroundings
from autotune.execution.slots import devices_of, share_out
from autotune.execution.trial import Trial
from autotune.execution.viz import log_metrics
from autotune.files import LockFile, digest
from autotune.objectives import with_all_metrics
from autotune.origin import origin_of
from autotune.records import FAILED, Outcome, Result, TrialConfig
from autotune.resources import formulas_of
from autotune.reuse import Shared
from autotune.storage import StudyDir

Execute = Callable[[TrialConfig, int], Outcome]
OnResult = Callable[[TrialConfig, Result], None]

_LOCK_POLL_S = 0.5


def run_batch(store: StudyDir, name: str, runtime_s: float | None = None) -> int:
    """Run a batch as a job's whole work; return the exit status.

    0: all its trials are settled, and the batch's output says so. 1: trials failed or are left for the next job, so
    that the output is not written and Snakemake counts the job as failed.

    Args:
        store: the study directory.
        name: the batch's name.
        runtime_s: seconds that the job may take, from now; no trial is begun that would probably not end in them.

    Raises:
        InvalidInput: the plan or the objective cannot work; no trial was run.
        Stopped: the job was told to end.
    """
    study, batch = store.read_study(), Batch(name)
    if formulas_of(study["resources"]):  # all trials of a batch need the same
        study["resources"] = store.read_config(batch.numbers.start).resources
    deadline = None if runtime_s is None else time.monotonic() + runtime_s
    os.environ["AUTOTUNE_LOG_DIR"] = os.path.abspath(store.root)
    _limit_threads(int(study["resources"]["cpus"]))
    _stop_on_signals()
    environment = _environment()
    with _devices(study) as gpus:
        objective = load_objective(study)

        def run(slot: int, numbers: Iterable[int]) -> list[Result]:
            own = devices_of(slot, study["resources"]["gpus"], gpus)
            if own is not None:
                os.environ["CUDA_VISIBLE_DEVICES"] = own
            with contextlib.closing(store.lock()) as lock, _executor(objective, store, study) as execute:
                lock.share_with_programs()
                with noting(store.begun_file(name), _host(), own) as note:
                    where = digest(environment)
                    runner = Runner(store, study, execute, lock, where, own, deadline=deadline, on_start=note)
                    return runner.run(numbers)

        if study["slots_per_job"] == 1:
            results = run(0, batch.numbers)
        else:
            share_out(batch.numbers, study["slots_per_job"], run)
            results = [result for result in map(store.read_result, batch.numbers) if result is not None]
    return _settle_batch(store, study, batch, results, environment)


def _settle_batch(
    store: StudyDir, study: dict[str, Any], batch: Batch, results: list[Result], environment: dict[str, str]
) -> int:
    """Write the batch's output if all its trials are settled; return the job's exit status."""
    failed = [result.number for result in results if not result.settles(study["on_failure"], study["attempts"])]
    left = sorted(set(batch.numbers) - {result.number for result in results})
    if failed:
        print(f"{len(failed)} of {len(batch.numbers)} trials failed and will run again: {_listed(failed)}", flush=True)
    spent = spent_sentence(store, study)
    if left and spent:
        print(f"budget spent ({spent}): no further trial is begun", flush=True)
    if left:
        print(f"{len(left)} of {len(batch.numbers)} trials are left for the next job: {_listed(left)}", flush=True)
    if failed or left:
        return 1
    store.write_batch(batch, _batch_record(store, study, results, environment))
    store.forget_begun(batch.name)
    return 0


class Runner:
    """Brings trials to their end, each under its lock.

    Args:
        store: the study directory.
        study: the content of ``study.json``.
        execute: runs one attempt of a trial.
        lock: the study's locks.
        environment: digest of where this runs.
        gpus: the devices that were leased, as in ``CUDA_VISIBLE_DEVICES``.
        on_result: called after each execution.
        deadline: by the monotonic clock; no trial is begun that would probably not end before it.
        on_start: called with number, attempt and time before each execution.
    """

    def __init__(
        self,
        store: StudyDir,
        study: dict[str, Any],
        execute: Execute,
        lock: LockFile,
        environment: str,
        gpus: str | None = None,
        on_result: OnResult | None = None,
        deadline: float | None = None,
        on_start: Note | None = None,
    ) -> None:
        self._store, self._study, self._execute, self._lock = store, study, execute, lock
        self._on_failure, self._attempts = study["on_failure"], study["attempts"]
        self._environment, self._gpus, self._on_result = environment, gpus, on_result
        self._deadline, self._longest_s, self._on_start = deadline, 0.0, on_start
        self._host = _host()
        self._origin = origin_of(study)
        self._shared = Shared.of(store, study, self._origin)
        self.purse = Purse(store, study, lock)

    def run(self, numbers: Iterable[int]) -> list[Result]:
        """Settle the trials, in order; those that another process runs come last, when it is done with them."""
        results = {}
        elsewhere = []
        for number in numbers:
            if self._is_late():
                break
            result = self._settle(number)
            if result is None:
                elsewhere.append(number)
            else:
                results[number] = result
        if elsewhere and not self.purse.is_empty():
            print(f"waiting for trials that another process runs: {_listed(elsewhere)}", flush=True)
        while elsewhere and not self._is_late() and not self.purse.is_empty():
            time.sleep(_LOCK_POLL_S)
            for number in list(elsewhere):
                result = self._settle(number)
                if result is not None:
                    results[number] = result
                    elsewhere.remove(number)
        return [results[number] for number in sorted(results)]

    def _is_late(self) -> bool:
        """Return whether a trial that takes a quarter longer than the longest so far would not end in time."""
        return self._deadline is not None and time.monotonic() + 1.25 * self._longest_s > self._deadline

    def is_settled(self, result: Result) -> bool:
        """Return whether the trial needs no further execution."""
        return result.settles(self._on_failure, self._attempts)

    def _settle(self, number: int) -> Result | None:
        """Run a trial unless it is settled; None where another process has it, or the budget is spent."""
        if not self._lock.acquire(number):
            return None
        try:
            config = self._store.read_config(number)
            result = self._previous(config)
            if result is not None and self.is_settled(result):
                return result
            reused = self._reused(config) if result is None else None
            if reused is not None or self.purse.is_empty():
                return reused
            result = self._run_once(config, result)
            while self._on_failure == "record" and not self.is_settled(result) and not self.purse.is_empty():
                result = self._run_once(config, result)
            return result
        finally:
            self._lock.release(number)

    def _previous(self, config: TrialConfig) -> Result | None:
        try:
            result = self._store.read_result(config.number)
        except UnreadableFile as error:
            print(f"{error}; the trial runs again", flush=True)
            return None
        return result if result is not None and result.id == config.id else None

    def _reused(self, config: TrialConfig) -> Result | None:
        """Take over what another study has put into the cache since this one was planned."""
        result = None if self._shared is None else self._shared.find(config.number, config.id)
        if result is not None:
            self._store.write_result(result)
        return result

    def _run_once(self, config: TrialConfig, before: Result | None) -> Result:
        attempt = 1 if before is None else before.attempt + 1
        started_at, started = time.time(), time.monotonic()
        if self._on_start is not None:
            self._on_start(config.number, attempt, started_at)
        outcome = with_all_metrics(self._study, self._execute(config, attempt))
        result = Result(
            number=config.number,
            id=config.id,
            params=config.params,
            outcome=outcome,
            attempt=attempt,
            started_at=round(started_at, 3),
            duration_s=round(time.monotonic() - started, 6),
            host=self._host,
            gpus=self._gpus,
            environment=self._environment,
            fidelity=config.fidelity,
            repeat=config.repeat or None,
            source=self._origin.source,
            hardware=self._origin.hardware,
            earlier_s=None if before is None else round(before.duration_s + (before.earlier_s or 0), 6),
        )
        self._longest_s = max(self._longest_s, result.duration_s)
        self._store.write_result(result)
        self.purse.pay(result.duration_s, config.resources.get("gpus", 0))
        if self._shared is not None:
            self._shared.keep(result)
        log_metrics(result)
        if result.state == FAILED:
            print(f"trial {config.number} failed ({outcome.reason}): {outcome.error}", flush=True)
        if self._on_result is not None:
            self._on_result(config, result)
        return result


def in_process(objective: Objective, store: StudyDir, study: dict[str, Any]) -> Execute:
    """Return what calls the objective in this very process."""
    there = StudyDir(os.path.abspath(store.root))  # an objective may change the working directory

    def execute(config: TrialConfig, attempt: int) -> Outcome:
        with same_surroundings():
            return call_objective(objective, Trial(config, attempt, there, study), study["metric"])

    return execute


def environment_digest() -> str:
    """Return the digest of where this process runs."""
    return digest(_environment())


@contextlib.contextmanager
def _executor(objective: Objective, store: StudyDir, study: dict[str, Any]) -> Any:
    if study["isolation"] == "none":
        adopt_orphans()
        yield in_process(objective, store, study)
        end_orphans(trackers=False)
        return
    from autotune.execution.process import Worker

    worker = Worker(
        objective,
        store,
        study,
        reuse=study["isolation"] == "worker",
        timeout_s=study["trial_timeout"],
        grace_s=study["stop_grace"],
        max_log_bytes=int(study["max_log_mb"] * 1e6),
    )
    with contextlib.closing(worker):
        yield worker.run


@contextlib.contextmanager
def _devices(study: dict[str, Any]) -> Any:
    """Lease the GPUs that a trial needs for as long as the batch runs."""
    wanted = study["resources"]["gpus"] * study["slots_per_job"]
    if not wanted:
        yield None
        return
    from autotune.execution.gpus import lease

    with lease(wanted) as devices:
        os.environ["CUDA_VISIBLE_DEVICES"] = devices
        yield devices


def _host() -> str:
    """Return what SLURM calls this node, as squeue and scontrol do, or the machine's own name."""
    return os.environ.get("SLURMD_NODENAME") or os.uname().nodename


def _environment() -> dict[str, str]:
    return {
        "autotune": __version__,
        "machine": platform.machine(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
    }


def _limit_threads(cpus: int) -> None:
    """Let numerical libraries use the processors that the trial asked for, unless the user says otherwise."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, str(cpus))


def _stop_on_signals() -> None:
    def stop(number: int, _frame: object) -> None:
        raise Stopped(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)


def _batch_record(
    store: StudyDir, study: dict[str, Any], results: list[Result], environment: dict[str, str]
) -> dict[str, Any]:
    states = [result.state for result in results]
    return {
        "trials": {f"{result.number:05d}": result.state for result in results},
        "states": {state: states.count(state) for state in sorted(set(states))},
        "attempts": study["attempts"],
        "sources": dict(Counter(result.source for result in results if result.source)),
        "result_bytes": sum(os.stat(store.result_file(result.number)).st_size for result in results),
        "environment": environment,
    }


def _listed(numbers: list[int]) -> str:
    shown = ", ".join(str(number) for number in numbers[:20])
    return shown + (f" and {len(numbers) - 20} more" if len(numbers) > 20 else "")
