"""``autotune aggregate``: tables and the best from the results so far."""

from __future__ import annotations

import argparse

from autotune.aggregation import aggregate
from autotune.cli.command import add_log_dir
from autotune.cli.summary import ending, print_summary
from autotune.storage import StudyDir

HELP = "Write best.json, trials.csv and scalars.csv from the results there are; also while trials run."
EPILOG = """example:
  autotune aggregate --log-dir .autotune
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See command.run_command."""
    add_log_dir(parser)


def run(args: argparse.Namespace) -> int:
    """See command.run_command."""
    store = StudyDir(args.log_dir)
    summary = aggregate(store)
    print_summary(summary)
    print(ending(store, summary))
    return 1 if summary.unreadable else 0
