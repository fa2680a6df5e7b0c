"""From a call of the objective to an outcome: whatever it returns or raises is a state, a reason and a sentence."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from autotune.errors import Infeasible, Pruned, nearest
from autotune.execution.trial import Trial, as_float
from autotune.records import COMPLETE, FAILED, INFEASIBLE, PRUNED, Outcome

Objective = Callable[[dict[str, Any], Trial], Any]

_ERROR_CHARS = 2_000
_TRACEBACK_CHARS = 20_000
_THREAD_GRACE_S = 5.0


class Stopped(BaseException):
    """The job itself was told to end (SIGTERM, SIGINT): the trial in flight has no outcome."""

    def __init__(self, signal: int) -> None:
        super().__init__(f"signal {signal}")
        self.signal = signal


class ObjectiveCrashed(Exception):
    """A command objective was killed by a signal."""


def call_objective(objective: Objective, trial: Trial, metric: str) -> Outcome:
    """Call the objective and say what came of it; only Stopped and the user's Ctrl-C pass through."""
    process, threads = os.getpid(), _threads()
    try:
        returned = objective(dict(trial.params), trial)
        _end_if_forked(process, 0)
        metrics = read_metrics(returned, metric)
        _refuse_left_threads(threads)
    except BaseException as error:  # whatever it raises: SystemExit too fails the trial, not the study
        _end_if_forked(process, 1)
        if isinstance(error, Stopped) or (isinstance(error, KeyboardInterrupt) and _is_from_keyboard()):
            trial.stop()
            raise
        outcome = _of_pruned(trial, metric) if isinstance(error, Pruned) else _of_exception(error)
    else:
        outcome = _of_metrics(metrics)
        if trial.is_pruned and outcome.state == COMPLETE:
            outcome = replace(outcome, state=PRUNED)
    if trial.has_logged:
        outcome = replace(outcome, logged=True)
    trial.close()
    return outcome


def failure(reason: str, error: str) -> Outcome:
    """Return the outcome of a trial that failed without a Python exception."""
    return Outcome(state=FAILED, reason=reason, error=error)


def read_metrics(returned: Any, metric: str) -> dict[str, float]:
    """Return what an objective returned as metric name to float.

    Raises:
        TypeError: it is neither a number nor a mapping of numbers with the study's metric.
    """
    if returned is None:
        raise TypeError(f"the objective must return {metric!r} as a number, got None; does it end without `return`?")
    if not isinstance(returned, Mapping):
        return {metric: as_float(returned, "what the objective returns")}
    if metric not in returned:
        keys = [str(key) for key in returned]
        raise TypeError(
            f"the objective must return the metric {metric!r}, got {keys}; {nearest(metric, keys)}".rstrip("; ")
        )
    return {str(key): as_float(value, f"the metric {str(key)!r}") for key, value in returned.items()}


def _of_pruned(trial: Trial, metric: str) -> Outcome:
    last = trial.last_reported
    return Outcome(state=PRUNED, metrics={} if last is None or not math.isfinite(last) else {metric: last})


def _of_metrics(metrics: dict[str, float]) -> Outcome:
    bad = {name: value for name, value in metrics.items() if not math.isfinite(value)}
    if not bad:
        return Outcome(state=COMPLETE, metrics=metrics)
    finite = {name: value for name, value in metrics.items() if name not in bad}
    error = "not finite: " + ", ".join(f"{name} = {value}" for name, value in bad.items())
    return Outcome(state=INFEASIBLE, reason="nonfinite", metrics=finite, error=error)


def _of_exception(error: BaseException) -> Outcome:
    if isinstance(error, Infeasible):
        return Outcome(state=INFEASIBLE, reason="declared", error=_shortened(_text(error) or "declared infeasible"))
    if is_out_of_memory(error):
        return Outcome(state=INFEASIBLE, reason="oom", error=_shortened(f"out of memory: {_sentence(error)}"))
    if isinstance(error, SystemExit):
        return failure("exception", f"the objective called sys.exit({error.code!r:.60}); it must return its metrics")
    reason = "crash" if isinstance(error, ObjectiveCrashed) else "exception"
    return Outcome(state=FAILED, reason=reason, error=_sentence(error), traceback=_traceback(error))


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether memory ran out: Python's, or by name a framework's, none of which is imported for it."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & {"MemoryError", "OutOfMemoryError"}) or "CUDA out of memory" in _text(error)[:_ERROR_CHARS]


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001  # an exception of the user's whose __str__ fails
        return "(its message cannot be printed)"


def _sentence(error: BaseException) -> str:
    text = _text(error)
    return _shortened(f"{type(error).__name__}: {text}" if text else type(error).__name__)


def _shortened(text: str) -> str:
    text = text.encode("utf-8", "backslashreplace").decode()  # lone surrogates cannot be written to a file
    return text if len(text) <= _ERROR_CHARS else f"{text[: _ERROR_CHARS - 40]} ... ({len(text)} characters)"


def _traceback(error: BaseException) -> str:
    import traceback

    text = "".join(traceback.format_exception(error)).encode("utf-8", "backslashreplace").decode()
    half = _TRACEBACK_CHARS // 2
    return text if len(text) <= _TRACEBACK_CHARS else f"{text[:half]}\n[...]\n{text[-half:]}"


def _end_if_forked(process: int, status: int) -> None:
    """End a process that the objective forked and that came back here too: the trial's own process has the result."""
    if os.getpid() != process:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        os._exit(status)


def _is_from_keyboard() -> bool:
    """Return whether a KeyboardInterrupt may be the user's: a batch job has handlers of its own for signals."""
    return signal.getsignal(signal.SIGINT) is signal.default_int_handler


@contextlib.contextmanager
def same_surroundings() -> Iterator[None]:
    """Undo what would harm later trials: the study's own paths are relative to the working directory."""
    streams, folder = (sys.stdout, sys.stderr), ""
    with contextlib.suppress(FileNotFoundError):  # it was removed
        folder = os.getcwd()
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams
        with contextlib.suppress(OSError):
            os.chdir(folder)


# Threads that wait for work as long as their process lives: a pool that is kept for the next call, as joblib's.
_POOLS = (
    ("concurrent.futures.thread", "_threads_queues"),
    ("concurrent.futures.process", "_threads_wakeups"),
    ("joblib.externals.loky.process_executor", "_threads_wakeups"),
    ("loky.process_executor", "_threads_wakeups"),
)


def _threads() -> set[Any]:
    """Return all other threads; this one would seem new where the objective is the first to import threading."""
    threading = sys.modules.get("threading")
    return set() if threading is None else set(threading.enumerate()) - {threading.current_thread()}


def _refuse_left_threads(before: set[Any]) -> None:
    """Wait a little for threads that the objective left, then fail: they would run on beside the next trial."""
    left = {thread for thread in _threads() - before if not thread.daemon}
    for module, name in _POOLS if left else ():
        left -= set(getattr(sys.modules.get(module), name, ()))
    deadline = time.monotonic() + _THREAD_GRACE_S
    for thread in left:
        thread.join(max(0.0, deadline - time.monotonic()))
        if thread.is_alive():
            raise RuntimeError(
                f"the objective returned, but left the thread {thread.name!r} running; join it, or make it a daemon"
            )
