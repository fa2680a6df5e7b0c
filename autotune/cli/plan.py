"""``autotune plan``: write the plan; nothing runs."""

from __future__ import annotations

import argparse
import itertools

from autotune.cli.command import say_notes
from autotune.cli.coverage import print_coverage
from autotune.cli.study_options import add_study_arguments, plan_study, refuse_misspelt, split_study_file, study_flags
from autotune.errors import InvalidStudy
from autotune.planning import Plan
from autotune.spaces import SearchSpace
from autotune.storage import StudyDir

HELP = "Turn a study into one config file a trial and into batches for Snakemake; run nothing."
EPILOG = """example:
  autotune plan study.yaml --dry-run
  autotune plan study.yaml --max-trials 64 && snakemake --profile slurm
"""
PASS_THROUGH = True
_NEXT = "next: `autotune study` with the same arguments, or in a project of `autotune init`: snakemake --profile slurm"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See command.run_command."""
    add_study_arguments(parser)
    parser.add_argument("--dry-run", "-n", action="store_true", help="say what would be planned; write nothing")
    parser.add_argument(
        "--coverage",
        action="store_true",
        help="show how much of each parameter the trials cover (shown anyway for spaces with when, forbid or zip)",
    )


def run(args: argparse.Namespace, rest: list[str]) -> int:
    """See command.run_command."""
    study_file, unknown = split_study_file(rest)
    refuse_misspelt([*study_flags(), "--dry-run", "--coverage"], unknown)
    if unknown:
        raise InvalidStudy(
            f"`autotune plan` takes a study file and its own flags, got {' '.join(unknown)!r}; see --help"
        )
    _, store, plan = plan_study(args, study_file, dry_run=args.dry_run, slots=None)
    say_notes(plan.notes)
    print(describe(store, plan, dry_run=args.dry_run))
    if args.coverage or SearchSpace.from_study(plan.study).has_conditions:
        print_coverage(store, plan)
    print("nothing was written" if args.dry_run else _NEXT)
    return 0


def describe(store: StudyDir, plan: Plan, *, dry_run: bool = False) -> str:
    """Return what was planned, and how much of it is done already."""
    study, verb = plan.study, "would be planned" if dry_run else "planned"
    line = (
        f"{plan.trials} trials {verb} in {store.root}: {study['searcher']['name']}, seed {study['seed']}, "
        f"{study['mode']} {study['metric']}; {plan.written} configs new or changed, {plan.done} trials "
        f"done already, {plan.pending_batches} of {len(plan.batches)} jobs to run"
    )
    if "round_sizes" in study:
        line += (
            f"\n{study['rounds']} rounds of {_sizes(study['round_sizes'])} trials, each proposed from the ones before"
        )
    return f"{line}\nthe study that was there is in {plan.archived}" if plan.archived else line


def _sizes(sizes: list[int]) -> str:
    """Return ``8, 8, 4``, or for many equal ones ``15 x 8, 4``."""
    runs = [(size, len(list(group))) for size, group in itertools.groupby(sizes)]
    return ", ".join(f"{count} x {size}" if count > 3 else ", ".join([str(size)] * count) for size, count in runs)
