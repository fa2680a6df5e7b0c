"""A process that runs trials, as the runner sees it: the pipes to it, what it prints, and its end."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Callable

from autotune.execution.kernel import exit_handle, signal_group, signal_name, wait_for_trackers
from autotune.execution.messages import CHUNK_BYTES, Request, outcome_in, receive_status, send_request
from autotune.execution.outcome import failure
from autotune.execution.serving import LOST, Link, live_as_child
from autotune.records import Outcome


class Log:
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
        """Close the file."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


class Child:
    """The process and the pipes to it: requests, answers, how trials' own processes ended, and what they print.

    Args:
        serve: what the process does.
        forks: whether it forks a process for each trial, and says when that is gone.
    """

    def __init__(self, serve: Callable[[Link], None], *, forks: bool) -> None:
        requests, self._requests = os.pipe()
        self._answers, answers = os.pipe()
        self._statuses, statuses = os.pipe()
        self._output, output = os.pipe()
        life, life_of_child = os.pipe()
        self._forks = forks
        self._log: Log | None = None
        self._answer = bytearray()  # as far as it has come
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            for handle in (self._requests, self._answers, self._statuses, self._output, life):
                os.close(handle)
            live_as_child(parent, lambda: serve(Link(requests, answers, statuses, output)))
        for handle in (requests, answers, statuses, output, life_of_child):
            os.close(handle)
        self._exit = exit_handle(self.pid, life)
        self._reaped = False
        self._poll = _poll(self._answers, self._output, self._exit)
        if forks:
            self._poll.register(self._statuses, select.POLLIN)
        self._poll_output, self._poll_exit = _poll(self._output), _poll(self._exit)
        self._poll_answers = _poll(self._answers)

    def send(self, request: Request, log: Log) -> None:
        """Ask for a trial; what it prints goes to the log. Where the process is dead, `answer` says so."""
        if self._log is not None:
            self._log.close()
        self._log = log
        self._answer = bytearray()
        send_request(self._requests, request)

    def is_alive(self) -> bool:
        """Return whether the process runs."""
        return not self._poll_exit.poll(0)

    def answer(self, timeout_s: float | None) -> Outcome | None:
        """Return the outcome of the trial that was sent; None: the time is over, it has printed or said a part."""
        ready = self._ready(timeout_s)
        if not ready:
            return None
        is_open = self._take_answer()
        outcome = outcome_in(self._answer)
        if outcome is None:
            # Whoever is killed in the middle of an answer leaves a part of it, and maybe nobody to close the pipe.
            return None if is_open and ready == {self._answers} else self._crash(ready)
        if self._forks:
            receive_status(self._statuses)  # until all that the trial started is gone
            self._take_answer()  # and what it may have said twice
        self._take_rest()
        return outcome

    def _take_answer(self) -> bool:
        """Take what has come of the answer; return whether there may be more."""
        while self._poll_answers.poll(0):
            part = os.read(self._answers, CHUNK_BYTES)
            if not part:
                return False
            self._answer += part
        return True

    def _ready(self, timeout_s: float | None) -> set[int]:
        """Wait for something; what the trial printed is taken here, which of the others are readable is returned."""
        ready = {handle for handle, _ in self._poll.poll(None if timeout_s is None else timeout_s * 1000)}
        if self._output in ready:
            ready.remove(self._output)
            self._take()
        return ready

    def _take(self) -> None:
        data = os.read(self._output, 1 << 16)
        if data and self._log is not None:
            self._log.write(data)
        else:  # nobody can print any more
            self._poll.unregister(self._output)

    def _take_rest(self) -> None:
        """Take what was printed before the answer, or before the end."""
        while self._log is not None and not self._log.is_full and self._poll_output.poll(0):
            data = os.read(self._output, 1 << 16)
            if not data:
                return
            self._log.write(data)

    def _crash(self, ready: set[int]) -> Outcome:
        """Return the outcome of a trial that ended without an answer."""
        status = receive_status(self._statuses) if self._statuses in ready else None
        if status is None:
            if not self._poll_exit.poll(1000):  # it closed its end of the pipe, but goes on
                return failure("crash", "the trial closed all its files, also the one that its result goes through")
            status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            self._reaped = True
        if status < 0:
            hint = "; the machine may be out of memory" if -status == signal.SIGKILL else ""
            return failure("crash", f"the trial was killed by {signal_name(-status)}{hint}")
        if status == LOST:
            return failure("crash", "the trial's result was lost on its way: did it close files that are not its own?")
        return failure("crash", f"the trial's process ended with exit status {status} without returning")

    def end(self, grace_s: float = 0.0) -> None:
        """End the process and its group: politely first, if there is grace."""
        os.close(self._requests)  # an idle one ends by itself
        if grace_s:
            self._signal(signal.SIGTERM)
            self._poll = _poll(self._output, self._exit)
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
        if self._log is not None:
            self._log.close()
        for handle in (self._answers, self._statuses, self._output, self._exit):
            os.close(handle)

    def _signal(self, number: signal.Signals) -> None:
        if self._reaped:  # its number may be another process's by now, that of its group is not
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)
        else:
            signal_group(self.pid, number)


def _poll(*handles: int) -> select.poll:
    poll = select.poll()
    for handle in handles:
        poll.register(handle, select.POLLIN)
    return poll
