"""From rows to a choice: fastest within what can be told apart, and how that is explained."""

from __future__ import annotations

from collections.abc import Callable

from autotune.bench.backends import BACKENDS, DEFAULT, load
from autotune.bench.case import AttentionCase
from autotune.bench.rows import Measurement, Row
from autotune.errors import AutotuneError


class NoUsableBackend(AutotuneError):
    """Every backend refused, failed or was wrong."""


class Choice(str):
    """The name of the chosen backend, a string like any other, with what led to it; ``choose`` makes it.

    ``ties`` names the backends that cannot be told apart from the fastest (the chosen one is among them), ``rows``
    has all that were looked at.
    """

    case: AttentionCase
    measurement: Measurement
    margin: float
    ties: tuple[str, ...]

    @property
    def rows(self) -> tuple[Row, ...]:
        return self.measurement.rows

    @property
    def regret(self) -> float | None:
        """What PyTorch's own choice would lose, as a part of the fastest time (0.27 is 27 %); None if not measured."""
        times = {row.backend: row.median_ms for row in self.rows if row.median_ms is not None}
        return times[DEFAULT] / min(times.values()) - 1 if DEFAULT in times else None

    def explain(self) -> str:
        """Return the table behind the choice as plain text."""
        head = ("backend", "median ms", "p20", "p80", "n", "TFLOP/s", "max error")
        table = [head, *(_cells(row) for row in ranked(self.rows) if row.state == "ok")]
        widths = [max(len(line[i]) for line in table) for i in range(len(head))]
        lines = [f"{self.measurement.case} on {self.measurement.hardware['device']}"]
        lines += [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table
        ]
        lines += [f"{row.backend}: {row.state}: {row.reason}" for row in self.rows if row.state != "ok"]
        return "\n".join([*lines, summary(self)])


def choose(measurement: Measurement, margin: float) -> Choice:
    """Choose among the rows that are ok.

    Backends are level whose median lies within ``margin`` of the fastest, or whose interval overlaps that of the
    fastest. Among those PyTorch's own choice goes first, then fewer packages, then the shorter time.

    Raises:
        NoUsableBackend: no row is ok.
    """
    times = {row.backend: row.median_ms for row in measurement.rows if row.median_ms is not None}
    if not times:
        reasons = "; ".join(f"{row.backend}: {row.reason}" for row in measurement.rows)
        raise NoUsableBackend(f"no attention backend can do {measurement.case} here: {reasons}")
    level = _level(measurement.rows, times, margin)
    chosen = Choice(min(level, key=_preference(times)))
    chosen.measurement = measurement
    chosen.case = measurement.case
    chosen.margin = margin
    chosen.ties = tuple(sorted(level, key=times.__getitem__))
    return chosen


def _level(rows: tuple[Row, ...], times: dict[str, float], margin: float) -> list[str]:
    """Return the names that cannot be told apart from the fastest."""
    intervals = {row.backend: row.interval_ms for row in rows if row.interval_ms is not None}
    best = min(times, key=times.__getitem__)
    limit = max(times[best] * (1 + margin), intervals[best][1])
    return [name for name in times if times[name] <= limit or intervals[name][0] <= intervals[best][1]]


def _preference(times: dict[str, float]) -> Callable[[str], tuple[bool, int, float]]:
    def packages(name: str) -> int:
        return len(load(BACKENDS[name]).packages) if name in BACKENDS else 1  # another package's: at least that one

    return lambda name: (name != DEFAULT, packages(name), times[name])


def ranked(rows: tuple[Row, ...]) -> list[Row]:
    """Return the rows best first, those without a time last."""
    return sorted(rows, key=lambda row: (row.median_ms is None, row.median_ms))


def summary(choice: Choice) -> str:
    """Return the choice in one sentence."""
    text = f"choice: {choice}"
    others = [name for name in choice.ties if name != choice]
    if others:
        text += f" (level with {', '.join(others)}: within {choice.margin:.0%} or the noise)"
    if choice != DEFAULT and choice.regret is not None:
        text += f"; PyTorch's own choice takes {choice.regret:.0%} longer than the fastest"
    return text


def _cells(row: Row) -> tuple[str, ...]:
    name = f"{row.backend} (default)" if row.backend == DEFAULT else row.backend
    return (name, *figures(row))


def figures(row: Row) -> tuple[str, ...]:
    """Return median, p20, p80, samples, TFLOP/s and error of a row that is ok, as text."""
    times = [f"{time:.4g}" for time in (row.median_ms, row.p20_ms, row.p80_ms) if time is not None]
    error = "" if row.max_error is None else f"{row.max_error:.1e}"
    return (*times, str(row.samples), f"{row.tflops or 0:.3g}", error)
