"""``autotune cancel``: end what a study has in SLURM's queue."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from pathlib import Path

from autotune import slurm
from autotune.cli.command import add_log_dir
from autotune.errors import InvalidInput
from autotune.storage import CONTROLLER_LOCK, StudyDir

HELP = "Cancel the jobs that a study has in SLURM's queue, running ones too; finished trials are kept."
EPILOG = """example:
  autotune cancel --log-dir .autotune
The same `autotune study` command goes on with the study later.
"""
_ENDS_WITHIN_S = 120.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See command.run_command."""
    add_log_dir(parser)


def run(args: argparse.Namespace) -> int:
    """See command.run_command."""
    store = StudyDir(args.log_dir)
    store.read_study()
    if not slurm.is_here():
        raise InvalidInput("SLURM's `squeue` must be on PATH, but is not; run this where you submit jobs")
    jobs = slurm.active(store)
    for job in jobs:
        print(f"SLURM job {job.id} ({job.state.lower()}): {_work(job)}")
    ended = _end_controller(store)
    slurm.cancel(slurm.active(store))  # after the controller, which would submit them again
    print(
        f"cancelled {slurm.described(jobs)}{' and ended `autotune study`' if ended else ''}; finished trials are kept"
    )
    if any(not job.name.startswith(slurm.prefix(store)) for job in jobs):
        print("a `snakemake` that still runs would submit them again: end it too (Ctrl-C)", file=sys.stderr)
    return 0


def _work(job: slurm.Job) -> str:
    return f"batch {job.batch}" if job.batch else f"{job.name}"


def _end_controller(store: StudyDir) -> bool:
    """Ask the `autotune study` that runs the study, on whatever machine, to end; return whether there was one."""
    with contextlib.closing(store.lock()) as lock:
        if not lock.is_held(CONTROLLER_LOCK):
            return False
        Path(store.cancel_file).touch()
        print("`autotune study` runs on this study; waiting for it to end", flush=True)
        deadline = time.monotonic() + _ENDS_WITHIN_S
        while lock.is_held(CONTROLLER_LOCK):
            if time.monotonic() > deadline:
                raise InvalidInput(
                    f"`autotune study` must end within {_ENDS_WITHIN_S:.0f} s, but has not; end it yourself (Ctrl-C), "
                    "then run `autotune cancel` again"
                )
            time.sleep(0.5)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(store.cancel_file)
    return True
