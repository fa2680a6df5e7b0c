"""A forked child that runs trials for its parent, so that a crash, a hang or a leak harms no other trial.

The parent is single-threaded, has imported the objective's module once and never touches CUDA, so that a fork of it is
ready at once. ``isolation: trial`` gives each trial a child of its own; ``isolation: worker`` replaces the child only
when a trial went wrong. The child answers through a pipe; the parent alone writes results.
"""

from __future__ import annotations

import contextlib
import gc
import io
import json
import os
import select
import signal
import struct
import sys
import time
from collections.abc import Callable
from typing import Any, NoReturn

from autotune.execution.kernel import adopt_orphans, die_with_parent, end_orphans, signal_name
from autotune.execution.outcome import Objective, call_objective, failure
from autotune.execution.trial import Trial
from autotune.records import FAILED, Outcome, TrialConfig
from autotune.storage import StudyDir

_CHECK_S = 0.25  # how often the size of a running trial's output is looked at
_HEADER = struct.Struct("<q")
_LOST = 70  # exit status of a child that could not answer

Request = tuple[TrialConfig, int]  # what to run, and which attempt it is


class Worker:
    """Runs trials in a child process; ``run`` always returns an outcome, whatever the objective does.

    Args:
        objective: what is called.
        store: the study directory.
        metric: the metric that an outcome must have.
        reuse: whether a child serves further trials after one that went well.
        timeout_s: seconds a trial may take, or None.
        grace_s: seconds between SIGTERM and SIGKILL, for a trial that saves what it has.
        max_log_bytes: what a trial may print.
    """

    def __init__(
        self,
        objective: Objective,
        store: StudyDir,
        metric: str,
        *,
        reuse: bool,
        timeout_s: float | None,
        grace_s: float,
        max_log_bytes: int,
    ) -> None:
        self._objective, self._store, self._metric = objective, store, metric
        self._reuse, self._timeout_s, self._grace_s, self._max_log_bytes = reuse, timeout_s, grace_s, max_log_bytes
        self._child: _Child | None = None
        adopt_orphans()
        gc.collect()
        gc.freeze()  # a child's collections then leave the pages that it shares with the parent alone

    def run(self, config: TrialConfig, attempt: int) -> Outcome:
        """Run one attempt of a trial."""
        if self._child is not None and not self._child.is_alive():
            self.close()
        self._child = child = self._child or _Child(self._serve)
        try:
            outcome = self._wait(child, config, attempt)
        except BaseException:
            self.close(self._grace_s)  # the job is told to end: the trial may save what it has, then ends too
            raise
        if not self._reuse or outcome.state == FAILED:
            self.close()
        return outcome

    def close(self, grace_s: float = 0.0) -> None:
        """End the child, and every process that its trials left behind."""
        child, self._child = self._child, None
        if child is not None:
            child.end(grace_s)
            end_orphans()

    def _wait(self, child: _Child, config: TrialConfig, attempt: int) -> Outcome:
        started = time.monotonic()
        child.send((config, attempt))
        stdout = self._store.stdout_file(config.number)
        while True:
            left = None if self._timeout_s is None else self._timeout_s - (time.monotonic() - started)
            if left is not None and left <= 0:
                self.close(self._grace_s)
                return failure("timeout", f"the trial took longer than its trial_timeout of {self._timeout_s:g} s")
            outcome = child.answer(_CHECK_S if left is None else min(left, _CHECK_S))
            if self._is_too_long(stdout):
                self.close()
                os.truncate(stdout, self._max_log_bytes)
                limit = self._max_log_bytes / 1e6
                return failure(
                    "exception", f"the trial printed more than max_log_mb ({limit:g} MB); {stdout} has the beginning"
                )
            if outcome is not None:
                return outcome

    def _is_too_long(self, path: str) -> bool:
        try:
            return os.stat(path).st_size > self._max_log_bytes
        except FileNotFoundError:
            return False

    def _serve(self, receive: Callable[[], Request | None], answer: Callable[[Outcome], None]) -> None:
        """Run trials in the child until the parent closes the pipe."""
        streams = sys.stdout, sys.stderr
        while (request := receive()) is not None:
            config, attempt = request
            sys.stdout, sys.stderr = streams  # the trial before may have put others in their place
            trial = Trial(config, attempt, self._store, self._metric, own_process=True)
            path = self._store.stdout_file(config.number)
            _print_to(path)
            outcome = call_objective(self._objective, trial, self._metric)
            if outcome.traceback:
                with contextlib.suppress(Exception):  # the objective may have closed it
                    print(outcome.traceback, file=sys.stderr)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the trial may have asked to be told with `on_stop`
            _print_to(os.devnull)
            _remove_if_empty(path)
            answer(outcome)


