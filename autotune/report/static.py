"""Figures as SVG files, by matplotlib."""

from __future__ import annotations

import io
import math
import warnings
from typing import Any

from autotune.integrations import library
from autotune.report.model import Axis, Figure, Panel, Parallel, Series

_COLUMNS = 3
_MOST_VECTOR = 2000  # points above which they become an image within the SVG
_MOST_LETTERS = 24  # of the labels below an axis, which are turned where they are longer
_DPI = 130


def to_svg(figure: Figure) -> bytes:
    """Return a figure as an SVG file; one that the study has not is the sentence why.

    Raises:
        InvalidInput: matplotlib is not installed.
    """
    matplotlib = library("matplotlib", "report")
    # Equal figures are equal bytes; text stays text; `$` in a parameter's name begins no formula.
    with matplotlib.rc_context({"svg.hashsalt": figure.name, "svg.fonttype": "none", "text.parse_math": False}):
        data = io.BytesIO()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing from font")  # the viewer's fonts count
            _drawn(figure).savefig(data, format="svg", dpi=_DPI, metadata={"Date": None, "Creator": None})
    return data.getvalue()


def _drawn(figure: Figure) -> Any:
    from matplotlib.figure import Figure as Canvas

    if figure.absent is not None:
        canvas = Canvas(figsize=(7, 1.2))
        canvas.text(0.5, 0.5, f"{figure.title}: {figure.absent}", ha="center", va="center", wrap=True)
        return canvas
    if figure.parallel is not None:
        canvas = Canvas(figsize=(max(7, 1.5 * len(figure.parallel.axes)), 4.5), layout="constrained")
        _parallel(canvas, figure.parallel)
    else:
        columns = min(_COLUMNS, len(figure.panels))
        rows = math.ceil(len(figure.panels) / columns)
        lanes = max(len(panel.y.labels) for panel in figure.panels)
        size = (7.5 if columns == 1 else 4.2 * columns, max(3.4 * rows, 1.2 + 0.2 * lanes))
        canvas = Canvas(figsize=size, layout="constrained")
        grid = canvas.subplots(rows, columns, squeeze=False)
        for place, axes in enumerate(grid.flat):
            if place < len(figure.panels):
                _panel(axes, figure.panels[place], with_legend=len(figure.panels) <= _COLUMNS)
            else:
                axes.set_axis_off()
    canvas.suptitle(figure.title, fontsize=11)
    return canvas


def _panel(axes: Any, panel: Panel, *, with_legend: bool) -> None:
    bars = [series for series in panel.series if series.kind == "bars"]
    for series in panel.series:
        if series.kind == "bars":
            _bars(axes, series, bars.index(series), len(bars))
        elif series.kind == "surface":
            _surface(axes, series, is_smooth=not (panel.x.labels or panel.y.labels))
        else:
            _series(axes, series)
    for name, axis in (("x", panel.x), ("y", panel.y)):
        _axis(axes, name, axis)
    if with_legend and len(panel.series) > 1:
        axes.legend(fontsize=7)


def _axis(axes: Any, name: str, axis: Axis) -> None:
    getattr(axes, f"set_{name}label")(axis.title, fontsize=9)
    if axis.log:
        from matplotlib.ticker import LogFormatter

        getattr(axes, f"set_{name}scale")("log")
        getattr(axes, f"{name}axis").set_major_formatter(LogFormatter())
        getattr(axes, f"{name}axis").set_minor_formatter(LogFormatter(labelOnlyBase=False, minor_thresholds=(1, 0.4)))
    if axis.labels:
        getattr(axes, f"set_{name}lim")(-0.6, len(axis.labels) - 0.4)
        is_wide = name == "x" and sum(map(len, axis.labels)) > _MOST_LETTERS
        turned = {"rotation": 30, "ha": "right"} if is_wide else {}
        getattr(axes, f"set_{name}ticks")(range(len(axis.labels)), axis.labels, fontsize=7, **turned)


