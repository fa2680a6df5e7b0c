"""Faults that a process started with this folder on PYTHONPATH brings upon itself; each is asked for by a variable.

CHAOS_FUSE=FILE    where FILE exists and its regular expression matches a file that is about to be renamed into place:
                   remove FILE, note this process in FILE.burnt, and die by SIGKILL; a line "half" cuts the temporary
                   file first, as a kill in mid-write would.
CHAOS_CLOCK=S      time.time() goes back by S seconds at every call.
CHAOS_OPENS=FILE   append the name of every file that is opened, by the running program's pid, to FILE.
"""

import os
import sys


def _burn(fuse: str, source: str, target: str) -> None:
    import re
    import signal

    try:
        with open(fuse, encoding="utf-8") as file:
            pattern, how = file.read().splitlines()
        if not re.search(pattern, target):
            return
        os.unlink(fuse)
    except (FileNotFoundError, ValueError):  # not armed, or another process was faster
        return
    if how == "half":
        os.truncate(source, os.stat(source).st_size // 2)
    with open("/proc/self/cmdline", "rb") as file:
        words = file.read().decode().split("\0")
    with open(fuse + ".burnt", "w", encoding="utf-8") as file:
        file.write("\n".join([str(os.getpid()), *words]))
    os.kill(os.getpid(), signal.SIGKILL)


def _watch_renames(fuse: str) -> None:
    def hook(event: str, args: tuple) -> None:
        if event == "os.rename":
            _burn(fuse, os.fspath(args[0]), os.fspath(args[1]))

    sys.addaudithook(hook)


def _watch_opens(path: str) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)

    def hook(event: str, args: tuple) -> None:
        if event in ("open", "os.listdir", "os.scandir") and isinstance(args[0], str | bytes | os.PathLike):
            os.write(handle, f"{os.getpid()} {os.fsdecode(args[0])}\n".encode("utf-8", "replace"))

    sys.addaudithook(hook)


def _turn_back(step_s: float) -> None:
    import time

    now, calls = time.time, [0]

    def earlier() -> float:
        calls[0] += 1
        return now() - step_s * calls[0]

    time.time = earlier


if "CHAOS_FUSE" in os.environ:
    _watch_renames(os.environ["CHAOS_FUSE"])
if "CHAOS_OPENS" in os.environ:
    _watch_opens(os.environ["CHAOS_OPENS"])
if "CHAOS_CLOCK" in os.environ:
    _turn_back(float(os.environ["CHAOS_CLOCK"]))
