"""Figures of the parameters: which matter, and how the metric depends on them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

from autotune.errors import InvalidInput
from autotune.records import Result
from autotune.report.data import Data, thinned
from autotune.report.importance import FEWEST, importances
from autotune.report.model import BLUE, PALETTE, Axis, Figure, Panel, Parallel, Series

_MOST_LINES = 2000  # of parallel coordinates: more are one colour, and take seconds without a GPU
_MOST_DOTS = 500  # on the contour, which more would cover
_GRID = 40  # columns and rows of the contour
_NEIGHBOURS = 60
_SMOOTHING = 1.0  # trials of one place differ in all other parameters: the surface is to go through their middle


def parameter_figures(data: Data) -> list[Figure]:
    """Return importances, parallel coordinates, slices and the contour of the two parameters that matter most."""
    names = data.parameters()
    if not names or len(data.candidates) < 2:
        absent = "no two trials have completed that differ in a parameter"
        titles = {"importances": "Parameter importances", "parallel": "Parallel coordinates"}
        titles |= {"slices": "Slices", "contour": "Contour of the two parameters that matter most"}
        return [Figure(name, title, absent=absent) for name, title in titles.items()]
    found, why = _importances(data)
    return [
        _importance_figure(found, why),
        _parallel(data, names),
        _slices(data, names),
        _contour(data, found.get(data.metric, {}), why),
    ]


def _importances(data: Data) -> tuple[dict[str, dict[str, float]], str]:
    """Return the importances, or why there are none."""
    if len(data.candidates) < FEWEST:
        return {}, f"importances need {FEWEST} complete trials, and there are {len(data.candidates)}"
    try:
        return importances(data), ""
    except InvalidInput as error:
        return {}, str(error)


def _importance_figure(found: dict[str, dict[str, float]], why: str) -> Figure:
    title = "Parameter importances"
    if not found:
        return Figure("importances", title, absent=why)
    first = next(iter(found.values()))
    names = sorted(first, key=lambda name: first[name])  # the most important on top
    series = [
        Series("bars", metric, [of[name] for name in names], list(range(len(names))), color=PALETTE[k % len(PALETTE)])
        for k, (metric, of) in enumerate(found.items())
    ]
    panel = Panel(Axis("share of the importance"), Axis("", labels=tuple(names)), tuple(series))
    return Figure("importances", title, (panel,))


def _parallel(data: Data, names: Sequence[str]) -> Figure:
    ranked = data.ranked
    results = [*ranked[: _MOST_LINES // 4], *thinned(ranked[_MOST_LINES // 4 :], _MOST_LINES * 3 // 4)]
    columns = [data.encoded(name, results) for name in names]
    for metric, _ in data.snapshot.objectives:
        columns.append((Axis(metric), [result.metrics[metric] for result in results]))
    axes, values = zip(*columns, strict=True)
    parallel = Parallel(axes, values, data.shade(results), f"rank by {data.metric}: 1 is best")
    left_out = f"{len(results)} of {len(ranked)} trials are drawn: the best, and an even selection of the others."
    note = left_out if len(results) < len(ranked) else ""
    return Figure("parallel", "Parallel coordinates", parallel=parallel, note=note)


def _slices(data: Data, names: Sequence[str]) -> Figure:
    return Figure("slices", "Slices", tuple(_slice(data, name, data.drawn) for name in names))


def _slice(data: Data, name: str, results: Sequence[Result]) -> Panel:
    axis, places = data.encoded(name, results)
    active = [(place, result) for place, result in zip(places, results, strict=True) if place is not None]
    series = Series(
        "points",
        name,
        [place for place, _ in active],
        [result.metrics[data.metric] for _, result in active],
        [result.number for _, result in active],
        shade=[float(result.number) for _, result in active],
    )
    return Panel(axis, data.axis, (series,))


def _contour(data: Data, importance: dict[str, float], why: str) -> Figure:
    title = "Contour of the two parameters that matter most"
    if len(importance) < 2:
        return Figure("contour", title, absent=why or "one parameter alone was varied")
    by_importance = sorted(importance, key=lambda name: importance[name], reverse=True)
    for names in combinations(by_importance, 2):
        results = [result for result in data.drawn if all(name in result.params for name in names)]
        if len(results) >= FEWEST:
            break
    else:
        return Figure("contour", title, absent=f"no two parameters are active together in {FEWEST} trials")
    (x, xs), (y, ys) = (data.encoded(name, results) for name in names)
    values = [result.metrics[data.metric] for result in results]
    grid_x, grid_y = (_grid(axis, places) for axis, places in ((x, xs), (y, ys)))
    dots = thinned(results, _MOST_DOTS)
    at_x, at_y = (data.encoded(name, dots)[1] for name in names)
    series = (
        Series("surface", data.metric, grid_x, grid_y, z=_surface(x, y, xs, ys, values, grid_x, grid_y), color=BLUE),
        Series("points", "trials", at_x, at_y, [result.number for result in dots], color="#222222"),
    )
    return Figure("contour", f"Contour of {names[0]} and {names[1]}", (Panel(x, y, series),))


def _grid(axis: Axis, places: Sequence[Any]) -> list[float]:
    if axis.labels:
        return [float(place) for place in range(len(axis.labels))]
    low, high = min(places), max(places)
    steps = [place / (_GRID - 1) for place in range(_GRID)]
    if axis.log:
        return [float(low * (high / low) ** step) for step in steps]
    return [float(low + (high - low) * step) for step in steps]


def _surface(
    x: Axis, y: Axis, xs: Sequence[Any], ys: Sequence[Any], values: Sequence[float], grid_x: Any, grid_y: Any
) -> list[list[float]]:
    """Return smoothed values [rows, columns]: radial basis functions of the nearest trials.

    The metric's highest and lowest twentieth are cut off first, which one diverged trial would stretch the colours by.
    """
    import numpy as np
    from scipy.interpolate import RBFInterpolator

    def scaled(axis: Axis, places: Any, grid: Any) -> Any:
        turn = np.log if axis.log else np.asarray
        low, high = turn(np.min(grid)), turn(np.max(grid))
        return (turn(np.asarray(places, dtype=float)) - low) / ((high - low) or 1.0)

    known = np.stack([scaled(x, xs, grid_x), scaled(y, ys, grid_y)], axis=1)
    low, high = np.quantile(values, [0.05, 0.95])
    model = RBFInterpolator(
        known, np.clip(values, low, high), neighbors=_NEIGHBOURS, smoothing=_SMOOTHING, kernel="linear", degree=0
    )
    across, up = np.meshgrid(scaled(x, grid_x, grid_x), scaled(y, grid_y, grid_y))
    found = model(np.stack([across.ravel(), up.ravel()], axis=1)).reshape(across.shape)
    return [[float(value) for value in row] for row in np.clip(found, low, high)]
