"""From rows to a choice: fastest within what can be told apart, and how that is explained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from autotune.bench.backends import BACKENDS, DEFAULT, load
from autotune.bench.case import AttentionCase
from autotune.bench.rows import Measurement, Row
from autotune.bench.sampling import Ratio, fastest, ratio
from autotune.errors import AutotuneError


class NoUsableBackend(AutotuneError):
    """Every backend refused, failed or was wrong."""


class Choice(str):
    """The name of the chosen backend, a string like any other, with what led to it; ``choose`` makes it.

    ``ties`` names the backends that cannot be told apart from the fastest (the chosen one is among them), ``rows``
    has all that were looked at, ``by`` is the clock (``gpu``, ``eager``, ``graph``).
    """

    case: AttentionCase
    measurement: Measurement
    margin: float
    by: str
    ties: tuple[str, ...]
    ratios: Mapping[str, Ratio]

    @property
    def rows(self) -> tuple[Row, ...]:
        return self.measurement.rows

    @property
    def regret(self) -> float | None:
        """What PyTorch's own choice would lose, as a part of the fastest time (0.27 is 27 %); None if not measured."""
        if DEFAULT in self.ratios:
            return self.ratios[DEFAULT].median - 1
        times = {row.backend: row.times_by(self.by) for row in self.rows}  # unsafe, but timed all the same
        if not times.get(DEFAULT):
            return None
        best = min(self.ratios, key=lambda name: self.ratios[name].median)
        return ratio(times[DEFAULT], times[best]).median - 1

    def explain(self) -> str:
        """Return the table behind the choice as plain text."""
        from autotune.bench.show import as_text

        return as_text(self.measurement, self)

    def apply(self) -> Callable[[], None]:
        """Make ``scaled_dot_product_attention`` of this process use it; return a function that undoes that.

        Raises:
            InvalidInput: it cannot be reached through that function; ``autotune.bench.attn.attention`` calls it.
        """
        from autotune.bench.apply import apply

        return apply(str(self))


def choose(measurement: Measurement, margin: float, by: str | None = None) -> Choice:
    """Choose among the rows that are ok.

    Times are compared round by round. Backends are level that lie within ``margin`` of the fastest, or cannot be
    told from it. PyTorch's own choice goes first where it lies within half the margin for sure (at 95 %), or cannot be
    told from the fastest: that is the price of a dependency, and what a choice may lose. Among others it is a quarter,
    by the median, and then less memory goes first (by a tenth at least), then fewer packages, then the shorter time.
    What runs the same kernels as PyTorch's own choice does not go before it.

    Raises:
        NoUsableBackend: no row is ok.
    """
    clock = by or measurement.by
    rows = {row.backend: row for row in measurement.rows if row.state == "ok" and row.times_by(clock)}
    if not rows:
        reasons = "; ".join(f"{row.backend}: {row.reason or f'no times by {clock}'}" for row in measurement.rows)
        raise NoUsableBackend(f"no attention backend can do {measurement.case} here: {reasons}")
    ratios = compare({name: row.times_by(clock) for name, row in rows.items()})
    near = within(ratios, margin / 4)
    first = DEFAULT in with_default(surely_within(ratios, margin / 2), rows)
    chosen = Choice(DEFAULT if first else min(near, key=_preference({name: rows[name] for name in near}, ratios)))
    chosen.measurement = measurement
    chosen.case = measurement.case
    chosen.margin = margin
    chosen.by = clock
    chosen.ratios = ratios
    chosen.ties = tuple(sorted(with_default(within(ratios, margin), rows), key=lambda name: ratios[name].median))
    return chosen


def within(ratios: Mapping[str, Ratio], part: float) -> list[str]:
    """Return what lies within a part of the fastest, or cannot be told from it."""
    return [name for name, one in ratios.items() if one.median <= 1 + part or one.low <= 1]


def surely_within(ratios: Mapping[str, Ratio], part: float) -> list[str]:
    """Return what lies within a part of the fastest with its whole interval, or cannot be told from it."""
    return [name for name, one in ratios.items() if one.high <= 1 + part or one.low <= 1]


def with_default(names: Sequence[str], rows: Mapping[str, Row]) -> list[str]:
    """Add PyTorch's own choice to names that hold another name of its kernels."""
    twin = DEFAULT in rows and any(same_kernels(rows[DEFAULT], rows[name]) for name in names)
    return list(dict.fromkeys([*names, *([DEFAULT] if twin else [])]))


def compare(times_ms: Mapping[str, Sequence[float]]) -> dict[str, Ratio]:
    """Return how many times slower than the fastest each is, over the rounds that it shares with it."""
    best = fastest(times_ms)
    ratios = {name: ratio(times, times_ms[best]) for name, times in times_ms.items()}
    # One that was sampled less may still be faster, where a budget ended early.
    sooner = min(ratios, key=lambda name: ratios[name].median)
    if ratios[sooner].median < 1 and len(times_ms[sooner]) >= 5:
        ratios = {name: ratio(times, times_ms[sooner]) for name, times in times_ms.items()}
    return ratios


def same_kernels(row: Row, other: Row) -> bool:
    """Whether two backends are two names of one kernel."""
    return row.backend != other.backend and bool(row.kernels) and row.kernels == other.kernels


def _preference(rows: Mapping[str, Row], ratios: Mapping[str, Ratio]) -> Callable[[str], tuple[Any, ...]]:
    def packages(name: str) -> int:
        return len(load(BACKENDS[name]).packages) if name in BACKENDS else 1  # another package's: at least that one

    def memory(name: str) -> int:
        peak = rows[name].peak_bytes
        return 0 if peak is None else round(peak / max(1, least) * 10)

    least = min((row.peak_bytes for row in rows.values() if row.peak_bytes is not None), default=0)
    return lambda name: (memory(name), packages(name), ratios[name].median)


def summary(choice: Choice) -> str:
    """Return the choice in one sentence."""
    text = f"choice: {choice}"
    others = [name for name in choice.ties if name != choice]
    if others:
        text += f" (level with {', '.join(others)}: within {choice.margin:.0%} or the noise)"
    if choice != DEFAULT and choice.regret is not None:
        safe = "" if DEFAULT in choice.ratios else " and is not safe"
        text += f"; PyTorch's own choice takes {abs(choice.regret):.1%} {'longer' if choice.regret > 0 else 'less'}"
        text += f" than the fastest that is right{safe}"
    return text
