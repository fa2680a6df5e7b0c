"""Figures for Plotly.js, as plain JSON: https://plotly.com/javascript/reference/."""

from __future__ import annotations

import math
from html import escape
from typing import Any

from autotune.report.model import Axis, Figure, Panel, Parallel, Series, Values

_MOST_SVG = 2000  # points above which WebGL draws them
_COLUMNS = 3
_ROW_PX = 300
_LANE_PX = 18
_COLORSCALE = "Viridis"


def to_plotly(figure: Figure) -> dict[str, Any]:
    """Return ``data`` and ``layout`` of a figure; all texts are escaped, for Plotly reads some HTML in them."""
    if figure.parallel is not None:
        return {
            "data": [_parallel(figure.parallel)],
            "layout": _layout(420) | {"margin": {"l": 90, "r": 60, "t": 50, "b": 30}},
        }
    columns = min(_COLUMNS, len(figure.panels))
    rows = math.ceil(len(figure.panels) / columns)
    lanes = max(len(panel.y.labels) for panel in figure.panels)
    layout = _layout(max(rows * _ROW_PX + 60, 120 + lanes * _LANE_PX))
    layout["showlegend"] = len(figure.panels) <= _COLUMNS and max(len(panel.series) for panel in figure.panels) > 1
    if len(figure.panels) > 1:
        layout["grid"] = {"rows": rows, "columns": columns, "pattern": "independent", "xgap": 0.2, "ygap": 0.35}
    data: list[dict[str, Any]] = []
    named: set[str] = set()
    is_large = sum(len(series.x) for panel in figure.panels for series in panel.series) > _MOST_SVG
    for k, panel in enumerate(figure.panels):
        number = "" if k == 0 else str(k + 1)
        layout[f"xaxis{number}"], layout[f"yaxis{number}"] = _axis(panel.x), _axis(panel.y)
        for series in panel.series:
            trace = _trace(series, panel, is_large=is_large)
            is_new = trace["name"] not in named and series.kind != "surface"
            once = {"legendgroup": trace["name"], "showlegend": is_new}  # for all panels
            named.add(trace["name"])
            data.append({**trace, **once, "xaxis": f"x{number}", "yaxis": f"y{number}"})
    return {"data": data, "layout": layout}


def _layout(height: int) -> dict[str, Any]:
    return {
        "height": height,
        "margin": {"l": 60, "r": 20, "t": 20, "b": 50},
        "hovermode": "closest",
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom"},
        "font": {"family": "system-ui, sans-serif", "size": 12},
        "colorway": [],
    }


def _axis(axis: Axis) -> dict[str, Any]:
    shown: dict[str, Any] = {"title": {"text": escape(axis.title)}, "automargin": True, "zeroline": False}
    if axis.log:
        shown |= {"type": "log", "exponentformat": "power"}
    if axis.labels:
        places = list(range(len(axis.labels)))
        shown |= {"tickvals": places, "ticktext": [escape(text) for text in axis.labels], "showgrid": False}
        shown["range"] = [-0.6, len(places) - 0.4]
    return shown


def _trace(series: Series, panel: Panel, *, is_large: bool) -> dict[str, Any]:
    draw = {"bars": _bars, "columns": _columns, "spans": _spans, "intervals": _intervals}
    draw["surface"] = _cells if panel.x.labels or panel.y.labels else _surface
    trace = draw.get(series.kind, _lines if series.kind in ("lines", "steps") else _points)(series)
    if trace["type"] == "scatter" and is_large and series.kind == "points":
        trace |= {"type": "scattergl", "marker": {**trace["marker"], "size": 4}}
    if series.trials and series.kind != "spans":
        trace["customdata"] = list(series.trials)
    if "customdata" in trace:
        where = "" if series.kind == "spans" else "<br>%{x}, %{y}"
        trace["hovertemplate"] = "trial %{customdata}" + where + "<extra>%{fullData.name}</extra>"
    return {"name": escape(series.name), **trace}


def _points(series: Series) -> dict[str, Any]:
    marker: dict[str, Any] = {"size": 6, "opacity": 0.7, "color": series.color}
    if series.shade:
        marker |= {"color": list(series.shade), "colorscale": _COLORSCALE, "showscale": False}
    return {"type": "scatter", "mode": "markers", "x": rounded(series.x), "y": rounded(series.y), "marker": marker}


