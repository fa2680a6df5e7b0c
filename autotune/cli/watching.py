"""``autotune status --watch``: the view on a terminal, or a line now and then where there is none."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from autotune.aggregation import Summary
from autotune.cli.summary import best_line, counted, counts_line, ending, renderables
from autotune.live import ASCII, BLOCKS, RECENT_S, Follower, Pace, View, lasting, sparkline
from autotune.storage import Results, StudyDir

_ON_TERMINAL_S, _ELSEWHERE_S = 2.0, 30.0  # between two looks
_FEWEST_ROWS = 4

Say = Callable[[Summary], tuple[str, bool]]  # a line about SLURM's queue, or an empty string; whether jobs are in it


def watch(store: StudyDir, results: Results, queue: Say, interval_s: float | None) -> None:
    """Show the study until all of its trials are done, or until Ctrl-C.

    Args:
        store: the study directory; it need not be writable.
        results: what has been read of it.
        queue: says what SLURM has of the study.
        interval_s: between two looks.
    """
    follower = Follower(store, results)
    try:
        if sys.stdout.isatty():
            _on_terminal(store, follower, queue, interval_s or _ON_TERMINAL_S)
        else:
            _elsewhere(store, follower, queue, interval_s or _ELSEWHERE_S)
    except KeyboardInterrupt:
        pass  # that is how a view is left


def _on_terminal(store: StudyDir, follower: Follower, queue: Say, interval_s: float) -> None:
    from rich.console import Console
    from rich.live import Live

    console = Console(highlight=False)
    with Live(console=console, auto_refresh=False) as live:
        while True:
            view = follower.look(max(_FEWEST_ROWS, console.height // 3))
            live.update(_screen(store, view, queue, ASCII if console.options.ascii_only else BLOCKS), refresh=True)
            if not view.summary.unsettled:
                return
            time.sleep(interval_s)


def _elsewhere(store: StudyDir, follower: Follower, queue: Say, interval_s: float) -> None:
    while True:
        view = follower.look(0)
        parts = [counts_line(view.summary), best_line(view.summary), queue(view.summary)[0], _pace_line(view.pace)]
        print(time.strftime("%H:%M:%S"), "; ".join(part for part in parts if part), flush=True)
        if not view.summary.unsettled:
            print(ending(store, view.summary), flush=True)
            return
        time.sleep(interval_s)


def _screen(store: StudyDir, view: View, queue: Say, levels: str) -> Any:
    from rich.console import Group
    from rich.text import Text

    line, is_held = queue(view.summary)
    lines = [line, _pace_line(view.pace)]
    if not (view.running or is_held):  # else it says how to do what is being done
        lines.append(ending(store, view.summary))
    curve = [Text(_curve_line(view, levels), no_wrap=True)] if view.curve else []
    return Group(*renderables(view.summary), *curve, *_running(view), *(Text(line) for line in lines if line))


def _curve_line(view: View, levels: str) -> str:
    return f"{view.curve[0]:.4g} {sparkline(view.curve, 48, levels)} {view.curve[-1]:.4g}"


def _running(view: View) -> list[Any]:
    """Return the table of the trials that run now, those first that run longest."""
    from rich.table import Table
    from rich.text import Text

    if not view.running:
        return []
    with_gpus = any(item.gpus for item in view.running)
    columns = ["running", "host", *(["GPU"] if with_gpus else []), "for", "last"]
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for item in view.running:
        elapsed = "" if item.started_at is None else lasting(time.time() - item.started_at)
        last = "" if item.last is None else f"{item.last.tag} {item.last.value:.6g} (step {item.last.step})"
        again = f" (attempt {item.attempt})" if (item.attempt or 1) > 1 else ""
        gpus = [item.gpus or ""] if with_gpus else []
        table.add_row(*map(Text, [f"{item.number}{again}", item.host or "", *gpus, elapsed, last]))
    more = len(view.summary.running) - len(view.running)
    return [table, Text(f"... and {counted(more)} more")] if more else [table]


def _pace_line(pace: Pace) -> str:
    parts = [f"{counted(pace.recent)} in the last {RECENT_S / 60:.0f} min"] if pace.recent else []
    if pace.left_s is not None:
        parts.append(f"about {lasting(pace.left_s)} left")
    if pace.gpu_hours_left:
        parts.append(f"{pace.gpu_hours_left:.2g} GPU-hours left")
    return ", ".join(parts)
