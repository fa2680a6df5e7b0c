"""What the live view of a study shows: who runs what and how it does, how the best came about, what is left to do."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

from autotune.aggregation import Logged, Summary, planned_results, summarize
from autotune.objectives import eligible
from autotune.records import Result
from autotune.resources import resources_of
from autotune.storage import Results, StudyDir

RECENT_S = 600.0  # what throughput is taken from
_WELL_KNOWN = 20  # trials in that time, from which the time left follows best
_SAMPLE = 50  # finished trials whose mean duration stands for the next ones'
_LOOK_SHARE = 0.005  # of a core, that reading results may take
_LOOK_AGAIN_S = 60.0  # however old the folder seems: its time may be coarse, or cached by a network file system
_TAIL_BYTES = 4096
BLOCKS, ASCII = "▁▂▃▄▅▆▇█", "_.-=+*#@"


@dataclass(frozen=True, slots=True)
class Running:
    """A trial that runs now; None where its job has not said it (or the file system has not shown it yet).

    ``last`` is what it logged last, the study's metric rather than another.
    """

    number: int
    host: str | None = None
    gpus: str | None = None
    attempt: int | None = None
    started_at: float | None = None
    last: Logged | None = None


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast trials end, and what is left by that; None where nothing is known yet, or nothing runs."""

    recent: int  # trials that ended in the last RECENT_S
    left_s: float | None
    gpu_hours_left: float | None


@dataclass(frozen=True, slots=True)
class View:
    """One look at a study: ``running`` holds the longest running trials, ``curve`` the best after each trial's end."""

    summary: Summary
    running: list[Running]
    curve: list[float]
    pace: Pace


@final
class Follower:
    """Looks at a study again and again, and reads only what has changed.

    To list 10,000 results and count them takes a twentieth of a second, so it is done as often as makes half a percent
    of a core. Who runs now, and what was logged last, is a few system calls, and looked at each time.
    """

    def __init__(self, store: StudyDir, results: Results) -> None:
        self._store, self._results, self._begun = store, results, _Begun(store)
        self._summary: Summary | None = None
        self._ended: list[Result] = []
        self._curve: list[float] = []
        self._changed: list[int] = []
        self._due = 0.0

    def look(self, rows: int) -> View:
        """Return where the study stands, with at most so many running trials.

        Raises:
            AutotuneError: there is no plan, or a file is of another version.
        """
        summary = self._counted()
        study = summary.study
        running = [
            number for number in self._store.running(range(summary.trials)) if not self._is_settled(number, study)
        ]
        self._begun.refresh(running)
        begun = sorted((self._begun.of(number) for number in running), key=lambda item: item.started_at or time.time())
        shown = [replace(item, last=last_logged(self._store, item, study["metric"])) for item in begun[:rows]]
        summary = replace(summary, running=running)
        now = time.time()
        elapsed_s = [now - item.started_at for item in begun if item.started_at]
        return View(summary, shown, self._curve, pace(self._ended, summary, elapsed_s, now))

    def _counted(self) -> Summary:
        now, changed = time.monotonic(), self._store.changed_ns()
        is_due = now >= self._due and (changed != self._changed or now >= self._due + _LOOK_AGAIN_S)
        if self._summary is None or is_due:
            started, is_first = time.process_time(), self._summary is None
            study = self._store.read_study()
            self._summary, self._changed = summarize(self._store, study, self._results), changed
            self._ended = sorted(planned_results(study, self._results).values(), key=_end)
            self._curve = best_so_far(study, self._ended)
            # The first look, which reads everything, says nothing about the next ones.
            self._due = now if is_first else now + (time.process_time() - started) / _LOOK_SHARE
        return self._summary

    def _is_settled(self, number: int, study: dict[str, Any]) -> bool:
        result = self._results.by_number.get(number)
        return result is not None and result.settles(study["on_failure"], study["attempts"])


@final
class _Begun:
    """What jobs say that they have begun, read as their files grow."""

    def __init__(self, store: StudyDir) -> None:
        self._store = store
        self._read: dict[str, int] = {}  # path -> bytes
        self._by_number: dict[int, Running] = {}

    def of(self, number: int) -> Running:
        return self._by_number.get(number, Running(number))

    def refresh(self, running: list[int]) -> None:
        for path in self._store.begun_files() if running else ():
            with contextlib.suppress(OSError):  # a batch that is settled takes its file away
                self._read_on(path)

    def _read_on(self, path: str) -> None:
        size, position = os.stat(path).st_size, self._read.get(path, 0)
        if size == position:
            return
        with open(path, "rb") as file:
            file.seek(position if size > position else 0)  # a shorter file is a new one
            lines, _, cut_off = file.read().rpartition(b"\n")
            self._read[path] = file.tell() - len(cut_off)
        for line in lines.splitlines():
            with contextlib.suppress(ValueError, TypeError):  # cut off by a kill
                number, attempt, started_at, host, gpus = json.loads(line)
                if started_at >= (self.of(number).started_at or 0):
                    self._by_number[number] = Running(number, host, gpus, attempt, started_at)


