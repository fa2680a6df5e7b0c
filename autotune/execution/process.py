"""A forked child that runs trials for its parent, so that a crash, a hang or a leak harms no other trial.

The parent is single-threaded, has imported the objective's module once and never touches CUDA, so that a fork of it is
ready at once. ``isolation: trial`` gives each trial a child of its own; ``isolation: worker`` replaces the child only
when a trial went wrong. The child answers through a pipe; the parent alone writes results.
"""

from __future__ import annotations

import contextlib
import gc
import io
import marshal
import os
import select
import signal
import struct
import sys
import time
from collections.abc import Callable
from typing import Any, NoReturn

from autotune.execution.kernel import (
    adopt_orphans,
    die_with_parent,
    end_by_sigterm,
    end_orphans,
    exit_handle,
    signal_name,
    wait_for_trackers,
)
from autotune.execution.outcome import Objective, call_objective, failure
from autotune.execution.trial import Trial
from autotune.records import FAILED, Outcome, TrialConfig
from autotune.storage import StudyDir

_HEADER = struct.Struct("<q")
_LOST = 70  # exit status of a child that could not answer
_REHEARSALS = 20  # CPython adapts code to what it does when it has run some eight times

Request = tuple[TrialConfig, int]  # what to run, and which attempt it is
Receive = Callable[[], Request | None]
Answer = Callable[[Outcome], None]


class Worker:
    """Runs trials in a child process; ``run`` always returns an outcome, whatever the objective does.

    Args:
        objective: what is called.
        store: the study directory.
        study: the content of ``study.json``.
        reuse: whether a child serves further trials after one that went well.
        timeout_s: seconds a trial may take, or None.
        grace_s: seconds between SIGTERM and SIGKILL, for a trial that saves what it has.
        max_log_bytes: what a trial may print.
    """

    def __init__(
        self,
        objective: Objective,
        store: StudyDir,
        study: dict[str, Any],
        *,
        reuse: bool,
        timeout_s: float | None,
        grace_s: float,
        max_log_bytes: int,
    ) -> None:
        # Absolute: an objective may change the working directory.
        self._objective, self._store = objective, StudyDir(os.path.abspath(store.root))
        self._study, self._metric = study, study["metric"]
        self._reuse, self._timeout_s, self._grace_s, self._max_log_bytes = reuse, timeout_s, grace_s, max_log_bytes
        self._child: _Child | None = None
        adopt_orphans()
        _prepare_streams()
        self._rehearse()
        gc.collect()
        gc.freeze()  # a child's collections then leave the pages that it shares with the parent alone

    def _rehearse(self) -> None:
        """Do here what each child does around its objective, until Python has remembered what it looks up for that.

        A child would look it up anew, and each note that Python takes is a page of memory to copy.
        """
        for _ in range(_REHEARSALS):
            trial = self._trial(TrialConfig(0, "", {}, 0), 0)
            call_objective(lambda params, trial: 0.0, trial, self._metric)

    def _trial(self, config: TrialConfig, attempt: int) -> Trial:
        return Trial(config, attempt, self._store, self._study, own_process=True)

    def run(self, config: TrialConfig, attempt: int) -> Outcome:
        """Run one attempt of a trial."""
        if self._child is not None and not self._child.is_alive():
            self.close()
        log = _Log(self._store.stdout_file(config.number), self._max_log_bytes)
        try:
            if self._child is None:
                self._child = _Child(self._serve, self._trial(config, attempt), log)
            else:
                self._child.send((config, attempt), log)
            outcome = self._wait(self._child, log)
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

    def _wait(self, child: _Child, log: _Log) -> Outcome:
        started = time.monotonic()
        while True:
            left = None if self._timeout_s is None else self._timeout_s - (time.monotonic() - started)
            if left is not None and left <= 0:
                self.close(self._grace_s)
                return failure("timeout", f"the trial took longer than its trial_timeout of {self._timeout_s:g} s")
            outcome = child.answer(left)
            if log.is_full:
                self.close()
                limit = self._max_log_bytes / 1e6
                return failure(
                    "exception", f"the trial printed more than max_log_mb ({limit:g} MB); {log.path} has the beginning"
                )
            if outcome is not None:
                return outcome

    def _serve(self, trial: Trial, output: int, receive: Receive, answer: Answer) -> None:
        """Run trials in the child: the one that it was made for and, if it is reused, more until the pipe is closed."""
        streams, folder = (sys.stdout, sys.stderr), os.getcwd() if self._reuse else ""
        while True:
            os.dup2(output, 1)
            os.dup2(output, 2)
            outcome = call_objective(self._objective, trial, self._metric)
            sys.stdout, sys.stderr = streams  # the objective may have put others in their place
            if outcome.traceback:
                with contextlib.suppress(Exception):  # the objective may have closed it
                    print(outcome.traceback, file=sys.stderr)
            end_by_sigterm()  # the trial may have asked to be told with `on_stop`
            for stream in streams:
                try:
                    stream.flush()
                except Exception:  # noqa: BLE001  # and may have closed them
                    pass
            answer(outcome)
            request = receive() if self._reuse else None
            if request is None:
                return
            with contextlib.suppress(OSError):
                os.chdir(folder)
            trial = self._trial(*request)


