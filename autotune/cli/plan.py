"""``autotune plan``: write the plan; nothing runs."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
from collections.abc import Callable
from typing import Any

from autotune import controller, snakemake
from autotune.batching import processors
from autotune.cli.command import say_notes
from autotune.cli.coverage import print_coverage
from autotune.cli.study_options import add_study_arguments, plan_study, refuse_misspelt, split_study_file, study_flags
from autotune.errors import InvalidStudy
from autotune.estimate import Estimate, Range, estimate
from autotune.live import lasting
from autotune.planning import Plan
from autotune.spaces import SearchSpace
from autotune.storage import StudyDir

HELP = "Turn a study into one config file a trial and into batches for Snakemake; run nothing."
EPILOG = """example:
  autotune plan study.yaml --dry-run             # with what it will take, where trials have run before
  autotune plan study.yaml --dry-run --pilot 3   # runs the first three trials, and keeps their results
  autotune plan study.yaml --max-trials 64 && snakemake --profile slurm
"""
PASS_THROUGH = True
_NEXT = "next: `autotune study` with the same arguments, or in a project of `autotune init`: snakemake --profile slurm"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See command.run_command."""
    add_study_arguments(parser)
    parser.add_argument("--dry-run", "-n", action="store_true", help="say what would be planned; write nothing")
    parser.add_argument("-j", "--jobs", type=int, metavar="N", help="jobs side by side, for the estimate and the pilot")
    parser.add_argument(
        "--pilot",
        type=int,
        metavar="N",
        help="run the first N trials (other flags, such as --profile, go to Snakemake), then estimate the others",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object with the estimate, for scripts")
    parser.add_argument(
        "--coverage",
        action="store_true",
        help="show how much of each parameter the trials cover (shown anyway for spaces with when, forbid or zip)",
    )


def run(args: argparse.Namespace, rest: list[str]) -> int:
    """See command.run_command."""
    study_file, unknown = split_study_file(rest)
    refuse_misspelt([*study_flags(), "--dry-run", "--coverage", "--pilot", "--json"], unknown)
    slots = args.jobs or snakemake.slots(unknown)
    if unknown and args.pilot is None:
        raise InvalidStudy(
            f"`autotune plan` takes a study file and its own flags, got {' '.join(unknown)!r}; see --help"
        )
    status, at_once = 0, slots
    if args.pilot is not None:
        status = _run_pilot(args, study_file, [*unknown, *(["-j", str(args.jobs)] if args.jobs else [])])
        at_once = slots or _jobs_on_slurm(unknown)
    _, store, plan = plan_study(args, study_file, dry_run=args.dry_run, slots=slots)
    say_notes(plan.notes)
    found = _estimate(store, plan, at_once) if args.dry_run or args.pilot is not None or args.json else None
    if args.json and found is not None:
        reused = {str(number): origin for number, origin in plan.reused.items()}
        print(json.dumps({**found.to_dict(), "done": plan.done, "reused": reused}, sort_keys=True))
        return status
    print(describe(store, plan, dry_run=args.dry_run))
    if args.coverage or SearchSpace.from_study(plan.study).has_conditions:
        print_coverage(store, plan)
    if found is not None:
        print(describe_estimate(found))
    kept = "the pilot's results are kept" if args.pilot is not None else "nothing was written"
    print(kept if args.dry_run else _NEXT)
    return status


def _jobs_on_slurm(rest: list[str]) -> int | None:
    """Return how many jobs the profile lets be in SLURM's queue; what processors are here does not count there."""
    return int(snakemake.settings(rest)["jobs"] or 0) or None if snakemake.is_on_slurm(rest) else None


def _run_pilot(args: argparse.Namespace, study_file: str | None, rest: list[str]) -> int:
    """Plan, and run the first trials as Snakemake jobs of their own; planning again keeps what they settled.

    Returns:
        Snakemake's exit status.
    """
    if args.pilot < 1:
        raise InvalidStudy(f"--pilot must be a number of trials of at least 1, got {args.pilot}; for example 3")
    given = {name: getattr(args, name) for name in ("budget", "trials_per_job", "slots_per_job", "fresh")}
    config, store, plan = plan_study(args, study_file, dry_run=True, slots=None, has_budget=False)
    args.trials_per_job, args.slots_per_job = str(args.pilot), str(min(config.slots_per_job, args.pilot))
    on_slurm = snakemake.is_on_slurm(rest)
    with controller.alone(store) if on_slurm else contextlib.nullcontext():
        if on_slurm:
            controller.settle_leftovers(store, plan.study)
        _, store, plan = plan_study(args, study_file, dry_run=False, slots=None, has_budget=False)
        files = [store.batch_file(batch) for batch in plan.batches if batch.numbers.start < args.pilot]
        drive = controller.run if on_slurm else snakemake.run
        status, _ = drive(store, plan.study, rest, [file for file in files if not os.path.exists(file)] or files)
    if status != 0:
        say_notes([f"not all of the pilot's trials have a result; {store.snakemake_log} and `autotune status` say why"])
    for name, value in given.items():
        setattr(args, name, value)
    args.fresh = False  # what was there is set aside already
    return status


def _estimate(store: StudyDir, plan: Plan, slots: int | None) -> Estimate:
    """Return what is left of a plan, on the jobs that run side by side, or on this machine's processors and GPUs."""
    resources: dict[str, Any] = plan.study["resources"]
    needed = {name: item if isinstance(item, int | float) else 1 for name, item in resources.items()}
    per_job = plan.study["slots_per_job"]
    at_once = slots or max(1, int(processors() // (needed["cpus"] * per_job)))
    if needed["gpus"]:
        from autotune.execution.gpus import devices

        there = len(devices())  # none on a login node
        at_once = min(at_once, max(1, int(there / (needed["gpus"] * per_job)))) if there else at_once
    sizes = [len(batch.numbers) for batch in plan.batches[len(plan.batches) - plan.pending_batches :]]
    return estimate(store, plan.study, sizes, (plan.trials, plan.done), at_once)


def describe_estimate(found: Estimate) -> str:
    """Return the estimate in a line."""
    start = f"estimate: {found.to_run} of {found.trials} trials to run in {found.jobs} jobs"
    if found.hours is None or found.gpu_hours is None or found.wall_s is None:
        return f"{start}; how long is not known, as no trial has finished; `--pilot 3` runs the first three"
    measured = len(found.measured.seconds)
    gpu_hours = f"{_ends(found.gpu_hours, '{:.3g}'.format)} GPU-hours, " if found.gpu_hours.mean else ""
    how = "95 % interval" if found.hours.low is not None else "no interval: too few trials"
    return (
        f"{start}; {gpu_hours}{_ends(found.hours.times(3600), _lasting)} of trials, "
        f"{_ends(found.wall_s, _lasting)} with {found.slots} jobs at a time ({how}; by {measured} finished trials of "
        f"{found.measured.of}; without the start of jobs and the time in a queue)"
    )


def _lasting(seconds: float) -> str:
    return lasting(seconds) if seconds >= 10 else f"{seconds:.2g} s"


def _ends(item: Range, say: Callable[[float], str]) -> str:
    if item.low is None or item.high is None:
        return f"about {say(item.mean)}"
    return f"{say(item.low)} to {say(item.high)}"


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
    """Return ``8``, where all are equal, ``8, 8, 4``, or where many are ``15 x 8, 4``."""
    if len(set(sizes)) == 1:
        return str(sizes[0])
    runs = [(size, len(list(group))) for size, group in itertools.groupby(sizes)]
    return ", ".join(f"{count} x {size}" if count > 3 else ", ".join([str(size)] * count) for size, count in runs)
