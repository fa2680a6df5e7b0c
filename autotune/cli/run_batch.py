"""``autotune run-batch``: the one command of a batch's Snakemake job."""

from __future__ import annotations

import argparse

from autotune.cli.command import add_log_dir
from autotune.execution.outcome import Stopped
from autotune.execution.runner import exit_now, run_batch
from autotune.storage import StudyDir

HELP = "Run the trials of one batch that are not settled yet, one after another; Snakemake calls this."
EPILOG = """example:
  autotune run-batch 00000-00003-1a2b3c4d --log-dir .autotune
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See command.run_command."""
    parser.add_argument("batch", help="the batch's name, as in batches/index.json")
    add_log_dir(parser)


def run(args: argparse.Namespace) -> int:
    """See command.run_command."""
    try:
        status = run_batch(StudyDir(args.log_dir), args.batch)
    except Stopped as stopped:
        print("told to end; finished trials are kept, the one in flight runs again", flush=True)
        status = 128 + stopped.signal
    exit_now(status)
    return status