class _Log:
    """The file that takes what one attempt of a trial prints; there is none where it prints nothing.

    To make and remove a file and its folder for nothing would be a quarter of what a trial costs.
    """

    def __init__(self, path: str, max_bytes: int) -> None:
        self.path = path
        self.is_full = False
        self._left = max_bytes
        self._handle: int | None = None
        with contextlib.suppress(OSError):  # what an earlier attempt has left
            os.unlink(path)
            os.rmdir(os.path.dirname(path))

    def write(self, data: bytes) -> None:
        """Append, up to the limit; what a full disk has no room for is lost, and the trial goes on."""
        self.is_full = self.is_full or len(data) > self._left
        left = memoryview(data)[: self._left]
        self._left -= len(left)
        with contextlib.suppress(OSError):
            if self._handle is None:
                os.makedirs(os.path.dirname(self.path), exist_ok=True)
                self._handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
            while left:
                left = left[os.write(self._handle, left) :]

    def close(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


class _Child:
    """The process and the pipes to it: requests, answers, and what it prints."""

    def __init__(self, serve: Callable[[Trial, int, Receive, Answer], None], first: Trial, log: _Log) -> None:
        requests, self._requests = os.pipe()
        self._answers, answers = os.pipe()
        self._output, output = os.pipe()
        life, life_of_child = os.pipe()
        self._log = log
        self._poll = select.poll()  # made before the fork: what is done beside the child copies pages, too
        self._poll.register(self._answers, select.POLLIN)
        self._poll.register(self._output, select.POLLIN)
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            for handle in (self._requests, self._answers, self._output, life):
                os.close(handle)
            _be_child(parent, lambda: serve(first, output, lambda: _receive(requests), lambda it: _send(answers, it)))
        for handle in (requests, answers, output, life_of_child):
            os.close(handle)
        self._exit = exit_handle(self.pid, life)
        self._poll.register(self._exit, select.POLLIN)
        self._reaped = False

    def send(self, request: Request, log: _Log) -> None:
        config, attempt = request
        self._log.close()
        self._log = log
        with contextlib.suppress(BrokenPipeError):  # it is dead: answer() says so
            _write(self._requests, {"config": config.to_dict(), "attempt": attempt})

    def is_alive(self) -> bool:
        """Return whether the process runs."""
        return not _is_readable(self._exit, 0)

    def answer(self, timeout_s: float | None) -> Outcome | None:
        """Return the outcome of the trial that was sent, or None: the time is over, or it has printed something."""
        ready = self._ready(timeout_s)
        if self._answers in ready:
            record = _read(self._answers)
            if record is not None:
                self._take_rest()
                return Outcome(**record)
        return self._crash() if ready else None

    def _ready(self, timeout_s: float | None) -> set[int]:
        """Wait for something; what the trial printed is taken here, which of the others are readable is returned."""
        ready = {handle for handle, _ in self._poll.poll(None if timeout_s is None else timeout_s * 1000)}
        if self._output in ready:
            ready.remove(self._output)
            self._take()
        return ready

    def _take(self) -> None:
        data = os.read(self._output, 1 << 16)
        if data:
            self._log.write(data)
        else:  # nobody can print any more
            self._poll.unregister(self._output)

    def _take_rest(self) -> None:
        """Take what was printed before the answer, or before the end."""
        while not self._log.is_full and _is_readable(self._output, 0):
            data = os.read(self._output, 1 << 16)
            if not data:
                return
            self._log.write(data)

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
            self._poll.unregister(self._answers)
            deadline = time.monotonic() + grace_s
            while self._exit not in self._ready(grace_s) and (grace_s := deadline - time.monotonic()) > 0:
                pass  # it prints
        if not self._reaped:
            os.kill(self.pid, signal.SIGKILL)
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
            wait_for_trackers(self.pid)
        self._signal(signal.SIGKILL)
        if not self._reaped:
            os.waitpid(self.pid, 0)
        self._take_rest()
        self._log.close()
        for handle in (self._answers, self._output, self._exit):
            os.close(handle)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)
        if not self._reaped:  # it may not have made its group yet
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def _prepare_streams() -> None:
    """Set the standard streams up as trials need them: once here, since each page that a child touches is copied."""
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    if null > 0:
        os.close(null)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace", line_buffering=True)


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
        end_by_sigterm()
        if os.getppid() != parent:  # it died before the death signal was asked for
            os._exit(status)
        serve()
        status = 0
    finally:
        os._exit(status)  # no clean-up of the parent's: its buffers and threads are not ours


def _receive(handle: int) -> Request | None:
    record = _read(handle)
    return None if record is None else (TrialConfig.from_dict(record["config"]), record["attempt"])


def _send(handle: int, outcome: Outcome) -> None:
    _write(handle, {name: getattr(outcome, name) for name in Outcome.__slots__})


# Messages between parent and child: eight bytes of length, then plain Python values (marshal touches the least memory)


def _write(handle: int, record: dict[str, object]) -> None:
    body = marshal.dumps(record)
    left = memoryview(_HEADER.pack(len(body)) + body)
    while left:
        left = left[os.write(handle, left) :]


def _read(handle: int) -> Any:
    """Return the next record, or None where the other side is gone."""
    header = _read_exactly(handle, _HEADER.size)
    if header is None:
        return None
    body = _read_exactly(handle, _HEADER.unpack(header)[0])
    return None if body is None else marshal.loads(body)  # noqa: S302  # our own child's


def _read_exactly(handle: int, size: int) -> bytes | None:
    parts = []
    while size:
        part = os.read(handle, min(size, 1 << 20))
        if not part:
            return None
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
