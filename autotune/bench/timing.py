"""Timing: candidates in turns, so that a clock that drifts or a chip that heats up hits all of them alike."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

WARM_UP_ROUNDS = 3
SAMPLES = 50


@dataclass(frozen=True, slots=True)
class Samples:
    """Times of one candidate in milliseconds; the figures are derived from them."""

    times_ms: tuple[float, ...]

    @property
    def median_ms(self) -> float:
        return statistics.median(self.times_ms)

    @property
    def p20_ms(self) -> float:
        return percentile(self.times_ms, 20)

    @property
    def p80_ms(self) -> float:
        return percentile(self.times_ms, 80)

    @property
    def interval_ms(self) -> tuple[float, float]:
        """The 95 % confidence interval of the median, by ranks: no assumption about how the times are spread."""
        ordered = sorted(self.times_ms)
        half = 1.96 * math.sqrt(len(ordered)) / 2
        low = max(0, math.floor(len(ordered) / 2 - half))
        high = min(len(ordered), math.ceil(len(ordered) / 2 + half)) - 1
        return ordered[low], ordered[max(low, high)]


def percentile(values: Sequence[float], percent: float) -> float:
    """Return a percentile, linear between the two nearest values."""
    ordered = sorted(values)
    at = (len(ordered) - 1) * percent / 100
    low = math.floor(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)


@dataclass(frozen=True, slots=True)
class Sampled:
    """What a sampling came to: samples of those that ran to the end, and what the others raised."""

    samples: dict[str, Samples] = field(default_factory=dict)
    raised: dict[str, Exception] = field(default_factory=dict)


def sample_in_rounds(
    names: Sequence[str],
    measure: Callable[[str], float],
    clock: Callable[[], float],
    *,
    budget_s: float,
    samples: int = SAMPLES,
    on_round: Callable[[int, int], None] = lambda done, total: None,
) -> Sampled:
    """Measure every candidate once a round until each has enough samples, or a next round would overrun the budget.

    ``measure(name)`` returns milliseconds; ``clock()`` returns seconds. Every second round runs backwards: the one
    before a candidate is not always the same, and a steady drift cancels. The first rounds are warm-up and dropped,
    except where the budget ended with few. A candidate that raises leaves the field to the others.
    """
    times: dict[str, list[float]] = {name: [] for name in names}
    raised: dict[str, Exception] = {}
    start = last = clock()
    total = samples + WARM_UP_ROUNDS
    for number in range(total):
        for name in list(times)[:: -1 if number % 2 else 1]:
            try:
                times[name].append(measure(name))
            except Exception as error:  # noqa: BLE001 - a backend may raise anything
                raised[name] = error
                del times[name]
        now = clock()
        on_round(number + 1, total)
        if not times or (now - start) + (now - last) > budget_s:
            break
        last = now
    kept = {
        name: values[WARM_UP_ROUNDS:] if len(values) > 2 * WARM_UP_ROUNDS else values for name, values in times.items()
    }
    return Sampled({name: Samples(tuple(values)) for name, values in kept.items()}, raised)


Call = Callable[[], Any]


def timer_for(device: str) -> Callable[[Call], float]:
    """Return ``time(call) -> ms`` for a device: kernel time on CUDA, wall time on a CPU."""
    return CudaTimer(device) if device.startswith("cuda") else time_on_cpu


def time_on_cpu(call: Call) -> float:
    """Return the wall time of one call in milliseconds."""
    start = time.perf_counter_ns()
    call()
    return (time.perf_counter_ns() - start) / 1e6


class CudaTimer:
    """GPU time between two events, with a cold L2 cache, behind a kernel that spins until all is enqueued.

    Without the spin kernel the GPU waits for the host between the events, and a 10 us kernel behind 100 us of Python
    reads as 80 us. Where the spin was too short all the same (the first event was over before the call returned) the
    sample is thrown away and taken again behind a longer spin.
    """

    def __init__(self, device: str) -> None:
        import torch

        self._cuda = torch.cuda
        properties = torch.cuda.get_device_properties(device)
        l2_bytes = getattr(properties, "L2_cache_size", 0)  # PyTorch before 2.6 does not tell
        self._flush = torch.empty(max(256 << 20, 4 * l2_bytes), dtype=torch.int8, device=device)
        self._cycles_per_ms = self._calibrate()
        self._spin_ms: dict[int, float] = {}  # by the id of the call

    def __call__(self, call: Call) -> float:
        if id(call) not in self._spin_ms:
            self._spin_ms[id(call)] = self._first_spin_ms(call)
        for factor in (1, 2, 4, 8):
            elapsed_ms, hidden = self._once(call, factor * self._spin_ms[id(call)])
            if hidden:
                break
        return elapsed_ms  # never hidden: the call itself waits for the GPU, and that is its cost

    def _once(self, call: Call, spin_ms: float) -> tuple[float, bool]:
        """Return the elapsed milliseconds, and whether the host had enqueued everything in time."""
        start, end = self._cuda.Event(enable_timing=True), self._cuda.Event(enable_timing=True)
        self._flush.zero_()
        self._cuda._sleep(int(spin_ms * self._cycles_per_ms))
        start.record()
        kept = call()  # alive until the clock stops, so that freeing it is not timed
        end.record()
        hidden = not start.query()
        end.synchronize()
        del kept
        return float(start.elapsed_time(end)), hidden

    def _first_spin_ms(self, call: Call) -> float:
        """Return 1.5 times the host's time to enqueue the call, plus 60 us for the events."""
        host_ms = []
        for _ in range(3):
            self._cuda.synchronize()
            host_ms.append(time_on_cpu(call))
        self._cuda.synchronize()
        return 1.5 * statistics.median(host_ms) + 0.06

    def _calibrate(self) -> float:
        cycles = 2_000_000
        with suppress(ZeroDivisionError):
            for _ in range(2):  # the first one loads the kernel
                start, end = self._cuda.Event(enable_timing=True), self._cuda.Event(enable_timing=True)
                start.record()
                self._cuda._sleep(cycles)
                end.record()
                end.synchronize()
            return cycles / float(start.elapsed_time(end))
        return 2e6


def peak_extra_bytes(call: Call, device: str) -> int | None:
    """Return how much device memory one call takes at its peak beyond what is allocated already; None on a CPU."""
    if not device.startswith("cuda"):
        return None
    import torch

    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    kept = call()
    torch.cuda.synchronize(device)
    del kept
    return int(torch.cuda.max_memory_allocated(device) - before)
