"""``autotune status``: how far a study is; reads the study directory only, and works on one that cannot be written."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

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
    if args.json:
        print(json.dumps(summary.to_dict(), sort_keys=True))
        return 0
    if args.watch and summary.unsettled:
        _watch(store, read)
        return 0
    print_summary(summary)
    print(ending(store, summary))
    return 0


def _watch(store: StudyDir, read: Callable[[], Summary]) -> None:
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    with Live(refresh_per_second=1) as live:
        while True:
            started = time.monotonic()
            summary = read()
            live.update(Group(*renderables(summary), Text(ending(store, summary))))
            if not summary.unsettled:
                return
            # At most a fiftieth of a core, however many trials there are.
            time.sleep(max(_REFRESH_S, 50 * (time.monotonic() - started)))
