"""Figures of how it ran: learning curves, rungs, who worked when, and how long trials took."""

from __future__ import annotations

from collections import defaultdict

from autotune.aggregation import logged_values
from autotune.records import COMPLETE, FAILED, INFEASIBLE, PRUNED, STATES, Result
from autotune.repeats import grouped
from autotune.report.data import Data, thinned, value_axis
from autotune.report.model import BLUE, GREY, ORANGE, PURPLE, RED, Axis, Figure, Kind, Panel, Series

_COLORS = {COMPLETE: BLUE, PRUNED: ORANGE, INFEASIBLE: PURPLE, FAILED: RED}
_BEST = 10
_MOST_CURVES = 200  # each is a file
_BINS = 40
_OVERLAP_S = 0.01  # what clocks may disagree by within one worker


def _joined(kind: Kind, name: str, color: str, curves: list[tuple[int, list[tuple[float, float]]]]) -> Series:
    """Return curves, each a trial's number and its points, as one interrupted line."""
    xs: list[float | None] = []
    ys: list[float | None] = []
    trials: list[int | None] = []
    for number, points in curves:
        xs += [*(x for x, _ in points), None]
        ys += [*(y for _, y in points), None]
        trials += [number] * (len(points) + 1)
    return Series(kind, name, xs, ys, trials, color=color)


def _of_best_and_others(
    data: Data, title: str, x_title: str, curves: dict[int, list[tuple[float, float]]], best: set[int]
) -> Panel:
    axis = value_axis(data.metric, [value for points in curves.values() for _, value in points])
    others = [(number, points) for number, points in curves.items() if number not in best]
    firsts = [(number, points) for number, points in curves.items() if number in best]
    series = (_joined("lines", "others", GREY, others), _joined("lines", title, BLUE, firsts))
    return Panel(Axis(x_title), axis, series)


def curves(data: Data) -> Figure:
    """What trials reported of the metric while they ran: the best, and an even selection of the others."""
    title = "Learning curves"
    logged = [result for result in data.snapshot.results if result.outcome.logged]
    best = [result for result in data.ranked if result.outcome.logged][:_BEST]
    numbers = {result.number for result in best}
    others = thinned([result for result in logged if result.number not in numbers], _MOST_CURVES - len(best))
    found: dict[int, list[tuple[float, float]]] = {}
    for result in [*others, *best]:
        values = logged_values(data.snapshot.store, result.number)
        points = [(float(value.step), value.value) for value in values if value.tag == data.metric]
        if points:
            found[result.number] = points
    if not found:
        return Figure("curves", title, absent="no trial has reported values by `trial.report`")
    panel = _of_best_and_others(data, f"the best {len(best)}", "step", found, numbers)
    note = f"{len(found)} of {len(logged)} trials that logged values are drawn." if len(found) < len(logged) else ""
    return Figure("curves", title, (panel,), note=note)


def rungs(data: Data) -> Figure:
    """Values by fidelity; a line joins trials of equal parameters."""
    title, fidelity = "Rungs", data.study.get("fidelity")
    if not fidelity:
        return Figure("rungs", title, absent="the study has no `fidelity`")
    measured = [result for result in data.snapshot.results if data.metric in result.metrics]
    if not measured:
        return Figure("rungs", title, absent="no trial has completed yet")
    climbs: dict[int, list[tuple[float, float]]] = {}
    best = {result.number for result in data.candidates}
    for group in grouped(measured):
        climb = sorted(group, key=lambda result: result.fidelity or 0.0)
        climbs[climb[-1].number] = [(result.fidelity or 0.0, result.metrics[data.metric]) for result in climb]
    panel = _of_best_and_others(data, "reached the top", fidelity["name"], climbs, best)
    points = Series(
        "points",
        "trials",
        [result.fidelity for result in thinned(measured)],
        [result.metrics[data.metric] for result in thinned(measured)],
        [result.number for result in thinned(measured)],
        color=BLUE,
    )
    x = Axis(fidelity["name"], log=fidelity["min"] > 0)
    return Figure("rungs", title, (Panel(x, panel.y, (*panel.series, points)),))


