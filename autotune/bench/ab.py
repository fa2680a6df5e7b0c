"""Two backends against each other: is one faster, are they the same, or cannot it be told?

Both are timed in turns, equally often and until the budget or the number of rounds ends: no stop looks at the times,
so the 95 % interval of their ratio (by ranks, over rounds that both took part in) is what it says.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from autotune.bench.case import AttentionCase
from autotune.bench.rows import Measurement, Row
from autotune.bench.sampling import Ratio, ratio
from autotune.bench.show import console
from autotune.errors import InvalidInput

FASTER, SAME, UNCLEAR = "faster", "same", "can't tell"
LEAST_PAIRS = 6  # the range of five holds the median with less than 95 %


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two backends on one case; ``ratio`` is the second's time over the first's, ``faster`` the name of the winner."""

    case: AttentionCase
    backends: tuple[str, str]
    verdict: str
    faster: str | None = None
    ratio: Ratio | None = None
    pairs: int = 0
    reason: str | None = None  # why nothing could be compared, or that one of them is not right
    measurement: Measurement

    def to_json(self) -> dict[str, Any]:
        """Return it with the measurement behind it."""
        seen = self.ratio
        return {
            "case": self.case.to_json(),
            "backends": list(self.backends),
            "verdict": self.verdict,
            "faster": self.faster,
            "ratio": None if seen is None else {"median": seen.median, "low": seen.low, "high": seen.high},
            "pairs": self.pairs,
            "reason": self.reason,
            "measurement": self.measurement.to_json(),
        }


def two_backends(text: str) -> tuple[str, str]:
    """Return the two names of ``--ab torch,flash4``; whether there are such backends is seen when they are measured."""
    names = [name.strip() for name in text.split(",")]
    if len(names) != 2 or names[0] == names[1]:
        raise InvalidInput(f"--ab must be two different backends with a comma between, got {text!r}")
    return names[0], names[1]


def judge(first_ms: Sequence[float], second_ms: Sequence[float], margin: float) -> tuple[str, Ratio | None]:
    """Return the verdict on paired times, and the ratio second / first.

    ``faster`` is said where the whole interval lies beyond the margin, ``same`` where all of it lies inside.
    """
    if min(len(first_ms), len(second_ms)) < LEAST_PAIRS:
        return UNCLEAR, ratio(second_ms, first_ms) if first_ms and second_ms else None
    found = ratio(second_ms, first_ms)
    above, below = 1 + margin, 1 / (1 + margin)
    if found.low > above or found.high < below:
        return FASTER, found
    return (SAME if below <= found.low and found.high <= above else UNCLEAR), found


def compare(measurement: Measurement, backends: tuple[str, str], margin: float) -> Comparison:
    """Compare two backends of a measurement by its clock; what is incorrect is compared too, where it was timed."""
    rows = {row.backend: row for row in measurement.rows}
    first, second = (rows[name].times_by(measurement.by) for name in backends)
    verdict, seen = judge(first, second, margin)
    faster = None
    if verdict == FASTER and seen is not None:
        faster = backends[0] if seen.median > 1 else backends[1]
    return Comparison(
        case=measurement.case,
        backends=backends,
        verdict=verdict,
        faster=faster,
        ratio=seen,
        pairs=min(len(first), len(second)),
        reason="; ".join(filter(None, (_trouble(rows[name], measurement.by) for name in backends))) or None,
        measurement=measurement,
    )


def _trouble(row: Row, by: str) -> str:
    if row.state != "ok":
        return f"{row.backend} is {row.state}: {row.reason}"
    return "" if row.times_by(by) else f"{row.backend} has no times by {by}"


def sentence(one: Comparison) -> str:
    """Return the verdict as a user reads it: the winner, by how much, and what is sure at 95 %."""
    seen = one.ratio
    if seen is None:
        return f"{UNCLEAR}: {one.reason}"
    unsafe = f" (but {one.reason})" if one.reason else ""
    if one.verdict == FASTER:
        won = seen if one.faster == one.backends[0] else Ratio(1 / seen.median, 1 / seen.high, 1 / seen.low)
        return f"{one.faster} is {won.median:.3f} times as fast ({won.low:.3f} to {won.high:.3f}){unsafe}"
    few = f" after only {one.pairs} pairs; a larger --budget" if one.pairs < LEAST_PAIRS else ""
    return f"{one.verdict}{few or f' ({seen.low:.3f} to {seen.high:.3f})'}{unsafe}"


def print_comparisons(found: Sequence[Comparison], margin: float) -> None:
    """Print a table with a line for each case."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    first, second = found[0].backends
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for head in ("case", f"{first} ms", f"{second} ms", f"{second} / {first}", "pairs", "verdict (95 %)"):
        table.add_column(head, justify="left" if head in ("case", "verdict (95 %)") else "right", no_wrap=True)
    for one in found:
        rows = {row.backend: row for row in one.measurement.rows}
        times = [_median(rows[name].times_by(one.measurement.by)) for name in one.backends]
        middle = "" if one.ratio is None else f"{one.ratio.median:.3f}"
        table.add_row(str(one.case), *times, middle, str(one.pairs), sentence(one), style=_STYLES.get(one.verdict))
    out = console()
    out.print(table)
    out.print(f"same: within {margin:.1%}; by {found[0].measurement.by}, {found[0].measurement.hardware['device']}")
    if found[0].measurement.device == "cpu":
        out.print("[yellow]This is a CPU: CPU figures say nothing about a GPU.[/yellow]")


_STYLES = {FASTER: "green", UNCLEAR: "yellow"}


def _median(times_ms: Sequence[float]) -> str:
    return f"{statistics.median(times_ms):.4g}" if times_ms else ""
