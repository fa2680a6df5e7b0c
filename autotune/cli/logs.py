"""``autotune logs``: what a trial printed, and what it prints."""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
import time

from autotune.cli.command import add_log_dir, check_number
from autotune.storage import StudyDir

HELP = "Print what a trial printed; with -f go on until it ends. Where it says nothing, say where else to look."
EPILOG = """example:
  autotune logs 7
  autotune logs 7 -f            # until the trial ends, or Ctrl-C
"""
_POLL_S = 0.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See command.run_command."""
    parser.add_argument("trial", type=int, help="the trial's number")
    parser.add_argument("-f", "--follow", action="store_true", help="go on as the trial prints, until it ends")
    add_log_dir(parser)


def run(args: argparse.Namespace) -> int:
    """See command.run_command."""
    store = StudyDir(args.log_dir)
    check_number(args.trial, store.read_study())
    log = _Log(store.stdout_file(args.trial))
    try:
        if args.follow:
            _follow(store, args.trial, log)
        else:
            log.print_new()
    except KeyboardInterrupt:  # that is how following is left
        pass
    _say(_ending(store, args.trial, log))
    return 0


class _Log:
    """A trial's log as it grows; a new attempt begins a new file."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._file: int | None = None
        self._position = 0

    @property
    def was_there(self) -> bool:
        """Whether there was anything to print."""
        return self._file is not None

    def print_new(self) -> None:
        """Print what is new, as it stands: a log may hold any bytes."""
        with contextlib.suppress(FileNotFoundError), open(self.path, "rb") as file:
            status = os.fstat(file.fileno())
            is_new = self._file != status.st_ino or status.st_size < self._position
            if self.was_there and is_new:
                _say("a new attempt begins")
            self._file = status.st_ino
            file.seek(0 if is_new else self._position)
            shutil.copyfileobj(file, sys.stdout.buffer)
            sys.stdout.buffer.flush()
            self._position = file.tell()


def _follow(store: StudyDir, number: int, log: _Log) -> None:
    if not store.running([number]) and store.read_result(number) is None:
        _say(f"trial {number} does not run yet; waiting for it (Ctrl-C ends)")
    is_over = False
    while not is_over:
        result = store.read_result(number)
        is_over = result is not None and not result.retry and not store.running([number])
        log.print_new()  # after the look: nothing that it printed before its end is missed
        if not is_over:
            time.sleep(_POLL_S)


def _ending(store: StudyDir, number: int, log: _Log) -> str:
    """Return what to know of the log beside its text."""
    result = store.read_result(number)
    runs = bool(store.running([number]))
    if log.was_there:
        attempt = "" if result is None else f", attempt {result.attempt}: {result.state}"
        return f"trial {number}{' (runs now)' if runs else attempt}; its log is {log.path}"
    where = next((store.batch_log(batch) for batch in store.batches() if number in batch.numbers), None)
    job = f"; its job's log is {where}" if where and os.path.exists(where) else ""
    if runs:
        return f"trial {number} runs, but has printed nothing yet{job}; `autotune logs {number} -f` follows it"
    if result is None:
        return f"trial {number} has not run yet{job}; `autotune study` runs what is missing"
    # With `isolation: none`, and from Python, a trial prints where its process does.
    return f"trial {number} ({result.state}) left no log of its own{job}; `autotune show {number}` says what came of it"


def _say(sentence: str) -> None:
    print(f"note: {sentence}", file=sys.stderr, flush=True)
