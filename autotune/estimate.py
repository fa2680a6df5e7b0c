"""What a plan will take, from what its first trials took: hours of trials, GPU-hours, and time on the wall.

The means are bootstrapped as those of repeated trials are (autotune.repeats), so the interval says how well the
measured trials tell the mean; that later trials are of another kind (larger models, more epochs) it cannot know.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from autotune.budget import Spent, read_spent, spent_by, unit
from autotune.errors import InvalidStudy, UnreadableFile
from autotune.records import FAILED, Result
from autotune.repeats import standings
from autotune.resources import resources_of
from autotune.reuse import sources
from autotune.storage import Results, StudyDir

FEWEST = 2  # measured trials from which there is an interval
_STUDENT = {2: 12.706, 3: 4.303, 4: 3.182}  # 97.5 % quantiles of Student's t by values: too few for the bootstrap
_SAMPLE = 1000  # results that are read for it, at most


@dataclass(frozen=True, slots=True)
class Range:
    """A mean and the interval that holds it at 95 %; no ends where fewer than FEWEST trials were measured."""

    mean: float
    low: float | None = None
    high: float | None = None

    def times(self, factor: float) -> Range:
        """Return the range of a multiple."""
        low, high = (None if end is None else end * factor for end in (self.low, self.high))
        return Range(self.mean * factor, low, high)

    def to_list(self) -> list[float | None]:
        """Return low, mean and high, as scripts read them."""
        return [None if end is None else round(end, 6) for end in (self.low, self.mean, self.high)]


@dataclass(frozen=True, slots=True)
class Measured:
    """What finished trials took, each in seconds and in seconds times GPUs, and whose they are."""

    seconds: list[float]
    gpu_seconds: list[float]
    of: str = ""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What is left of a plan; ``hours`` and the like are None where no trial was measured.

    ``wall_s`` is for ``slots`` jobs side by side, without what a job needs to start or waits in a queue.
    """

    trials: int
    to_run: int
    jobs: int
    slots: int
    measured: Measured
    hours: Range | None = None
    gpu_hours: Range | None = None
    wall_s: Range | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the estimate for scripts; each range as [low, mean, high]."""
        ranges = {"hours": self.hours, "gpu_hours": self.gpu_hours, "wall_s": self.wall_s}
        return {
            "trials": self.trials,
            "to_run": self.to_run,
            "jobs": self.jobs,
            "slots": self.slots,
            "measured": len(self.measured.seconds),
            "measured_of": self.measured.of,
            **{name: None if item is None else item.to_list() for name, item in ranges.items()},
        }


def estimate(
    store: StudyDir, study: Mapping[str, Any], job_sizes: Sequence[int], plan: tuple[int, int], slots: int
) -> Estimate:
    """Return what is left of a plan.

    Args:
        store: the study directory.
        study: the content of ``study.json``, planned or to be.
        job_sizes: trials of each job that is to run, in order.
        plan: trials in all, and those that need no execution any more.
        slots: jobs side by side.
    """
    trials, done = plan
    measured, to_run = measure(store, study), trials - done
    if not measured.seconds:
        return Estimate(trials, to_run, len(job_sizes), slots, measured)
    mean_s = bounds(measured.seconds)
    rounds = list(_rounds(study, job_sizes, trials, to_run))
    drawn = random.Random(0).choices(measured.seconds, k=to_run)  # the same question, the same answer
    walls = [
        None
        if end is None
        else makespan(rounds, [one * end / max(mean_s.mean, 1e-9) for one in drawn], slots, study["slots_per_job"])
        for end in (mean_s.mean, mean_s.low, mean_s.high)
    ]
    return Estimate(
        *(trials, to_run, len(job_sizes), slots, measured),
        hours=mean_s.times(to_run / 3600),
        gpu_hours=bounds(measured.gpu_seconds).times(to_run / 3600),
        wall_s=Range(walls[0] or 0.0, walls[1], walls[2]),
    )


def measure(store: StudyDir, study: Mapping[str, Any]) -> Measured:
    """Return what finished trials took: the study's own, else those of the same objective in studies it can reuse."""
    for other, where in (
        (store, "this study"),
        *((one, one.root) for one in (*sources(store, study), *store.archived())),
    ):
        is_same = other is store or _same_work(study, other.read_study())
        results = list(_sample(other)) if is_same else []
        if results:
            gpu_seconds = [one.duration_s * resources_of(study["resources"], one.params)["gpus"] for one in results]
            return Measured([one.duration_s for one in results], gpu_seconds, where)
    return Measured([], [])


