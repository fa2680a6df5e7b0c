"""A study's summary on the terminal, and its last line: what is done, what failed, and the next command."""

from __future__ import annotations

import os
import shlex
from typing import Any

from autotune.aggregation import Summary
from autotune.budget import spent_sentence
from autotune.storage import StudyDir

_GROUPS_SHOWN = 10
_NUMBERS_SHOWN = 8


def print_summary(summary: Summary) -> None:
    """Print counts by state, failures grouped by error, and the best."""
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    for part in renderables(summary):
        console.print(part)


def renderables(summary: Summary) -> list[Any]:
    """Return what ``status`` shows, for Rich."""
    from rich.table import Table
    from rich.text import Text

    parts: list[Any] = [Text(counts_line(summary))]
    if summary.groups:
        table = Table("trials", "state", "error", box=None, pad_edge=False, header_style="bold")
        for (state, reason, error), numbers in list(summary.groups.items())[:_GROUPS_SHOWN]:
            table.add_row(_numbers(numbers), f"{state} ({reason})", Text(error.splitlines()[0][:300]))
        parts.append(table)
        if len(summary.groups) > _GROUPS_SHOWN:
            parts.append(Text(f"... and {len(summary.groups) - _GROUPS_SHOWN} more errors; trials.csv has them all"))
    parts += [Text(error, style="red") for error in list(summary.unreadable.values())[:_GROUPS_SHOWN]]
    parts.append(Text(best_line(summary), style="bold"))
    return parts


def counts_line(summary: Summary) -> str:
    """Return the trials by state in a line."""
    waiting = summary.unsettled - len(summary.running)
    counts = {**summary.counts, "running": len(summary.running), "to run": waiting}
    line = ", ".join(f"{number} {name}" for name, number in counts.items() if number)
    return f"{summary.done} of {summary.trials} trials done ({line})"


def best_line(summary: Summary) -> str:
    """Return the best trial in a line."""
    if summary.best is None:
        return "no trial has completed yet"
    metric = summary.study["metric"]
    params = ", ".join(f"{name}={_short(value)}" for name, value in summary.best.params.items())
    return f"best {metric} {summary.best.metrics[metric]:.6g} (trial {summary.best.number}): {params}"


def ending(store: StudyDir, summary: Summary, *, is_held: bool = False) -> str:
    """Return the last line: where the files are, or how many trials are missing and the command that runs them.

    ``is_held`` says that SLURM has jobs of the study, which may run them still.
    """
    if summary.unreadable:
        return f"{len(summary.unreadable)} results are not whole and will run again; {_resume(store)}"
    if summary.running:
        return f"{counted(len(summary.running))} in work now; `autotune status{_where(store)} --watch` follows them"
    if summary.unsettled and is_held:
        return f"{counted(summary.unsettled)} to run; `autotune status{_where(store)} --watch` follows them"
    spent = spent_sentence(store, summary.study)
    if summary.unsettled and spent:
        return (
            f"budget spent: {summary.done} of {summary.trials} trials done ({spent}); "
            "raise `budget`, and the same command goes on"
        )
    if summary.unsettled:
        failed = summary.unsettled - summary.missing
        parts = [f"{failed} failed" if failed else "", f"{summary.missing} did not run" if summary.missing else ""]
        return f"of {summary.trials} trials {' and '.join(part for part in parts if part)}; {_resume(store)}"
    files = ", ".join(os.path.basename(name) for name in (store.best_file, store.trials_file, store.scalars_file))
    kept = f"{summary.failed} failed for good (`autotune retry` runs them again); " if summary.failed else ""
    report = f", {os.path.basename(store.report_file)}"
    if not os.path.exists(store.report_file):
        report = f"; `autotune report{_where(store)}` draws them"
    return f"{kept}results in {store.root}: {files}{report}"


def _resume(store: StudyDir) -> str:
    return f"the same command runs exactly these again (`autotune status{_where(store)}` says why)"


def counted(trials: int) -> str:
    """Return ``1 trial`` or ``3 trials``."""
    return f"{trials} trial" + ("" if trials == 1 else "s")


def _where(store: StudyDir) -> str:
    return "" if store.root == ".autotune" else f" --log-dir {shlex.quote(store.root)}"


def _numbers(numbers: list[int]) -> str:
    more = f" ... {len(numbers)} in all" if len(numbers) > _NUMBERS_SHOWN else ""
    return ", ".join(str(number) for number in sorted(numbers)[:_NUMBERS_SHOWN]) + more


def _short(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."
