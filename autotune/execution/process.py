"""Trials in processes other than the runner's, so that a crash, a hang or a leak harms no other trial.

The runner is single-threaded, has imported the objective's module once and never touches CUDA, so that what it forks is
ready at once. It forks one process. With ``isolation: worker`` that runs the trials; with ``isolation: trial`` it forks
a process for each and does nothing else, which is what makes these forks cheap. The runner alone writes results.
"""

from __future__ import annotations

import gc
import io
import os
import sys
import time
from typing import Any

from autotune.execution.child import Child, Log
from autotune.execution.kernel import adopt_orphans, end_orphans
from autotune.execution.outcome import Objective, failure
from autotune.execution.serving import Server
from autotune.records import FAILED, Outcome, TrialConfig
from autotune.storage import StudyDir


class Worker:
    """Runs trials in other processes; ``run`` always returns an outcome, whatever the objective does.

    Args:
        objective: what is called.
        store: the study directory.
        study: the content of ``study.json``.
        reuse: whether a process serves further trials after one that went well.
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
        self._store = StudyDir(os.path.abspath(store.root))  # an objective may change the working directory
        self._server = Server(objective, self._store, study)
        self._reuse, self._timeout_s, self._grace_s, self._max_log_bytes = reuse, timeout_s, grace_s, max_log_bytes
        self._child: Child | None = None
        adopt_orphans()
        _prepare_streams()
        self._server.rehearse()
        gc.collect()
        gc.freeze()  # a child's collections then leave the pages that it shares with the parent alone

    def run(self, config: TrialConfig, attempt: int) -> Outcome:
        """Run one attempt of a trial."""
        if self._child is not None and not self._child.is_alive():
            self.close()
        log = Log(self._store.stdout_file(config.number), self._max_log_bytes)
        try:
            if self._child is None:
                serve = self._server.serve_here if self._reuse else self._server.serve_forked
                self._child = Child(serve, forks=not self._reuse)
            self._child.send((config, attempt), log)
            outcome = self._wait(self._child, log)
        except BaseException:
            self.close(self._grace_s)  # the job is told to end: the trial may save what it has, then ends too
            raise
        if outcome.state == FAILED and (self._reuse or outcome.reason == "crash"):
            self.close()
        return outcome

    def close(self, grace_s: float = 0.0) -> None:
        """End the child, and every process that its trials left behind."""
        child, self._child = self._child, None
        if child is not None:
            child.end(grace_s)
            end_orphans()

    def _wait(self, child: Child, log: Log) -> Outcome:
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


def _prepare_streams() -> None:
    """Set the standard streams up as trials need them: once here, since each page that a child touches is copied."""
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    if null > 0:
        os.close(null)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace", line_buffering=True)
