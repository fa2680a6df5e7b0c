"""``autotune run-batch``: the one command of a batch's Snakemake job."""

from __future__ import annotations

import argparse
import os

from autotune.cli.command import add_log_dir
from autotune.execution.outcome import Stopped
from autotune.execution.runner import run_batch
from autotune.storage import StudyDir

HELP = "Run the trials of one batch that are not settled yet, one after another; Snakemake calls this."
EPILOG = """example:
  autotune run-batch 00000-00003-1a2b3c4d --log-dir .autotune
"""
ENDS_AT_ONCE = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See command.run_command."""
    parser.add_argument("batch", help="the batch's name, as in batches/index.json")
    parser.add_argument(
        "--runtime",
        type=float,
        metavar="MINUTES",
        help="the job's time limit, which counts where SLURM will enforce it",
    )
    add_log_dir(parser)


def run(args: argparse.Namespace) -> int:
    """See command.run_command."""
    try:
        return run_batch(StudyDir(args.log_dir), args.batch, _runtime_s(args.runtime))
    except Stopped as stopped:
        print("told to end; finished trials are kept, the one in flight runs again", flush=True)
        return 128 + stopped.signal


def _runtime_s(minutes: float | None) -> float | None:
    """Return the seconds that are left for trials: the job has used some to start, and needs some to end well."""
    if minutes is None or "SLURM_JOB_ID" not in os.environ:
        return None
    return 60 * minutes - min(60.0, 6 * minutes)