def _same_work(study: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    names = ("objective", "command", "parameters")
    return all(study[name] == other[name] for name in names)


def _sample(store: StudyDir) -> Iterator[Result]:
    for number in itertools.islice(sorted(store.result_sizes()), _SAMPLE):
        try:
            result = store.read_result(number)
        except UnreadableFile:
            continue
        if result is not None and result.state != FAILED and result.reused_from is None:
            yield result


def bounds(values: Sequence[float]) -> Range:
    """Return the mean of durations and its interval."""
    mean = fmean(values)
    if len(values) < FEWEST:
        return Range(mean)
    if len(values) in _STUDENT:
        half = _STUDENT[len(values)] * stdev(values) / math.sqrt(len(values))
        return Range(mean, max(0.0, mean - half), mean + half)
    found = standings([values])[0]
    return Range(mean, max(0.0, found.low or 0.0), found.high)


def _rounds(study: Mapping[str, Any], job_sizes: Sequence[int], trials: int, to_run: int) -> Iterator[list[int]]:
    """Yield the trials of each job, round by round; what is done already is of the first jobs."""
    done = sum(job_sizes) - to_run
    ends = list(itertools.accumulate(study.get("round_sizes", [trials])))
    position, jobs = trials - sum(job_sizes), list[int]()
    for size in job_sizes:
        skipped = min(done, size)
        done -= skipped
        if jobs and position >= ends[0]:
            yield jobs
            jobs = []
        while ends and position >= ends[0]:
            ends.pop(0)
        jobs.append(size - skipped)
        position += size
    yield jobs


def makespan(rounds: Iterable[Sequence[int]], durations: Sequence[float], slots: int, per_job: int = 1) -> float:
    """Return when all is done if each job begins as soon as a slot is free, and each round when the one before is done.

    Args:
        rounds: of each round the number of trials of each job, in order.
        durations: of all trials, in order (s).
        slots: jobs side by side.
        per_job: trials side by side in a job.
    """
    left, now = iter(durations), 0.0
    for jobs in rounds:
        spans = [_span(itertools.islice(left, size), per_job) for size in jobs]
        now += _span(spans, slots)
    return now


def _span(durations: Iterable[float], slots: int) -> float:
    free = [0.0] * max(1, slots)
    for duration in durations:
        heapq.heapreplace(free, free[0] + duration)
    return max(free)


def refuse_overdrawn(
    store: StudyDir, study: Mapping[str, Any], old: Mapping[str, Any] | None, trials: int, done: int
) -> None:
    """Refuse a plan whose budget surely does not hold it, by what finished trials took.

    A plan that goes on as it was is not refused: it ends when the budget is spent.

    Raises:
        InvalidStudy: the lower end of the estimate exceeds the budget.
    """
    budget, to_run = study.get("budget"), trials - done
    as_it_was = old is not None and (old["max_trials"], old.get("budget")) == (study["max_trials"], budget)
    if not budget or not to_run or as_it_was:
        return
    spent = Spent()
    if old is not None:
        spent = read_spent(store) or spent_by(old, Results(store).refresh().by_number)
    measured = measure(store, study)
    for name, limit in budget.items():
        values = measured.gpu_seconds if name == "gpu_hours" else measured.seconds
        each = bounds(values).times(1 / 3600) if values else Range(0.0)
        if each.low is not None and each.high is not None and spent.of(name) + to_run * each.low > limit:
            fits = done + max(0, int((limit - spent.of(name)) / each.high))
            raise InvalidStudy(
                f"`budget.{name}` must hold the study: {done} trials that are done took {spent.of(name):.3g} "
                f"{unit(name)}, and the {to_run} others will take {to_run * each.low:.3g} to "
                f"{to_run * each.high:.3g} (by {len(values)} trials of {measured.of}), got {limit:g}; raise it, or "
                f"lower `max_trials`, to {max(1, fits)} say"
            )