class _Child:
    """The process and the two pipes to it."""

    def __init__(self, serve: Callable[[Callable[[], Request | None], Callable[[Outcome], None]], None]) -> None:
        requests, self._requests = os.pipe()
        self._answers, answers = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._requests)
            os.close(self._answers)
            _be_child(parent, lambda: serve(lambda: _receive(requests), lambda outcome: _send(answers, outcome)))
        os.close(requests)
        os.close(answers)
        self._exit = os.pidfd_open(self.pid)
        self._reaped = False
        self._poll = select.poll()
        self._poll.register(self._answers, select.POLLIN)
        self._poll.register(self._exit, select.POLLIN)

    def send(self, request: Request) -> None:
        config, attempt = request
        with contextlib.suppress(BrokenPipeError):  # it is dead: answer() says so
            _write(self._requests, {"config": config.to_dict(), "attempt": attempt})

    def is_alive(self) -> bool:
        """Return whether the process runs."""
        return not _is_readable(self._exit, 0)

    def answer(self, timeout_s: float) -> Outcome | None:
        """Return the outcome of the trial that was sent, or None if there is none in this time."""
        ready = {handle for handle, _ in self._poll.poll(timeout_s * 1000)}
        if self._answers in ready:
            record = _read(self._answers)
            if record is not None:
                return Outcome(**record)
        return self._crash() if ready else None

    def _crash(self) -> Outcome:
        if not _is_readable(self._exit, 1.0):  # it closed its end of the pipe, but goes on
            return failure("crash", "the trial closed all its files, also the one that its result goes through")
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        self._reaped = True
        if status < 0:
            hint = "; the machine may be out of memory" if -status == signal.SIGKILL else ""
            return failure("crash", f"the trial was killed by {signal_name(-status)}{hint}")
        if status == _LOST:
            return failure("crash", "the trial's result was lost on its way: did it close files that are not its own?")
        return failure("crash", f"the trial's process ended with exit status {status} without returning")

    def end(self, grace_s: float = 0.0) -> None:
        """End the child and its process group: politely first, if there is grace."""
        os.close(self._requests)  # an idle child ends by itself
        if grace_s:
            self._signal(signal.SIGTERM)
            _is_readable(self._exit, grace_s)
        self._signal(signal.SIGKILL)
        if not self._reaped:
            os.waitpid(self.pid, 0)
        os.close(self._answers)
        os.close(self._exit)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)
        if not self._reaped:  # it may not have made its group yet
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def _is_readable(handle: int, timeout_s: float) -> bool:
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(timeout_s * 1000))


# In the child


def _be_child(parent: int, serve: Callable[[], None]) -> NoReturn:
    """Live as the child: never return into the parent's code."""
    status = _LOST
    try:
        os.setsid()  # a process group of its own, which can be ended as a whole
        die_with_parent()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if os.getppid() != parent:  # it died before the death signal was asked for
            os._exit(status)
        _read_nothing()
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace", line_buffering=True)
        serve()
        status = 0
    finally:
        os._exit(status)  # no clean-up of the parent's: its buffers and threads are not ours


def _read_nothing() -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    if null > 0:
        os.close(null)


def _print_to(path: str) -> None:
    """Send all that this process prints, by Python or below it, to a file."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # an objective may have replaced or closed it
            stream.flush()
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    try:
        handle = os.open(path, flags, 0o666)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        handle = os.open(path, flags, 0o666)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    if handle > 2:  # else an objective had closed the standard ones
        os.close(handle)


def _remove_if_empty(path: str) -> None:
    """Leave no empty log, and no empty folder, of a trial that printed and kept nothing."""
    with contextlib.suppress(OSError):
        if os.stat(path).st_size == 0:
            os.unlink(path)
            os.rmdir(os.path.dirname(path))


def _receive(handle: int) -> Request | None:
    record = _read(handle)
    return None if record is None else (TrialConfig.from_dict(record["config"]), record["attempt"])


def _send(handle: int, outcome: Outcome) -> None:
    _write(handle, {name: getattr(outcome, name) for name in Outcome.__slots__})


# Messages: eight bytes of length, then JSON


def _write(handle: int, record: dict[str, object]) -> None:
    body = json.dumps(record).encode()
    left = memoryview(_HEADER.pack(len(body)) + body)
    while left:
        left = left[os.write(handle, left) :]


def _read(handle: int) -> Any:
    """Return the next record, or None where the other side is gone."""
    header = _read_exactly(handle, _HEADER.size)
    if header is None:
        return None
    body = _read_exactly(handle, _HEADER.unpack(header)[0])
    return None if body is None else json.loads(body)


def _read_exactly(handle: int, size: int) -> bytes | None:
    parts = []
    while size:
        part = os.read(handle, min(size, 1 << 20))
        if not part:
            return None
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
