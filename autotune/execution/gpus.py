"""Leases of this machine's GPUs: jobs that run side by side never share a device, unless they ask for parts of one.

A lease is a kernel lock on bytes of a file that stands for the device, so it ends with its holder, whatever kills it.
Under SLURM the scheduler has given the job its devices already, and nothing is leased.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from autotune.errors import InvalidStudy
from autotune.files import LockFile

PARTS = 60  # of a device: halves, thirds, quarters, fifths, sixths and tenths are whole numbers of them
_POLL_S = 0.2


def devices() -> list[str]:
    """Return this machine's GPUs that may be used: those of ``CUDA_VISIBLE_DEVICES`` if it is set, else all."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name.strip() for name in visible.split(",") if name.strip() not in ("", "-1", "NoDevFiles")]
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    answer = subprocess.run(
        [program, "--query-gpu=index", "--format=csv,noheader"], capture_output=True, text=True, check=False
    )
    return answer.stdout.split() if answer.returncode == 0 else []


@contextlib.contextmanager
def lease(gpus: float) -> Iterator[str]:
    """Hold GPUs, waiting for them if need be; yield them as a value for ``CUDA_VISIBLE_DEVICES``.

    Args:
        gpus: how many; below 1 a part of one, such as 0.5.

    Raises:
        InvalidStudy: there are fewer on this machine.
    """
    if "SLURM_JOB_ID" in os.environ:
        yield os.environ.get("CUDA_VISIBLE_DEVICES", "")
        return
    names = devices()
    count = max(1, round(gpus))
    if len(names) < count:
        raise InvalidStudy(
            f"`resources.gpus` must be at most the {len(names)} GPUs of this machine, got {gpus:g}; "
            "lower it, or run on a machine that has them"
        )
    parts = PARTS if gpus >= 1 else max(1, round(gpus * PARTS))
    with contextlib.ExitStack() as held:
        locks = {name: held.enter_context(contextlib.closing(LockFile(_lock_path(name)))) for name in names}
        yield ",".join(_wait_for(locks, count, parts))


def _wait_for(locks: dict[str, LockFile], count: int, parts: int) -> list[str]:
    """Take ``count`` devices at once or none, so that two jobs never wait for each other's halves."""
    while True:
        taken: dict[str, range] = {}
        for name, lock in locks.items():
            if len(taken) < count and (place := _take(lock, parts)) is not None:
                taken[name] = place
        if len(taken) == count:
            return list(taken)
        for name, place in taken.items():
            _give_back(locks[name], place)
        time.sleep(_POLL_S * (1 + os.getpid() % 7 / 7))  # not in step with the other jobs


def _take(lock: LockFile, parts: int) -> range | None:
    for first in range(0, PARTS - parts + 1, parts):
        place = range(first, first + parts)
        held = []
        for byte in place:
            if not lock.acquire(byte):
                break
            held.append(byte)
        if len(held) == parts:
            return place
        for byte in held:
            lock.release(byte)
    return None


def _give_back(lock: LockFile, place: range) -> None:
    for byte in place:
        lock.release(byte)


def _lock_path(device: str) -> Path:
    """Return the file that stands for a device, the same for all of a user's jobs on this machine."""
    folder = Path(tempfile.gettempdir()) / f"autotune-gpus-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder / f"{device.replace('/', '_')}.lock"
