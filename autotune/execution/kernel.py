"""What Linux does for us when processes die: ``prctl(2)``, orphans, signals."""

from __future__ import annotations

import contextlib
import functools
import os
import select
import signal
import time
from typing import TYPE_CHECKING, Any

from autotune.files import read_bytes

if TYPE_CHECKING:
    import subprocess

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_SIGTERM = int(signal.SIGTERM)
_TRACKER_S = 2.0


@functools.cache
def _libc() -> tuple[Any, Any]:
    """Return ``prctl`` and ``signal``, both looked up in the parent: a forked child would do it each time anew."""
    import ctypes

    libc = ctypes.CDLL(None)
    return libc.prctl, libc.signal


def prctl(option: int, value: int) -> None:
    """Call ``prctl(2)``; what fails here is only a comfort."""
    call, _ = _libc()
    call(option, int(value), 0, 0, 0)


def adopt_orphans() -> None:
    """Become the parent of all processes that children leave behind, so that they can be ended."""
    prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent dies, even by SIGKILL."""
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def end_by_sigterm() -> None:
    """Let SIGTERM end this process at once, also inside a library that does not come back to Python.

    By the C library: ``signal.signal`` touches a hundred pages of memory, a tenth of what a forked trial costs.
    """
    _, call = _libc()
    call(_SIGTERM, 0)


def wait_for_program(process: subprocess.Popen[bytes], *, forward: bool) -> int:
    """Wait for a program, through a SIGTERM too: it may save what it has; then the signal takes its course here.

    Args:
        process: the program.
        forward: whether it is told; a program in this process's own group has had the signal itself.
    """
    told: list[int] = []

    def note(number: int, _frame: object) -> None:
        told.append(number)
        if forward:
            process.send_signal(number)

    try:
        before = signal.signal(signal.SIGTERM, note)
    except ValueError:  # not in the main thread, which alone gets signals
        return process.wait()
    try:
        return process.wait()
    except BaseException:
        process.kill()
        process.wait()
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
        if told:
            os.kill(os.getpid(), told[0])


def signal_name(number: int) -> str:
    """Return for example ``SIGKILL (signal 9)``."""
    with contextlib.suppress(ValueError):
        return f"{signal.Signals(number).name} (signal {number})"
    return f"signal {number}"


def exit_handle(child: int, life: int) -> int:
    """Return a file that becomes readable when a child ends.

    Args:
        child: the process.
        life: the reading end of a pipe whose writing end the child holds. It serves before Linux 5.3 (RHEL 8), which
            has no ``pidfd_open``; processes that the child leaves behind hold it too, so it is the second choice.
    """
    try:
        handle = os.pidfd_open(child)
    except (AttributeError, OSError):
        return life
    os.close(life)
    return handle


def signal_group(leader: int, number: int) -> None:
    """Send a signal to a child that is not waited for yet, and to its process group: it may not have made that yet."""
    for send in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError):
            send(leader, number)


def reap(child: int) -> int:
    """Wait until a child has ended, end all that it left behind, and return its exit status: negative is a signal.

    What it left is this process's own by then, which must have no other children (`adopt_orphans`).
    """
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    is_alone = _children() == [child]
    if not is_alone:
        wait_for_trackers(child)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if not is_alone:
        end_orphans()
    return status


def end_orphans(*, trackers: bool = True) -> None:
    """Kill what a trial's processes left behind: as the subreaper, this process has inherited it.

    Args:
        trackers: resource trackers too; otherwise they are left to see that this process ends, and to clean up then.
    """
    for _ in range(100):  # a killed orphan's own children are inherited in turn
        orphans = [pid for pid in _children() if trackers or not _is_tracker(pid)]
        if not orphans:
            return
        for pid in orphans:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


def wait_for_trackers(child: int) -> None:
    """Let the resource trackers of a child that is dead (and not waited for yet) remove what it has shared.

    They are Python's, of ``multiprocessing`` and joblib: when all who share are gone, they remove semaphores and shared
    memory, which would otherwise stay in ``/dev/shm`` for ever.
    """
    others = [pid for pid in _children() if pid != child]
    trackers = [pid for pid in others if _is_tracker(pid)]
    if not trackers:
        return
    for pid in set(others) - set(trackers):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + _TRACKER_S
    for pid in trackers:
        with contextlib.suppress(OSError, AttributeError):
            handle = os.pidfd_open(pid)
            select.select([handle], [], [], max(0.0, deadline - time.monotonic()))
            os.close(handle)


def _children() -> list[int]:
    me = os.getpid()
    try:
        return [int(pid) for pid in read_bytes(f"/proc/{me}/task/{me}/children").split()]
    except FileNotFoundError:
        return []


def _is_tracker(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return b"resource_tracker" in read_bytes(f"/proc/{pid}/cmdline")
    return False
