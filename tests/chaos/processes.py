"""The processes of one study under chaos: found by a mark in their environment, so that no other is ever killed."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass

_BATCH = re.compile(r"(\d+)-(\d+)-[0-9a-f]{8}")


@dataclass(frozen=True)
class Process:
    """A process, and what it does: study, snakemake, batch, slot, trial, aggregate, other.

    A trial is its own process, or the one that forks such.
    """

    pid: int
    parent: int
    group: int
    argv: tuple[str, ...]
    role: str = "other"

    @property
    def trials(self) -> range:
        """The trials of the batch that it runs."""
        return trials_of(self.argv)


def trials_of(argv: Iterable[str]) -> range:
    """Return the trials of the batch that a command line names."""
    for word in argv:
        if match := _BATCH.fullmatch(word):
            return range(int(match[1]), int(match[2]) + 1)
    return range(0)


def find(mark: str) -> list[Process]:
    """Return the living processes with the mark in their environment."""
    found = [process for name in os.listdir("/proc") if name.isdigit() and (process := _read(int(name), mark))]
    by_pid = {process.pid: process for process in found}
    return [_with_role(process, by_pid.get(process.parent)) for process in found]


def _read(pid: int, mark: str) -> Process | None:
    try:
        if not _is_marked(pid, mark):
            return None
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            argv = tuple(file.read().decode("utf-8", "replace").split("\0"))
        with open(f"/proc/{pid}/stat", "rb") as file:
            state, parent, group, *_ = file.read().rpartition(b")")[2].split()
    except OSError:  # it has ended, or is another user's
        return None
    return None if state in b"ZX" else Process(pid, int(parent), int(group), argv)


def _is_marked(pid: int, mark: str) -> bool:
    with open(f"/proc/{pid}/environ", "rb") as file:
        return mark.encode() in file.read()


def _with_role(process: Process, parent: Process | None) -> Process:
    role = "other"
    argv = process.argv
    is_fork = parent is not None and parent.argv == argv  # not yet, or never, another program
    if "run-batch" in argv:
        # A trial has a group of its own, and so has what forks it; a slot, which the job forks to have trials run, not.
        role = "trial" if process.group == process.pid else "slot" if is_fork else "batch"
    elif "program.py" in argv:
        role = "trial"
    elif is_fork:
        role = "other"
    elif "aggregate" in argv:
        role = "aggregate"
    elif "snakemake" in argv:
        role = "snakemake"
    elif "study" in argv:
        role = "study"
    return Process(process.pid, process.parent, process.group, argv, role)


def below(process: Process, all_: list[Process]) -> list[Process]:
    """Return the process and all that descend from it."""
    known, found = {process.pid}, [process]
    while more := [child for child in all_ if child.parent in known and child.pid not in known]:
        known |= {child.pid for child in more}
        found += more
    return found


class Handle:
    """A process held by a descriptor, so that its number cannot come to mean another one; an own process or none."""

    def __init__(self, process: Process, mark: str) -> None:
        self.process = process
        self._handle: int | None = None
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            handle = os.pidfd_open(process.pid)
            if _is_marked(process.pid, mark):
                self._handle = handle
            else:
                os.close(handle)

    def send(self, number: signal.Signals) -> bool:
        """Send a signal; return whether there was somebody to get it."""
        if self._handle is None:
            return False
        try:
            signal.pidfd_send_signal(self._handle, number)
        except ProcessLookupError:
            return False
        return True

    def wait(self, timeout_s: float) -> bool:
        """Return whether it has ended by then."""
        if self._handle is None:
            return True
        poll = select.poll()
        poll.register(self._handle, select.POLLIN)
        return bool(poll.poll(timeout_s * 1000))

    def close(self) -> None:
        """Let go."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def stop_all(mark: str) -> list[Process]:
    """Stop all processes with the mark, new ones too, until there is no further one; return them."""
    stopped: dict[int, Process] = {}
    while new := [process for process in find(mark) if process.pid not in stopped]:
        for process in new:
            with contextlib.closing(Handle(process, mark)) as handle:
                handle.send(signal.SIGSTOP)
            stopped[process.pid] = process
    return list(stopped.values())


def wait_for_none(mark: str, timeout_s: float) -> list[Process]:
    """Wait until no process has the mark; return those that are left."""
    deadline = time.monotonic() + timeout_s
    while (left := find(mark)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left