def timeline(data: Data) -> Figure:
    """Each trial's last attempt as a bar on the lane of its worker."""
    title, results = "Timeline of workers", data.snapshot.results
    if not results:
        return Figure("timeline", title, absent="no trial has ended yet")
    start = min(result.started_at for result in results)
    whole_s = max(result.started_at + result.duration_s for result in results) - start
    unit, factor = _unit(whole_s)
    workers = lanes(results)[::-1]  # the first on top
    labels: list[str] = []
    place: dict[int, int] = {}
    for lane, (name, worked) in enumerate(workers):
        busy = sum(result.duration_s for result in worked) / whole_s if whole_s else 1.0
        labels.append(f"{name} ({min(busy, 1.0):.0%} busy)")
        place |= {result.number: lane for result in worked}
    series = []
    for state in STATES:
        of_state = [result for result in results if result.state == state]
        if of_state:
            series.append(
                Series(
                    "spans",
                    state,
                    y=[float(place[result.number]) for result in of_state],
                    trials=[result.number for result in of_state],
                    low=[(result.started_at - start) / factor for result in of_state],
                    high=[(result.started_at + result.duration_s - start) / factor for result in of_state],
                    color=_COLORS[state],
                )
            )
    axis = Axis(f"{unit} since the first trial began")
    return Figure("timeline", title, (Panel(axis, Axis("", labels=tuple(labels)), tuple(series)),))


def lanes(results: list[Result]) -> list[tuple[str, list[Result]]]:
    """Return workers with what each did in turn: a host with its GPUs, or as many as ran side by side there."""
    places: dict[str, list[list[Result]]] = defaultdict(list)
    for result in sorted(results, key=lambda result: result.started_at):
        workers = places[result.host + (f" GPU {result.gpus}" if result.gpus else "")]
        free = (one for one in workers if _end(one[-1]) <= result.started_at + _OVERLAP_S)
        worker = next(free, None)
        if worker is None:
            worker = []
            workers.append(worker)
        worker.append(result)
    found = []
    for place in sorted(places):
        many = len(places[place]) > 1
        found += [(f"{place} #{k}" if many else place, worker) for k, worker in enumerate(places[place], 1)]
    return found


def _end(result: Result) -> float:
    return result.started_at + result.duration_s


def durations(data: Data) -> Figure:
    """How long trials took: how many took how long, and each by its number."""
    results = data.snapshot.results
    if not results:
        return Figure("durations", "Durations", absent="no trial has ended yet")
    unit, factor = _unit(max(result.duration_s for result in results))
    taken = [result.duration_s / factor for result in results]
    low, width = min(taken), (max(taken) - min(taken)) / _BINS or 1.0
    counts = [0] * _BINS
    for value in taken:
        counts[min(int((value - low) / width), _BINS - 1)] += 1
    middles = [low + (place + 0.5) * width for place in range(_BINS)]
    how_many = Panel(Axis(unit), Axis("trials"), (Series("columns", "trials", middles, counts, color=BLUE),))
    by_number = []
    for state in STATES:
        of_state = thinned([result for result in results if result.state == state])
        numbers = [result.number for result in of_state]
        lasted = [result.duration_s / factor for result in of_state]
        if of_state:
            by_number.append(Series("points", state, numbers, lasted, numbers, color=_COLORS[state]))
    return Figure("durations", "Durations", (how_many, Panel(Axis("trial"), Axis(unit), tuple(by_number))))


def _unit(longest_s: float) -> tuple[str, float]:
    """Return the unit that suits a time, and its seconds."""
    if longest_s < 300:
        return "seconds", 1.0
    return ("minutes", 60.0) if longest_s < 18_000 else ("hours", 3600.0)
