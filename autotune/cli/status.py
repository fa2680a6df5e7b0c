"""``autotune status``: how far a study is, by its directory, which need not be writable, and by SLURM's queue."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

from autotune import slurm
from autotune.aggregation import Summary, summarize
from autotune.cli.command import add_log_dir
from autotune.cli.summary import ending, print_summary, renderables
from autotune.storage import Results, StudyDir

HELP = "Say how far a study is: trials by state, the best so far, what failed and why, and the command that resumes."
EPILOG = """example:
  autotune status --watch
  autotune status --json | jq .counts
"""
_REFRESH_S = 2.0
_ASK_S = 20.0  # between two looks at SLURM's queue


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See command.run_command."""
    parser.add_argument("--watch", action="store_true", help="keep it up to date until all trials are done")
    parser.add_argument("--json", action="store_true", help="one JSON object, for scripts")
    add_log_dir(parser)


def run(args: argparse.Namespace) -> int:
    """See command.run_command."""
    store = StudyDir(args.log_dir)
    results = Results(store)

    def read() -> Summary:
        return summarize(store, store.read_study(), results)

    summary = read()
    queue = _Queue(store, results)
    if args.json:
        on_slurm = queue.trials(summary)
        print(json.dumps(summary.to_dict() | ({"slurm": on_slurm} if any(on_slurm.values()) else {}), sort_keys=True))
        return 0
    if args.watch and summary.unsettled:
        _watch(store, read, queue)
        return 0
    print_summary(summary)
    for line in (queue.sentence(summary), ending(store, summary)):
        if line:
            print(line)
    return 0


class _Queue:
    """What SLURM has of the study, asked for now and then."""

    def __init__(self, store: StudyDir, results: Results) -> None:
        self._store, self._results = store, results
        self._jobs: list[slurm.Job] = []
        self._asked = -_ASK_S

    def trials(self, summary: Summary) -> dict[str, list[int]]:
        """Return the trials that are running, pending or lost; none where SLURM knows of no job for them."""
        if time.monotonic() - self._asked >= _ASK_S and slurm.is_here() and summary.unsettled:
            self._asked = time.monotonic()
            self._jobs = slurm.queue(self._store) or []
        known, study = self._results.by_number, summary.study
        settled = {number for number, item in known.items() if item.settles(study["on_failure"], study["attempts"])}
        return slurm.trials_by_state(self._jobs, (n for n in range(summary.trials) if n not in settled))

    def sentence(self, summary: Summary) -> str:
        """Return a line about the queue, or an empty string."""
        trials = self.trials(summary)
        return slurm.sentence(self._jobs, trials) if any(trials.values()) else ""


def _watch(store: StudyDir, read: Callable[[], Summary], queue: _Queue) -> None:
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    with Live(refresh_per_second=1) as live:
        while True:
            started = time.monotonic()
            summary = read()
            lines = [line for line in (queue.sentence(summary), ending(store, summary)) if line]
            live.update(Group(*renderables(summary), *map(Text, lines)))
            if not summary.unsettled:
                return
            # At most a fiftieth of a core, however many trials there are.
            time.sleep(max(_REFRESH_S, 50 * (time.monotonic() - started)))
