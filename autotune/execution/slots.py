"""Several trials side by side in one job: a process a slot, each of which takes the next trial when it is free."""

from __future__ import annotations

import contextlib
import os
import signal
import struct
import traceback
from collections.abc import Callable, Iterable, Iterator
from typing import NoReturn

from autotune.execution.kernel import die_with_parent
from autotune.execution.outcome import Stopped

_NUMBER = struct.Struct("<q")  # far below the size up to which a pipe keeps what is written at once together

Run = Callable[[int, Iterator[int]], object]


def share_out(numbers: Iterable[int], slots: int, run: Run) -> None:
    """Fork the slots, hand out the trial numbers one by one, and wait until all are through.

    Args:
        numbers: the trials, in order.
        slots: how many run side by side.
        run: what a slot does with its number (0 ...) and the trials that it takes.

    Raises:
        Stopped: this process was told to end; the slots have been told too, and have ended.
    """
    source, sink = os.pipe()
    children = [_fork(slot, source, sink, run) for slot in range(slots)]
    os.close(source)
    try:
        with contextlib.suppress(BrokenPipeError):  # all slots died; what they left is found open afterwards
            for number in numbers:
                os.write(sink, _NUMBER.pack(number))
        os.close(sink)
        while children:
            os.waitpid(children[-1], 0)
            children.pop()
    except BaseException:
        for child in children:
            os.kill(child, signal.SIGTERM)
        for child in children:
            os.waitpid(child, 0)
        raise


def devices_of(slot: int, gpus: float, devices: str | None) -> str | None:
    """Return the slot's part of the job's devices, as a value for ``CUDA_VISIBLE_DEVICES``.

    Args:
        slot: from 0.
        gpus: what one trial needs; below 1 several slots share a device.
        devices: what the job has, for example ``"0,1,2,3"``.
    """
    if not devices or not gpus:
        return devices
    names = devices.split(",")
    first = int(slot * gpus) if gpus < 1 else slot * round(gpus)
    return ",".join(names[first : first + max(1, round(gpus))])


def _fork(slot: int, source: int, sink: int, run: Run) -> int:
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        os.close(sink)
        _be_slot(slot, source, run, parent)
    return child


def _be_slot(slot: int, source: int, run: Run, parent: int) -> NoReturn:
    status = 1
    try:
        die_with_parent()
        if os.getppid() != parent:  # it died before the death signal was asked for
            os._exit(status)
        run(slot, _taken(source))
        status = 0
    except Stopped as stopped:
        status = 128 + stopped.signal
    except BaseException:  # noqa: BLE001  # the end of a process: all that can be done is to say why
        traceback.print_exc()
    finally:
        os._exit(status)


def _taken(source: int) -> Iterator[int]:
    while number := os.read(source, _NUMBER.size):
        yield _NUMBER.unpack(number)[0]
