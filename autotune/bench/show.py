"""A measurement on the terminal: one table for a shape, best first, refusals with their reasons below."""

from __future__ import annotations

import sys
import time

from autotune.bench.backends import DEFAULT
from autotune.bench.choose import Choice, figures, ranked, summary
from autotune.bench.rows import Measurement, Row

PROGRESS_AFTER_S = 2.0
FLOP_RULE = "FLOPs: 4·B·H·Sq·Skv·D, causal halves, fwd+bwd x3.5"


class Progress:
    """One line on standard error that is rewritten, from the third second on and only on a terminal."""

    def __init__(self) -> None:
        self._since = time.monotonic()
        self._shown = False

    def say(self, text: str) -> None:
        """Show what goes on now."""
        if sys.stderr.isatty() and time.monotonic() - self._since > PROGRESS_AFTER_S:
            print(f"\r\x1b[2K{text}", end="", file=sys.stderr, flush=True)
            self._shown = True

    def clear(self) -> None:
        """Take the line away."""
        if self._shown:
            print("\r\x1b[2K", end="", file=sys.stderr, flush=True)
            self._shown = False


def print_measurement(measurement: Measurement, choice: Choice | None, problem: str) -> None:
    """Print the table of a shape and what was chosen, or why nothing was."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, 120)  # a file has no width: cut nothing off
    cached = " (kept from an earlier run; --no-cache measures again)" if measurement.from_cache else ""
    console.print(
        f"[bold]{measurement.case}[/bold] on {escape(str(measurement.hardware['device']))}{cached}", soft_wrap=True
    )
    if measurement.device == "cpu":
        console.print("[yellow]This is a CPU: CPU figures say nothing about a GPU.[/yellow]", soft_wrap=True)
    good = [row for row in ranked(measurement.rows) if row.state == "ok"]
    if good:
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        table.add_column("backend", no_wrap=True)
        memory = ["peak MiB"] if any(row.peak_bytes is not None for row in good) else []
        for head in ("ms (median)", "p20", "p80", "n", "TFLOP/s", "max error", "vs best", *memory):
            table.add_column(head, justify="right", no_wrap=True)
        for row in good:
            table.add_row(*_cells(row, good[0], bool(memory)), style="green" if row.backend == choice else None)
        console.print(table)
        console.print(f"[dim]{FLOP_RULE}[/dim]", soft_wrap=True)
    for row in measurement.rows:
        if row.state != "ok":
            console.print(f"{row.backend}: {row.state}: {escape(str(row.reason))}", soft_wrap=True)
    console.print(f"[bold]{escape(summary(choice) if choice is not None else problem)}[/bold]", soft_wrap=True)


def _cells(row: Row, best: Row, memory: bool) -> list[str]:
    name = f"{row.backend} (default)" if row.backend == DEFAULT else row.backend
    times_best = (row.median_ms or 0.0) / (best.median_ms or 1.0)
    cells = [name, *figures(row), f"{times_best:.2f}x"]
    if memory:
        cells.append("" if row.peak_bytes is None else f"{row.peak_bytes / 2**20:.1f}")
    return cells