def who_runs(store: StudyDir, number: int, metric: str) -> Running | None:
    """Return where a trial runs now and what it logged last; None where it does not run."""
    if not store.running([number]):
        return None
    begun = _Begun(store)
    begun.refresh([number])
    trial = begun.of(number)
    return replace(trial, last=last_logged(store, trial, metric))


def last_logged(store: StudyDir, trial: Running, metric: str) -> Logged | None:
    """Return what a running trial logged last, the metric rather than another; None if it has not."""
    try:
        with open(store.logged_file(trial.number), "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL_BYTES))
            lines = file.read().split(b"\n")[:-1]
    except OSError:
        return None
    other = None
    for line in reversed(lines):
        with contextlib.suppress(ValueError, TypeError):  # the tail begins within a line, or a program wrote it
            logged = Logged(*json.loads(line))
            if trial.started_at and logged.time_s < trial.started_at - 1:
                break  # by an earlier attempt
            if logged.tag == metric:
                return logged
            other = other or logged
    return other


def best_so_far(study: dict[str, Any], results: Sequence[Result]) -> list[float]:
    """Return the best value (of the first metric) after each trial that may be best, in the order of the results."""
    values = [result.metrics[study["metric"]] for result in eligible(study, results)]
    return list(itertools.accumulate(values, min if study["mode"] == "min" else max))


def pace(ended: Sequence[Result], summary: Summary, elapsed_s: Sequence[float], now: float) -> Pace:
    """Return how fast trials end, and what is left.

    Where many trials ended lately, the time left follows from how fast the last ones did; else from the mean duration,
    shared among the trials that run side by side now.

    Args:
        ended: results in the order of their end.
        summary: where the study stands.
        elapsed_s: how long trials run already that run now.
        now: seconds since 1970.
    """
    recent = [result for result in ended if 0 <= now - _end(result) <= RECENT_S]
    slots = len(summary.running)
    if not ended or not slots or not summary.unsettled:
        return Pace(len(recent), None, None)
    sample = ended[-_SAMPLE:]
    lately = recent[-_SAMPLE:]
    mean_s = sum(result.duration_s for result in sample) / len(sample)
    work_s = mean_s * max(summary.unsettled, slots) - sum(min(mean_s, one) for one in elapsed_s)
    left_s = work_s / slots
    if len(lately) >= _WELL_KNOWN:
        left_s = summary.unsettled * (_end(lately[-1]) - _end(lately[0])) / (len(lately) - 1)
    return Pace(len(recent), left_s, work_s / 3600 * _mean_gpus(sample, summary.study["resources"]))


def _mean_gpus(sample: Sequence[Result], resources: Mapping[str, Any]) -> float:
    """Return how many GPUs trials hold, each for as long as it runs: a formula gives each its own number."""
    gpu_s = sum(result.duration_s * resources_of(resources, result.params)["gpus"] for result in sample)
    return float(gpu_s / max(1e-9, sum(result.duration_s for result in sample)))


def sparkline(values: Sequence[float], width: int, levels: str = BLOCKS) -> str:
    """Draw values as a line of characters, at most ``width``, from the lowest level to the highest."""
    columns = min(width, len(values))
    if not columns:
        return ""
    drawn = [values[(column + 1) * len(values) // columns - 1] for column in range(columns)]
    low, span = min(drawn), max(drawn) - min(drawn)
    return "".join(levels[round((value - low) / span * (len(levels) - 1)) if span else 0] for value in drawn)


def lasting(seconds: float) -> str:
    """Return a time in words, such as ``50 s``, ``3 min 20 s``, ``1 h 05 min``, ``2 d 3 h``."""
    whole = max(0, round(seconds))
    minutes, rest_s = divmod(whole, 60)
    hours, rest_min = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours // 24} d {hours % 24} h"
    if hours:
        return f"{hours} h {rest_min:02d} min"
    return f"{minutes} min {rest_s:02d} s" if minutes else f"{whole} s"


def _end(result: Result) -> float:
    return result.started_at + result.duration_s
