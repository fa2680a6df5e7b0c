"""Figures of what came out: the history, the Pareto front, the tie class of the winner."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from autotune.pareto import ranks
from autotune.records import COMPLETE, PRUNED, Result
from autotune.repeats import tie_records
from autotune.report.data import Data, thinned, value_axis, values
from autotune.report.model import BLUE, GREY, ORANGE, PURPLE, RED, Axis, Figure, Panel, Series

_MOST_TIES = 40


def history(data: Data) -> Figure:
    """Every trial's value by number, and the best so far; a panel a metric."""
    title = "Optimisation history"
    if not data.candidates:
        return Figure("history", title, absent="no trial has completed yet")
    panels = [_history_panel(data, name, mode) for name, mode in data.snapshot.objectives]
    return Figure("history", title, tuple(panels))


def _history_panel(data: Data, metric: str, mode: str) -> Panel:
    candidates = {result.number for result in data.candidates}
    measured = [result for result in data.snapshot.results if metric in result.metrics]
    kinds = (
        ("complete", BLUE, [result for result in measured if result.number in candidates]),
        ("pruned", ORANGE, [result for result in measured if result.state == PRUNED]),
        (
            "constraint broken, or less fidelity",
            GREY,
            [result for result in measured if result.state == COMPLETE and result.number not in candidates],
        ),
    )
    series = [_points(name, color, thinned(results), metric) for name, color, results in kinds if results]
    axis = value_axis(f"{metric} ({mode})", values(measured, metric))
    return Panel(Axis("trial"), axis, (*series, _best_so_far(data, metric, mode)))


def _points(name: str, color: str, results: Sequence[Result], metric: str) -> Series:
    numbers = [result.number for result in results]
    return Series("points", name, numbers, values(results, metric), trials=numbers, color=color)


def _best_so_far(data: Data, metric: str, mode: str) -> Series:
    """Return the best by number of trial, with a point for each trial that was better than all before it."""
    better = min if mode == "min" else max
    numbers: list[int] = []
    bests: list[float] = []
    for result in data.candidates:
        value = result.metrics[metric]
        if not bests or better(value, bests[-1]) != bests[-1]:
            numbers.append(result.number)
            bests.append(value)
    last = data.candidates[-1].number  # the line goes on to the last trial
    return Series("steps", "best so far", [*numbers, last], [*bests, bests[-1]], [*numbers, numbers[-1]], color=RED)


def pareto(data: Data) -> Figure:
    """The metrics of all trials against one another, and those that no other one beats."""
    title, metrics = "Pareto front", data.snapshot.objectives
    if len(metrics) < 2:
        return Figure("pareto", title, absent="the study has one metric")
    if not data.candidates:
        return Figure("pareto", title, absent="no trial has completed yet")
    rank = ranks(data.study, data.snapshot.results)
    first = [result for result in data.candidates if rank[result.number] == 1]
    others = thinned([result for result in data.candidates if rank[result.number] > 1])
    panels = [_front_panel(first, others, *pair, joined=len(metrics) == 2) for pair in combinations(metrics, 2)]
    return Figure("pareto", title, tuple(panels), note=f"{len(first)} trials are on the front.")


def _front_panel(
    first: list[Result], others: list[Result], one: tuple[str, str], other: tuple[str, str], *, joined: bool
) -> Panel:
    def series(name: str, color: str, results: list[Result]) -> Series:
        xs, ys = values(results, one[0]), values(results, other[0])
        return Series("points", name, xs, ys, [result.number for result in results], color=color)

    front = sorted(first, key=lambda result: result.metrics[one[0]])
    line = [Series("lines", "front", values(front, one[0]), values(front, other[0]), color=RED)] if joined else []
    x, y = (value_axis(f"{name} ({mode})", values([*first, *others], name)) for name, mode in (one, other))
    return Panel(x, y, (series("beaten", GREY, others), *line, series("not beaten", RED, front)))


def ties(data: Data) -> Figure:
    """The points that cannot be told apart from the winner, with the confidence interval of each mean."""
    title = "Tie class of the winner"
    if not data.study.get("repeats"):
        return Figure("ties", title, absent="the study has no `repeats`")
    records = tie_records(data.study, data.snapshot.results)
    if not records:
        return Figure("ties", title, absent="no trial has completed yet")
    shown = records[:_MOST_TIES][::-1]  # the winner on top
    labels = tuple(f"trial {record['trials'][0]} ({len(record['trials'])} values)" for record in shown)
    ends = [record["interval"] or [record["mean"]] * 2 for record in shown]
    series = Series(
        "intervals",
        "mean, 95 %",
        [record["mean"] for record in shown],
        list(range(len(shown))),
        [record["trials"][0] for record in shown],
        low=[low for low, _ in ends],
        high=[high for _, high in ends],
        color=PURPLE,
    )
    more = f" The first {_MOST_TIES} are drawn." if len(records) > _MOST_TIES else ""
    panel = Panel(Axis(data.metric), Axis("", labels=labels), (series,))
    return Figure("ties", title, (panel,), note=f"{len(records)} points are tied.{more}")
