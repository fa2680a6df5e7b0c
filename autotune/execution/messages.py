"""Messages between the runner and the processes that run trials: eight bytes of length, then plain Python values.

They are marshalled, which touches the least memory: in a forked process each page that is touched is a page to copy.
"""

from __future__ import annotations

import contextlib
import marshal
import os
import struct
from typing import Any

from autotune.records import Outcome, TrialConfig

_HEADER = struct.Struct("<q")
CHUNK_BYTES = 1 << 16  # what a pipe holds

Request = tuple[TrialConfig, int]  # what to run, and which attempt it is


def send_request(handle: int, request: Request) -> None:
    """Ask for a trial; nothing is said where the other side is gone."""
    config, attempt = request
    with contextlib.suppress(BrokenPipeError):
        _write(handle, ([getattr(config, name) for name in TrialConfig.__slots__], attempt))


def receive_request(handle: int) -> Request | None:
    """Wait for the next request; None where there will be none."""
    data = bytearray()
    while part := os.read(handle, CHUNK_BYTES):
        data += part
        if values := _whole(data):
            return TrialConfig(*values[0]), values[1]
    return None


def send_outcome(handle: int, outcome: Outcome) -> None:
    """Say what came of a trial."""
    _write(handle, [getattr(outcome, name) for name in Outcome.__slots__])


def receive_outcome(handle: int) -> Outcome | None:
    """Read an outcome that is small, or all there."""
    return outcome_in(bytearray(os.read(handle, CHUNK_BYTES)))


def outcome_in(data: bytearray) -> Outcome | None:
    """Return the outcome that was received; None where it is not whole yet."""
    values = _whole(data)
    return None if values is None else Outcome(*values)


def send_status(handle: int, status: int) -> None:
    """Say that a trial's processes are gone, and with which exit status its own ended: negative is a signal."""
    os.write(handle, _HEADER.pack(status))


def receive_status(handle: int) -> int | None:
    """Wait for a status; None where the other side is gone."""
    data = os.read(handle, _HEADER.size)  # so few bytes are whole
    return int(_HEADER.unpack(data)[0]) if data else None


def _write(handle: int, values: Any) -> None:
    body = marshal.dumps(values)
    left = memoryview(_HEADER.pack(len(body)) + body)
    while left:
        left = left[os.write(handle, left) :]


def _whole(data: bytearray) -> Any:
    """Return the values of a message; None where there is less than all of it."""
    if len(data) < _HEADER.size or len(data) < _HEADER.size + _HEADER.unpack_from(data)[0]:
        return None
    return marshal.loads(memoryview(data)[_HEADER.size :])  # noqa: S302  # our own process's
