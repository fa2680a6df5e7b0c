"""Print what `compare` has measured, as a table of Markdown: ``python -m examples.lm.table [LOG_DIR ...]``."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from statistics import mean
from typing import Any

from autotune.storage import Results, StudyDir

Run = dict[str, Any]  # name, on, params, seed, metrics

HEAD = ["| | on | test loss, mean (least to most of its seeds) | tokens/s | settings |", "|---|---|---|---|---|"]
CONSTANTS = ("context", "width", "depth", "heads", "seconds", "gpus")  # the same for all, or said in a column


def runs_of(log_dir: str) -> list[Run]:
    """Return the trainings that are noted in a study's ``compare.json``, none where there is no such file."""
    path = compare_file(log_dir)
    runs: list[Run] = json.loads(path.read_bytes()) if path.exists() else []
    return runs


def compare_file(log_dir: str) -> Path:
    """Return the file that holds the trainings of `compare`."""
    return Path(log_dir) / "compare.json"


def rows(runs: list[Run]) -> list[str]:
    """Return a line of the table for each contender, in the order in which they were trained first."""
    contenders: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        contenders.setdefault((run["name"], run["on"]), []).append(run)
    return [_row(name, on, group) for (name, on), group in contenders.items()]


def course(log_dir: str) -> str:
    """Return how a study went: trials by state, and the seconds from the first one's start to the last one's end."""
    results = Results(StudyDir(log_dir)).refresh().by_number.values()
    states = ", ".join(f"{count} {state}" for state, count in Counter(result.state for result in results).items())
    wall_s = max(one.started_at + one.duration_s for one in results) - min(one.started_at for one in results)
    return f"{log_dir}: {len(results)} trials ({states}) in {wall_s:.0f} s, {_longest_and_shortest(results)}"


def main(*log_dirs: str) -> int:
    """Print one table for all studies, and a line on each; exit with 1 where nothing was compared yet."""
    runs = [run for log_dir in log_dirs for run in runs_of(log_dir)]
    if not runs:
        print(f"there must be a compare.json in {' or '.join(log_dirs)}: run examples.lm.compare", file=sys.stderr)
        return 1
    print(*HEAD, *rows(runs), "", *map(course, log_dirs), sep="\n")
    return 0


def _row(name: str, on: str, runs: list[Run]) -> str:
    losses = [run["metrics"]["test_loss"] for run in runs]
    speed = mean(run["metrics"]["tokens_per_s"] for run in runs)
    settings = ", ".join(f"{key} {_shown(value)}" for key, value in runs[0]["params"].items() if key not in CONSTANTS)
    spread = f"{mean(losses):.3f} ({min(losses):.3f} to {max(losses):.3f} of {len(losses)})"
    return f"| {name} | {on} | {spread} | {speed:,.0f} | {settings} |"


def _shown(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _longest_and_shortest(results: Any) -> str:
    durations_s = [result.duration_s for result in results]
    return f"{min(durations_s):.0f} to {max(durations_s):.0f} s a trial"


if __name__ == "__main__":
    sys.exit(main(*(sys.argv[1:] or [".autotune-lm"])))
