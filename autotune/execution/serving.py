"""What a process that was forked for the runner does: run trials in itself, or fork a process for each."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from autotune.execution.kernel import adopt_orphans, die_with_parent, end_by_sigterm, reap, signal_group
from autotune.execution.messages import (
    Request,
    receive_outcome,
    receive_request,
    send_outcome,
    send_request,
    send_status,
)
from autotune.execution.outcome import Objective, call_objective, failure
from autotune.execution.trial import Trial
from autotune.records import TrialConfig
from autotune.storage import StudyDir

LOST = 70  # exit status of a process that could not answer

_REHEARSALS = 20  # CPython adapts code to what it does when it has run some eight times


@dataclass(frozen=True, slots=True)
class Link:
    """The ends of its pipes that such a process has: file descriptors."""

    requests: int
    answers: int
    statuses: int
    output: int


@dataclass(frozen=True, slots=True)
class Server:
    """Runs the trials that are asked for until the runner closes the pipe."""

    objective: Objective
    store: StudyDir
    study: dict[str, Any]

    def rehearse(self) -> None:
        """Do once what is done for each trial around its objective, until Python remembers what it looks up for that.

        A forked process would look it up anew, and each note that Python takes is a page of memory to copy.
        """
        there, here = os.pipe()
        for _ in range(_REHEARSALS):
            send_request(here, (TrialConfig(0, "", {}, 0), 0))
            request = receive_request(there)
            if request is not None:
                send_outcome(
                    here, call_objective(lambda params, trial: 0.0, self._trial(request), self.study["metric"])
                )
                receive_outcome(there)
        os.close(there)
        os.close(here)

    def serve_here(self, link: Link) -> None:
        """Run all trials in this process (`isolation: worker`)."""
        os.close(link.statuses)
        folder = os.getcwd()
        while (request := receive_request(link.requests)) is not None:
            self._run(self._trial(request), link)
            with contextlib.suppress(OSError):
                os.chdir(folder)

    def serve_forked(self, link: Link) -> None:
        """Fork a process for each trial (`isolation: trial`), and say when it and all that it started are gone.

        This process does nothing else, and waits while a trial runs: after a fork each page of memory that either side
        writes to costs a fault, and both at once cost the most. The runner itself would write to a lot.
        """
        adopt_orphans()
        running: list[int] = []
        is_told: list[int] = []

        def tell(number: int, _frame: object) -> None:
            if not running:
                os._exit(128 + number)
            is_told.append(number)
            signal_group(running[0], signal.SIGTERM)  # it may save what it has

        signal.signal(signal.SIGTERM, tell)
        while not is_told and (request := receive_request(link.requests)) is not None:
            trial, parent = self._trial(request), os.getpid()
            try:
                child = os.fork()
            except OSError as error:
                send_outcome(link.answers, failure("crash", f"no process could be made for the trial: {error}"))
                send_status(link.statuses, LOST)
                continue
            if child == 0:
                live_as_child(parent, functools.partial(self._run_alone, trial, link))
            running.append(child)
            status = reap(child)
            running.clear()
            send_status(link.statuses, status)

    def _run_alone(self, trial: Trial, link: Link) -> None:
        os.close(link.requests)
        os.close(link.statuses)
        self._run(trial, link)

    def _trial(self, request: Request) -> Trial:
        return Trial(*request, self.store, self.study, own_process=True)

    def _run(self, trial: Trial, link: Link) -> None:
        os.dup2(link.output, 1)
        os.dup2(link.output, 2)
        streams = sys.stdout, sys.stderr
        outcome = call_objective(self.objective, trial, self.study["metric"])
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
        send_outcome(link.answers, outcome)


def live_as_child(parent: int, work: Callable[[], None]) -> NoReturn:
    """Do the work in a process that was just forked, in a group of its own; never return into the parent's code."""
    status = LOST
    try:
        os.setsid()  # a process group of its own, which can be ended as a whole
        die_with_parent()
        end_by_sigterm()
        if os.getppid() != parent:  # it died before the death signal was asked for
            os._exit(status)
        work()
        status = 0
    finally:
        os._exit(status)  # no clean-up of the parent's: its buffers and threads are not ours
