"""``autotune plan-round``: the one command of the Snakemake job that plans a round of an adaptive study."""

from __future__ import annotations

import argparse

from autotune import slurm
from autotune.cli.command import add_log_dir, say_notes
from autotune.rounds import plan_round, wait_for_quorum
from autotune.storage import StudyDir

HELP = "Propose a round's trials from the results of the rounds before it; Snakemake calls this."
EPILOG = """example:
  autotune plan-round 1 --log-dir .autotune
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See command.run_command."""
    parser.add_argument("round", type=int, help="the round, from 1; `autotune plan` makes round 0")
    add_log_dir(parser)


def run(args: argparse.Namespace) -> int:
    """See command.run_command."""
    store = StudyDir(args.log_dir)
    wait_for_quorum(store, args.round, lambda: slurm.is_here() and bool(slurm.active(store)))
    say_notes(plan_round(store, args.round))
    return 0
