"""Which kernels a call really runs, by the profiler's word, and how long they take by its clock (CUPTI)."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from autotune.bench.timing import TURNS

_LONGEST_NAME = 160
_NOT_KERNELS = ("Memset", "Memcpy")
_SPIN = "spin_kernel"


@dataclass(frozen=True, slots=True)
class Profile:
    """Names of a call's kernels, longest first; their summed time (memsets too), and from first start to last end."""

    names: tuple[str, ...]
    kernel_ms: float
    span_ms: float


@dataclass(frozen=True, slots=True)
class Activity:
    """One thing that the GPU did, in microseconds."""

    name: str
    start: float
    end: float


def profile(run_hidden: Callable[[int], None], repeats: int) -> Profile | None:
    """Profile calls, given their number, that come behind a flush and spin kernels; None where it saw nothing."""
    import torch
    from torch.profiler import ProfilerActivity

    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[ProfilerActivity.CUDA], acc_events=False) as run:
        for turn in range(repeats):
            run_hidden(turn)
        torch.cuda.synchronize()
    activities = [
        Activity(event.name, float(event.time_range.start), float(event.time_range.end))
        for event in run.events() or []
        if str(event.device_type).endswith("CUDA")
    ]
    return summarize(activities)


def summarize(activities: list[Activity]) -> Profile | None:
    """Return what is usual among the calls: each is what comes after a spin kernel and before the next one's flush."""
    ordered = sorted(activities, key=lambda one: one.start)
    spins = [i for i, one in enumerate(ordered) if _SPIN in one.name]
    ends = [i - 1 for i in spins[1:]] + [len(ordered)]  # the flush stands right before the next spin, or several
    calls = [part for start, end in zip(spins, ends) if (part := ordered[start + 1 : end])]
    if not calls:
        return None
    sums: list[float] = []
    each: dict[str, float] = {}
    for part in calls:
        kernels = [one for one in part if not one.name.startswith(_NOT_KERNELS)]
        sums.append(sum(one.end - one.start for one in part))
        for one in kernels:
            each[one.name] = each.get(one.name, 0.0) + one.end - one.start
    spans = [max(one.end for one in part) - part[0].start for part in calls]
    names = tuple(short(name) for name in sorted(each, key=lambda name: -each[name]))
    return Profile(names, _usual(sums) / 1000, _usual(spans) / 1000) if names else None


def _usual(values: list[float]) -> float:
    """Return the median of means over as many calls as make a sample of the timer."""
    means = [statistics.mean(values[start : start + TURNS]) for start in range(0, len(values) - TURNS + 1, TURNS)]
    return statistics.median(means or values)


def short(name: str) -> str:
    """Return a kernel's name without return type, spaces and the tail of its template arguments."""
    name = re.sub(r"\s+", " ", name.removeprefix("void "))
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"


def event_overhead_ms(timer: Any, device: str) -> float:
    """Return what two events read beyond the kernel between them, by a small kernel that the profiler times as well."""
    import torch

    values = torch.ones(1 << 20, device=device)  # 4 MiB: a few microseconds, as the kernels that it matters for

    def call() -> Any:
        return values.add_(1.0)

    for _ in range(5):
        timer(call)
    between_events = statistics.median(timer(call) for _ in range(15))
    seen = profile(lambda turn: timer.run_hidden(call, turn), 4 * TURNS)
    overhead = between_events - seen.span_ms if seen is not None else 0.0
    return overhead if 0 < overhead < 0.01 else 0.0


def without_launch(times_ms: tuple[float, ...], seen: Profile | None) -> tuple[tuple[float, ...], float]:
    """Take off what events read beyond the span that the profiler saw; return the times and what was taken off.

    Kernels differ in how long they take to start, by a microsecond, and that is no time of theirs. Only for short
    calls, where it matters, and only as much as a launch can be.
    """
    if seen is None or not times_ms:
        return times_ms, 0.0
    beyond = statistics.median(times_ms) - seen.span_ms
    if statistics.median(times_ms) > SHORT_MS or not 0 < beyond < _MOST_LAUNCH_MS:
        return times_ms, 0.0
    return tuple(time - beyond if time > 2 * beyond else time for time in times_ms), beyond


SHORT_MS = 0.1  # what is shorter is profiled more often, and freed of its launch
_MOST_LAUNCH_MS = 0.004
