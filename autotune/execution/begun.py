"""Saying which trials a process begins, and where, for whoever looks on (`autotune status --watch`)."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator

Note = Callable[[int, int, float], None]  # number, attempt, started_at


@contextlib.contextmanager
def noting(path: str, host: str, gpus: str | None) -> Iterator[Note]:
    """Yield what appends ``[number, attempt, started_at, host, gpus]`` to a file: one system call, some microseconds.

    Several processes may append to one file. What cannot be written is left out: no trial waits or fails for it.
    """
    handles: list[int] = []  # none before the first note, so that a job that begins no trial leaves no file
    where = f"{json.dumps(host)},{json.dumps(gpus)}]\n"

    def note(number: int, attempt: int, started_at: float) -> None:
        with contextlib.suppress(OSError):
            if not handles:
                handles.append(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666))
            os.write(handles[0], f"[{number},{attempt},{started_at:.3f},{where}".encode())

    try:
        yield note
    finally:
        for handle in handles:
            os.close(handle)
