"""Measuring in another process: what crashes, hangs or breaks CUDA there is a row here, and the others go on.

One process measures all backends of a case in turns, because only candidates that are timed in turns compare. Where it
dies, the backend that it was at gets a row that says so, and a new process measures the rest.
"""

from __future__ import annotations

import atexit
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import IO, Any

from autotune.bench.case import AttentionCase
from autotune.bench.rows import Row

SILENT_S = 300.0  # torch and CUDA can take a minute from a cold network disk; a first call may compile for as long

Event = dict[str, Any]


class Worker:
    """One process that measures; it is started by the first request and lives until it dies or is closed."""

    def __init__(self, silent_s: float = SILENT_S) -> None:
        self.silent_s = silent_s
        self._process: subprocess.Popen[bytes] | None = None
        self._stderr: IO[bytes] | None = None
        self._buffer = b""

    def ask(self, request: Event) -> Iterator[Event]:
        """Send a request and yield its events; the last has ``conditions``, ``broken``, or ``died`` with a reason."""
        process = self._started()
        line = json.dumps({**request, "path": [os.path.abspath(path or ".") for path in sys.path]}) + "\n"
        try:
            if process.stdin is not None:
                process.stdin.write(line.encode())
                process.stdin.flush()
        except OSError:
            yield {"died": self._end()}
            return
        while True:
            event = self._next_event(process)
            yield event
            if event.keys() & {"died", "broken", "conditions"}:
                return

    def close(self) -> None:
        """End the worker for good."""
        self._stop()
        if self._stderr is not None:
            self._stderr.close()
            self._stderr = None

    def _stop(self) -> None:
        """End the process, if there is one; the next request starts another."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    with suppress(OSError):
                        pipe.close()
            self._process = None
            self._buffer = b""

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            if self._stderr is None:
                self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the worker
            self._stderr.seek(0)
            self._stderr.truncate()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "autotune.bench.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                env={
                    "FLASH_ATTENTION_CUTE_DSL_CACHE_ENABLED": "1",  # FlashAttention 4 compiles for seconds otherwise
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                },
            )
        return self._process

    def _next_event(self, process: subprocess.Popen[bytes]) -> Event:
        until = time.monotonic() + self.silent_s
        with selectors.DefaultSelector() as selector:
            pipe = process.stdout
            if pipe is None:
                return {"died": self._end()}
            selector.register(pipe, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                if not selector.select(max(0.0, until - time.monotonic())):
                    self._stop()
                    return {"died": f"gave no sign of life for {self.silent_s:.0f} s and was killed"}
                part = os.read(pipe.fileno(), 1 << 16)
                if not part:
                    return {"died": self._end()}
                self._buffer += part
        line, _, self._buffer = self._buffer.partition(b"\n")
        event: Event = json.loads(line)
        if "poisoned" in event:
            self._stop()
            return {"died": event["reason"], "at": event["poisoned"]}
        return event

    def _end(self) -> str:
        """Wait for the process and return how it ended."""
        status = self._process.wait() if self._process is not None else 0
        self._stop()
        if status < 0:
            with suppress(ValueError):
                return f"its process was killed by {signal.Signals(-status).name}"
            return f"its process was killed by signal {-status}"
        lines = self._said().split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "no message")
        return f"its process ended with exit status {status}: {last[:300]}"

    def _said(self) -> str:
        """Return what the process wrote to standard error."""
        if self._stderr is None:
            return ""
        self._stderr.seek(0)
        return self._stderr.read().decode(errors="replace")


_open: Worker | None = None


@contextmanager
def session() -> Iterator[Worker]:
    """Keep one worker for all that is measured inside; without it each measurement starts its own."""
    global _open
    if _open is not None:
        yield _open
        return
    _open = Worker()
    atexit.register(_open.close)
    try:
        yield _open
    finally:
        atexit.unregister(_open.close)
        _open.close()
        _open = None


def measure_isolated(
    case: AttentionCase,
    device: str,
    targets: Mapping[str, str],
    *,
    budget_s: float,
    margin: float = 0.02,
    by: str = "gpu",
    profile: bool = True,
    fixed: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> tuple[tuple[Row, ...], dict[str, Any]]:
    """Return a row for each backend (name -> ``module:Class``), in their order, and the conditions."""
    rows: dict[str, Row] = {}
    conditions: dict[str, Any] = {}
    request = {"do": "measure", "case": case.to_json(), "device": device, "budget_s": budget_s}
    request |= {"margin": margin, "by": by, "profile": profile, "fixed": fixed}
    with session() as worker:
        while left := {name: target for name, target in targets.items() if name not in rows}:
            found, at, last = _follow(worker, request | {"targets": left}, say)
            rows |= found
            conditions = last.get("conditions", conditions)
            reason = last.get("died") or last.get("broken")
            if reason is None:
                break
            blamed = [at] if at in left and at not in rows and "died" in last else [n for n in left if n not in rows]
            for name in blamed:
                rows[name] = Row(backend=name, state="failed", flops=case.flops(), reason=reason)
            # The figures of the others came from the same rounds, and go with it.
            rows = {name: row for name, row in rows.items() if not row.times_ms or not left.keys() - rows.keys()}
    return tuple(rows[name] for name in targets), conditions


def _follow(worker: Worker, request: Event, say: Callable[[str], None]) -> tuple[dict[str, Row], str, Event]:
    """Return the rows of one request, the backend that it was at last, and its last event."""
    rows: dict[str, Row] = {}
    at = ""
    event: Event = {}
    for event in worker.ask(request):
        if "row" in event:
            row = Row.from_json(event["row"])
            rows[row.backend] = row
        elif "say" in event:
            say(event["say"])
        at = event.get("at") or at
    return rows, at, event


def probe_isolated(case: AttentionCase, device: str, targets: Mapping[str, str]) -> dict[str, str | None]:
    """Return for each backend why a tiny case of this kind does not run here, or None where it does."""
    reasons: dict[str, str | None] = {}
    with session() as worker:
        while left := {name: target for name, target in targets.items() if name not in reasons}:
            at = ""
            for event in worker.ask({"do": "probe", "case": case.to_json(), "device": device, "targets": left}):
                at = event.get("at") or at
                if "answer" in event:
                    reasons[event["answer"]] = event["reason"]
                death = event.get("died") or event.get("broken")
                if death is not None:
                    reasons.update(dict.fromkeys([at] if at in left and at not in reasons else left, death))
    return {name: reasons[name] for name in targets}
