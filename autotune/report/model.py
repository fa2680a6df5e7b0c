"""What a figure shows, free of any plotting library: `interactive` and `static` both draw it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Values = Sequence[float | None]
Kind = Literal["points", "lines", "steps", "bars", "columns", "intervals", "spans", "surface"]

BLUE, ORANGE, GREEN, RED, PURPLE, GREY = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#b0b0b0"  # Okabe & Ito
PALETTE = (BLUE, ORANGE, GREEN, PURPLE, RED)


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis; with ``labels`` its values are places in them: 0 is the first."""

    title: str
    log: bool = False
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Series:
    """Values that are drawn alike; a None in ``x`` or ``y`` interrupts a line.

    Args:
        kind: points; lines; steps (a value holds until the next); bars (horizontal, of length ``x`` at ``y``); columns
            (vertical, adjoining, of height ``y`` at ``x``); intervals (a point at ``x`` from ``low`` to ``high``);
            spans (from ``low`` to ``high`` at ``y``); surface (``z`` by row ``y`` and column ``x``).
        name: what the legend says.
        x: positions.
        y: positions.
        trials: the number of the trial that each position is of.
        shade: colours by value, instead of ``color``.
        low: where intervals and spans begin.
        high: where they end.
        z: rows of a surface.
        color: of all of the series.
    """

    kind: Kind
    name: str
    x: Values = ()
    y: Values = ()
    trials: Sequence[int | None] = ()
    shade: Sequence[float] = ()
    low: Values = ()
    high: Values = ()
    z: Sequence[Values] = ()
    color: str = BLUE


@dataclass(frozen=True, slots=True)
class Panel:
    """One pair of axes."""

    x: Axis
    y: Axis
    series: tuple[Series, ...]


@dataclass(frozen=True, slots=True)
class Parallel:
    """Parallel coordinates: a line a trial through one value on each axis; None where a parameter is inactive."""

    axes: tuple[Axis, ...]
    values: tuple[Values, ...]
    shade: Sequence[float]
    shade_title: str


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure of one or more panels, or of parallel coordinates; or why the study has none.

    ``name`` is that of its file and of its caption (workflow/report/<name>.rst); ``note`` is added to the caption.
    """

    name: str
    title: str
    panels: tuple[Panel, ...] = ()
    parallel: Parallel | None = None
    absent: str | None = None
    note: str = ""
