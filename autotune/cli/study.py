"""``autotune study``: plan, run under Snakemake, aggregate, report."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable
from typing import Any

from autotune import controller, snakemake
from autotune.aggregation import Summary, aggregate
from autotune.budget import spent_sentence
from autotune.cli.command import say_notes
from autotune.cli.plan import describe
from autotune.cli.study_options import add_study_arguments, plan_study, refuse_misspelt, split_study_file, study_flags
from autotune.cli.summary import ending, print_summary
from autotune.storage import StudyDir

HELP = "Plan a study, run it under Snakemake, aggregate, and say what is best. The same command resumes it."
EPILOG = """All other arguments go to Snakemake: --profile slurm, -j 8, -n (plan, and show what would run), ...

example:
  autotune study study.yaml -j 2
  autotune study study.yaml --max-trials 64 --profile slurm
  python -m autotune.cli study --objective pkg.mod:fn --space space.json --algo sobol \\
      --metric loss --mode min --max-trials 25 --log-dir .autotune --write-best-to .autotune/best.json
"""
PASS_THROUGH = True

Drive = Callable[[StudyDir, dict[str, Any], list[str]], tuple[int, Summary]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See command.run_command."""
    add_study_arguments(parser)
    parser.add_argument(
        "--cancel-leftovers",
        action="store_true",
        help="on SLURM: cancel jobs of an earlier run of this study, rather than wait for them",
    )


def run(args: argparse.Namespace, rest: list[str]) -> int:
    """See command.run_command."""
    study_file, rest = split_study_file(rest)
    refuse_misspelt([*study_flags(), "--cancel-leftovers"], rest)
    on_slurm, slots = snakemake.is_on_slurm(rest), snakemake.slots(rest)
    # An old study is only set aside (--fresh) when it is sure that no other process runs it.
    _, store, plan = plan_study(args, study_file, dry_run=on_slurm and args.fresh, slots=slots)
    with controller.alone(store) if on_slurm else contextlib.nullcontext():
        if on_slurm and (controller.settle_leftovers(store, plan.study, cancel=args.cancel_leftovers) or args.fresh):
            _, store, plan = plan_study(args, study_file, dry_run=False, slots=slots)
        say_notes(plan.notes)
        print(describe(store, plan), flush=True)
        return _run(store, plan.study, rest, controller.run if on_slurm else snakemake.run)


def _run(store: StudyDir, study: dict[str, Any], rest: list[str], drive: Drive) -> int:
    if spent_sentence(store, study) and not snakemake.is_dry(rest) and aggregate(store).unsettled:
        return _finish(store, aggregate(store), 1)
    status, summary = drive(store, study, rest)
    if snakemake.is_dry(rest):
        return status
    if summary.unreadable:  # Snakemake does not look into results; aggregating puts the batches of these back to work
        say_notes(f"{error}; trial {number} runs again" for number, error in aggregate(store).unreadable.items())
        status, summary = drive(store, study, rest)
    if status != 0 and not summary.failed and not spent_sentence(store, study):
        _explain(store, status)
    if status != 0:  # then Snakemake has not aggregated, or not all
        summary = aggregate(store)
    return _finish(store, summary, status)


def _explain(store: StudyDir, status: int) -> None:
    print(f"Snakemake ended with status {status}; the end of {store.snakemake_log}:", file=sys.stderr)
    print(snakemake.log_tail(store), file=sys.stderr)


def _finish(store: StudyDir, summary: Summary, status: int) -> int:
    print_summary(summary)
    print(ending(store, summary))
    return 1 if summary.unsettled or summary.unreadable else status
