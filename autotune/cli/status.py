"""``autotune status``: how far a study is, by its directory, which need not be writable, and by SLURM's queue."""

from __future__ import annotations

import argparse
import json
import math
import time

from autotune import slurm
from autotune.aggregation import Summary, summarize
from autotune.cli.command import add_log_dir
from autotune.cli.summary import ending, print_summary
from autotune.cli.watching import watch
from autotune.errors import InvalidInput
from autotune.storage import Results, StudyDir

HELP = "Say how far a study is: trials by state, the best so far, what failed and why, and the command that resumes."
EPILOG = """example:
  autotune status --watch                # until all is done, or Ctrl-C; --interval 10 for a slow link
  autotune status --json | jq .counts
"""
_ASK_S = 20.0  # between two looks at SLURM's queue


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See command.run_command."""
    parser.add_argument("--watch", action="store_true", help="keep it up to date until all trials are done")
    parser.add_argument(
        "--interval",
        type=float,
        metavar="S",
        help="seconds between two looks (default: 2, or 30 where there is no terminal)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object, for scripts")
    add_log_dir(parser)


def run(args: argparse.Namespace) -> int:
    """See command.run_command."""
    store = StudyDir(args.log_dir)
    results = Results(store)
    queue = _Queue(store, results)
    if args.interval is not None and not 0 < args.interval < math.inf:
        raise InvalidInput(f"--interval must be seconds above 0, got {args.interval:g}; for example 10")
    if args.watch and not args.json:
        watch(store, results, queue.sentence, args.interval)
        return 0
    summary = summarize(store, store.read_study(), results)
    if args.json:
        on_slurm = queue.trials(summary)
        print(json.dumps(summary.to_dict() | ({"slurm": on_slurm} if any(on_slurm.values()) else {}), sort_keys=True))
        return 0
    print_summary(summary)
    line, is_held = queue.sentence(summary)
    if line:
        print(line)
    print(ending(store, summary, is_held=is_held))
    return 0


class _Queue:
    """What SLURM has of the study."""

    def __init__(self, store: StudyDir, results: Results) -> None:
        self._store, self._results = store, results
        self._sentence, self._is_held, self._asked = "", False, -_ASK_S

    def sentence(self, summary: Summary) -> tuple[str, bool]:
        """Return a line about the queue, or an empty string, and whether jobs are in it; both last a while."""
        if time.monotonic() - self._asked >= _ASK_S:
            self._asked = time.monotonic()
            jobs = self._jobs(summary)
            trials = self.trials(summary, jobs)
            self._sentence = slurm.sentence(jobs, trials) if any(trials.values()) else ""
            self._is_held = any(job.is_active for job in jobs)
        return self._sentence, self._is_held

    def trials(self, summary: Summary, jobs: list[slurm.Job] | None = None) -> dict[str, list[int]]:
        """Return the trials that are running, pending or lost; none where SLURM knows of no job for them."""
        known, study = self._results.by_number, summary.study
        settled = {number for number, item in known.items() if item.settles(study["on_failure"], study["attempts"])}
        jobs = self._jobs(summary) if jobs is None else jobs
        return slurm.trials_by_state(jobs, (n for n in range(summary.trials) if n not in settled))

    def _jobs(self, summary: Summary) -> list[slurm.Job]:
        return slurm.known(self._store) if summary.unsettled and slurm.is_here() else []
