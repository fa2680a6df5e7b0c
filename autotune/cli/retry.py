"""``autotune retry``: put trials back to work that have an outcome, or have failed too often."""

from __future__ import annotations

import argparse
import contextlib

from autotune.cli.command import add_log_dir, check_number
from autotune.cli.summary import counted
from autotune.records import FAILED, INFEASIBLE, Result, again
from autotune.storage import Results, StudyDir

HELP = "Put failed trials (or infeasible ones, or those that you name) back to work; their results stay until then."
EPILOG = """example:
  autotune retry                    # all that failed
  autotune retry --infeasible oom   # all that ran out of memory, on a larger GPU now
  autotune retry 3 7                # these two, whatever their state
then run the study again: the same `autotune study` or `snakemake` command.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See command.run_command."""
    parser.add_argument("trials", nargs="*", type=int, help="trial numbers (default: all that failed)")
    parser.add_argument(
        "--infeasible",
        nargs="?",
        const="all",
        choices=("all", "oom", "nonfinite", "declared"),
        help="the infeasible trials instead, or those with this reason",
    )
    add_log_dir(parser)


def run(args: argparse.Namespace) -> int:
    """See command.run_command."""
    store = StudyDir(args.log_dir)
    study = store.read_study()
    for number in args.trials:
        check_number(number, study)
    results = Results(store).refresh().by_number
    chosen = [
        result for number, result in sorted(results.items()) if number < study["trials"] and _is_meant(args, result)
    ]
    numbers = _mark(store, chosen)
    for batch in store.batches():
        if not numbers.isdisjoint(batch.numbers):
            store.forget_batch(batch)
    print(f"{counted(len(numbers))} will run again; next: the same `autotune study` or `snakemake` command as before")
    return 0


def _is_meant(args: argparse.Namespace, result: Result) -> bool:
    if args.trials:
        return result.number in args.trials
    if args.infeasible:
        return result.state == INFEASIBLE and args.infeasible in ("all", result.outcome.reason)
    return result.state == FAILED


def _mark(store: StudyDir, results: list[Result]) -> set[int]:
    marked = set()
    with contextlib.closing(store.lock()) as lock:
        for result in results:
            if lock.acquire(result.number):  # else it runs at this moment
                store.write_result(again(result))
                lock.release(result.number)
                marked.add(result.number)
    return marked
