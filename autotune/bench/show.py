"""A measurement as text and on the terminal: one table for a shape, best first, refusals with their reasons below."""

from __future__ import annotations

import sys
import time
from typing import Any

from autotune.bench.backends import DEFAULT
from autotune.bench.case import FLOP_RULE
from autotune.bench.choose import Choice, same_kernels, summary
from autotune.bench.rows import Measurement, Row

PROGRESS_AFTER_S = 2.0


class Progress:
    """One line on standard error that is rewritten, after two seconds (or others) and only on a terminal."""

    def __init__(self, after_s: float = PROGRESS_AFTER_S) -> None:
        self._since = time.monotonic()
        self._after_s = after_s
        self._shown = False

    def say(self, text: str) -> None:
        """Show what goes on now."""
        if sys.stderr.isatty() and time.monotonic() - self._since >= self._after_s:
            print(f"\r\x1b[2K{text}", end="", file=sys.stderr, flush=True)
            self._shown = True

    def clear(self) -> None:
        """Take the line away."""
        if self._shown:
            print("\r\x1b[2K", end="", file=sys.stderr, flush=True)
            self._shown = False


def ranked(measurement: Measurement, choice: Choice | None) -> list[Row]:
    """Return the rows that are ok, best first."""
    good = [row for row in measurement.rows if row.state == "ok"]
    ratios = {} if choice is None else choice.ratios
    return sorted(good, key=lambda row: ratios[row.backend].median if row.backend in ratios else float("inf"))


def columns(measurement: Measurement, choice: Choice | None) -> dict[str, list[str]]:
    """Return the table as columns of text; those that say nothing here are left out."""
    rows = ranked(measurement, choice)
    ratios = {} if choice is None else choice.ratios
    matmul = measurement.conditions.get("matmul_tflops")
    copy = measurement.conditions.get("copy_gbs")
    table = {
        "backend": [f"{row.backend} (default)" if row.backend == DEFAULT else row.backend for row in rows],
        "ms": [_number(row.median_ms) for row in rows],
        "p20": [_number(row.p20_ms) for row in rows],
        "p80": [_number(row.p80_ms) for row in rows],
        "n": [str(row.samples) for row in rows],
        "vs best": [f"{ratios[row.backend].median:.3f}x" if row.backend in ratios else "" for row in rows],
        "eager ms": [_number(row.eager_ms) for row in rows],
        "graph ms": [_number(row.graph_ms) for row in rows],
        "1st call s": [_number(row.first_call_s, 3) for row in rows],
        "peak MiB": ["" if row.peak_bytes is None else f"{row.peak_bytes / 2**20:.1f}" for row in rows],
        "TFLOP/s": [_number(row.tflops, 3) for row in rows],
        "% matmul": [_part(row.tflops, matmul) for row in rows],
        "GB/s": [_number(row.gbs, 4) if copy else "" for row in rows],
        "% copy": [_part(row.gbs, copy) for row in rows],
        "max error": ["" if row.max_error is None else f"{row.max_error:.1e}" for row in rows],
    }
    return {head: cells for head, cells in table.items() if any(cells)}


def footer(measurement: Measurement, choice: Choice | None) -> list[str]:
    """Return what stands below the table: kernels, refusals, conditions, rules."""
    lines = [FLOP_RULE] if any(row.state == "ok" for row in measurement.rows) else []
    by_name = {row.backend: row for row in measurement.rows}
    if DEFAULT in by_name and by_name[DEFAULT].kernels:
        twins = [row.backend for row in measurement.rows if same_kernels(by_name[DEFAULT], row)]
        also = f", as do {', '.join(twins)}: one kernel, not several votes" if twins else ""
        lines.append(f"{DEFAULT} runs {by_name[DEFAULT].kernels[0][:100]}{also}")
    lines += [f"{row.backend}: {row.state}: {row.reason}" for row in measurement.rows if row.state != "ok"]
    lines += [f"{row.backend}: {note}" for row in measurement.rows for note in row.notes]
    if choice is not None and choice.by != "gpu":
        lines.append(f"vs best is by {choice.by}")
    seen = measurement.conditions
    if "sm_clock_mhz" in seen:
        clock, power, heat = (seen[name] for name in ("sm_clock_mhz", "power_w", "temperature_c"))
        throttle = f", throttled by {', '.join(seen['throttle'])}" if seen.get("throttle") else ""
        lines.append(
            f"meanwhile: SM clock {clock[0]:.0f}-{clock[2]:.0f} MHz, up to {power[2]:.0f} W, {heat[2]:.0f} C{throttle}"
        )
    return lines


def title(measurement: Measurement) -> str:
    """Return the case and the machine."""
    return f"{measurement.case} on {measurement.hardware['device']}"


def as_text(measurement: Measurement, choice: Choice | None) -> str:
    """Return the table as plain text."""
    table = columns(measurement, choice)
    widths = {head: max(map(len, [head, *cells])) for head, cells in table.items()}
    lines = [title(measurement)] if table["backend"] else []
    for i in range(-1, len(table["backend"])):
        cells = [(head if i < 0 else column[i]).ljust(widths[head]) for head, column in table.items()]
        lines.append("  ".join(cells).rstrip())
    lines += footer(measurement, choice)
    return "\n".join([*lines, *([] if choice is None else [summary(choice)])])


def console() -> Any:
    """Return where to print: the terminal, or a file, which has no width and where nothing is cut off."""
    from rich.console import Console

    found = Console(highlight=False)
    if not found.is_terminal:
        found.width = max(found.width, 200)
    return found


def print_measurement(measurement: Measurement, choice: Choice | None, problem: str) -> None:
    """Print the table of a shape and what was chosen, or why nothing was."""
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    out = console()
    cached = " (kept from an earlier run; --no-cache measures again)" if measurement.from_cache else ""
    out.print(f"[bold]{measurement.case}[/bold] on {escape(_device(measurement))}{cached}", soft_wrap=True)
    if measurement.device == "cpu":
        out.print("[yellow]This is a CPU: CPU figures say nothing about a GPU.[/yellow]", soft_wrap=True)
    cells = columns(measurement, choice)
    if cells.get("backend"):
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        for head in cells:
            table.add_column(head, justify="left" if head == "backend" else "right", no_wrap=True)
        for line in zip(*cells.values()):
            table.add_row(*line, style="green" if line[0].split(" ")[0] == choice else None)
        out.print(table)
    for text in footer(measurement, choice):
        out.print(f"[dim]{escape(text)}[/dim]" if text == FLOP_RULE else escape(text), soft_wrap=True)
    out.print(f"[bold]{escape(summary(choice) if choice is not None else problem)}[/bold]", soft_wrap=True)


def _device(measurement: Measurement) -> str:
    return str(measurement.hardware["device"])


def _number(value: Any, digits: int = 4) -> str:
    return "" if value is None else f"{value:.{digits}g}"


def _part(value: float | None, whole: float | None) -> str:
    return f"{value / whole:.0%}" if value and whole else ""