def _series(axes: Any, series: Series) -> None:
    xs, ys = _gaps(series.x), _gaps(series.y)
    look: dict[str, Any] = {"label": series.name, "color": series.color}
    if series.kind == "points":
        if series.shade:
            look = {"c": series.shade, "cmap": "viridis"}
        axes.scatter(xs, ys, s=9, alpha=0.7, linewidths=0, rasterized=len(xs) > _MOST_VECTOR, **look)
    elif series.kind == "lines":
        axes.plot(xs, ys, linewidth=0.9, **look)
    elif series.kind == "steps":
        axes.step(xs, ys, where="post", **look)
    elif series.kind == "columns":
        axes.bar(xs, ys, width=xs[1] - xs[0], **look)
    elif series.kind == "spans":
        many = len(series.low) > _MOST_VECTOR
        axes.hlines(ys, _gaps(series.low), _gaps(series.high), linewidth=5, rasterized=many, **look)
    else:  # intervals
        low, high = _gaps(series.low), _gaps(series.high)
        errors = [[x - end for x, end in zip(xs, low, strict=True)], [end - x for x, end in zip(xs, high, strict=True)]]
        axes.errorbar(xs, ys, xerr=errors, fmt="o", capsize=3, **look)


def _bars(axes: Any, series: Series, place: int, of: int) -> None:
    """Draw horizontal bars, those of several series beside one another."""
    height = 0.8 / of
    middles = [(y or 0) + (place - (of - 1) / 2) * height for y in series.y]
    axes.barh(middles, series.x, height, label=series.name, color=series.color)


def _surface(axes: Any, series: Series, *, is_smooth: bool) -> None:
    draw, how = (axes.contourf, {"levels": 20}) if is_smooth else (axes.pcolormesh, {"shading": "nearest"})
    drawn = draw(series.x, series.y, series.z, cmap="viridis", **how)
    axes.figure.colorbar(drawn, ax=axes, label=series.name)


def _gaps(values: Any) -> list[float]:
    return [math.nan if value is None else value for value in values]


def _parallel(canvas: Any, parallel: Parallel) -> None:
    from matplotlib.collections import LineCollection

    axes = canvas.subplots()
    scales = [_scale(axis, values) for axis, values in zip(parallel.axes, parallel.values, strict=True)]
    order = sorted(range(len(parallel.shade)), key=lambda line: parallel.shade[line])  # the best on top
    lines = [[(place, heights[line]) for place, (heights, _, _) in enumerate(scales)] for line in order]
    drawn = LineCollection(lines, cmap="viridis_r", linewidths=0.7, alpha=0.6, rasterized=len(lines) > 500)
    drawn.set_array([parallel.shade[line] for line in order])
    axes.add_collection(drawn)
    for place, (_, low, high) in enumerate(scales):
        axes.axvline(place, color="black", linewidth=0.6)
        axes.text(place, 1.02, high, ha="center", fontsize=7)
        axes.text(place, -0.02, low, ha="center", va="top", fontsize=7)
    axes.set(xlim=(-0.3, len(scales) - 0.7), ylim=(-0.15, 1.1), yticks=[])
    axes.set_xticks(range(len(scales)), [axis.title for axis in parallel.axes], fontsize=8)
    axes.spines[:].set_visible(False)
    canvas.colorbar(drawn, ax=axes, label=parallel.shade_title)


def _scale(axis: Axis, values: Any) -> tuple[list[float], str, str]:
    """Return the heights from 0 to 1 of an axis's values, -0.1 for inactive ones, and the texts of its ends."""
    places = [None if value is None else math.log10(value) if axis.log else float(value) for value in values]
    known = [place for place in places if place is not None]
    low, high = min(known, default=0.0), max(known, default=1.0)
    heights = [-0.1 if place is None else (place - low) / ((high - low) or 1.0) for place in places]
    if axis.labels:
        return heights, axis.labels[int(low)], axis.labels[int(high)]
    ends = [10**end if axis.log else end for end in (low, high)]
    return heights, f"{ends[0]:.3g}", f"{ends[1]:.3g}"