def _lines(series: Series) -> dict[str, Any]:
    shape = "hv" if series.kind == "steps" else "linear"
    line = {"color": series.color, "width": 2 if series.kind == "steps" else 1.2, "shape": shape}
    return {"type": "scatter", "mode": "lines", "x": rounded(series.x), "y": rounded(series.y), "line": line}


def _bars(series: Series) -> dict[str, Any]:
    marker = {"color": series.color}
    return {"type": "bar", "orientation": "h", "x": rounded(series.x), "y": list(series.y), "marker": marker}


def _columns(series: Series) -> dict[str, Any]:
    width = (series.x[1] or 0) - (series.x[0] or 0)
    shape = {"marker": {"color": series.color}, "width": width}
    return {"type": "bar", "x": rounded(series.x), "y": list(series.y), **shape}


def _intervals(series: Series) -> dict[str, Any]:
    ends = list(zip(series.x, series.low, series.high, strict=True))
    error = {
        "type": "data",
        "symmetric": False,
        "array": rounded([(high or 0) - (x or 0) for x, _, high in ends]),
        "arrayminus": rounded([(x or 0) - (low or 0) for x, low, _ in ends]),
    }
    return {**_points(series), "error_x": error}


def _spans(series: Series) -> dict[str, Any]:
    """Return thick lines; each has a point in its middle, for that is where the mouse finds it."""
    xs: list[float | None] = []
    ys: list[float | None] = []
    trials: list[int | None] = []
    for low, high, y, trial in zip(series.low, series.high, series.y, series.trials, strict=True):
        xs += [low, ((low or 0) + (high or 0)) / 2, high, None]
        ys += [y, y, y, None]
        trials += [trial] * 4
    line = {"color": series.color, "width": 8}
    return {"type": "scatter", "mode": "lines", "x": rounded(xs), "y": ys, "customdata": trials, "line": line}


def _surface(series: Series) -> dict[str, Any]:
    rows = [rounded(row) for row in series.z]
    colors = {"colorscale": _COLORSCALE, "colorbar": {"title": {"text": escape(series.name)}}}
    shape = {"x": rounded(series.x), "y": rounded(series.y), "z": rows}
    return {"type": "contour", **shape, **colors, "contours": {"coloring": "heatmap"}, "hoverinfo": "z"}


def _cells(series: Series) -> dict[str, Any]:
    """Return a surface without contours: between two labels there is nothing."""
    return {name: item for name, item in _surface(series).items() if name != "contours"} | {"type": "heatmap"}


def _parallel(parallel: Parallel) -> dict[str, Any]:
    line = {"color": rounded(parallel.shade), "colorscale": _COLORSCALE, "reversescale": True, "showscale": True}
    line["colorbar"] = {"title": {"text": escape(parallel.shade_title), "side": "right"}}
    dimensions = [_dimension(axis, values) for axis, values in zip(parallel.axes, parallel.values, strict=True)]
    return {"type": "parcoords", "dimensions": dimensions, "line": line}


def _dimension(axis: Axis, values: Values) -> dict[str, Any]:
    """Return an axis of parallel coordinates, on which logarithms and inactive parameters are made by hand."""
    places = [math.log10(value) if axis.log and value is not None else value for value in values]
    known = [place for place in places if place is not None]
    low, high = min(known, default=0.0), max(known, default=1.0)
    ticks = [*range(len(axis.labels))] if axis.labels else _ticks(low, high, log=axis.log)
    texts = list(axis.labels) if axis.labels else [f"{10**tick if axis.log else tick:.4g}" for tick in ticks]
    if None in places:
        below = low - 0.12 * ((high - low) or 1.0)
        places = [below if place is None else place for place in places]
        ticks, texts, low = [below, *ticks], ["inactive", *texts], below
    dimension = {"label": axis.title, "values": rounded(places), "tickvals": rounded(ticks), "ticktext": texts}
    return dimension | {"range": rounded([low, high if high > low else low + 1])}


def _ticks(low: float, high: float, *, log: bool) -> list[float]:
    if log and math.floor(high) > math.ceil(low):
        return [low, *map(float, range(math.ceil(low + 0.2), math.floor(high - 0.2) + 1)), high]
    return [low + (high - low) * step / 4 for step in range(5)]


def rounded(values: Any) -> list[Any]:
    """Return numbers with 6 digits, which is what can be seen, and half the bytes."""
    return [float(f"{value:.6g}") if isinstance(value, float) and math.isfinite(value) else value for value in values]
