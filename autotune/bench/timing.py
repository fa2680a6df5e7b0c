"""The clocks: time on the GPU behind a spin kernel, CUDA-graph replay, and with the host; wall time on a CPU."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

CLOCKS = ("gpu", "eager", "graph")
TURNS = 8  # timings that make a sample of a short call
_TURNS_BELOW_MS = 0.25  # of which a microsecond is 0.4 %; longer calls are timed once a sample
_EAGER_CALLS = 10  # in a row for one sample, then one wait for the GPU
_GRAPH_MS = 0.2  # a graph holds so many calls that a replay takes about this long

Call = Callable[[], Any]


def timer_for(device: str) -> Callable[[Call], float]:
    """Return ``time(call) -> ms`` for a device: kernel time on CUDA, wall time on a CPU."""
    return CudaTimer(device) if device.startswith("cuda") else time_on_cpu


def time_on_cpu(call: Call) -> float:
    """Return the wall time of one call in milliseconds."""
    start = time.perf_counter_ns()
    call()
    return (time.perf_counter_ns() - start) / 1e6


def time_eager(call: Call, device: str) -> float:
    """Return what one of several calls in a row takes, host included: the longer of Python's and the GPU's time."""
    if not device.startswith("cuda"):
        return time_on_cpu(call)
    import torch

    torch.cuda.synchronize(device)
    start = time.perf_counter_ns()
    for _ in range(_EAGER_CALLS):
        call()
    torch.cuda.synchronize(device)
    return (time.perf_counter_ns() - start) / 1e6 / _EAGER_CALLS


def launches_ahead(turn: int) -> int:
    """Return how many launches more come before a timing, such that each eight in a row meet four states twice.

    Whatever a timing launches by itself: with a constant number of launches each time and one more ahead of every
    second timing, the j-th of eight has ``j * constant + j // 2`` before it, which modulo 4 is even for any constant.
    """
    return int(turn % TURNS in (2, 4, 6))


class CudaTimer:
    """GPU time between two events, with a cold L2 cache, behind a kernel that spins until all is enqueued.

    Without the spin kernel the GPU waits for the host between the events, and a 10 us kernel behind 100 us of Python
    reads as 80 us. Where the spin was too short all the same (the first event was over before the call returned) the
    sample is thrown away and taken again behind a longer spin. What two events read around nothing but a launch
    (``overhead_ms``, measured once against the profiler) is taken off.

    How long a launch takes depends on how many came before: of four in a row one or two take 0.9 us longer (seen on an
    H100, whatever the kernel, wherever the memory). A call that is repeated with always the same launches around it
    meets the same state each time, and which one that is hangs on what ran earlier. So a sample of a short call is the
    mean of eight timings that meet each of the four states twice; see ``launches_ahead``.
    """

    def __init__(self, device: str, overhead_ms: float = 0.0) -> None:
        import torch

        self._cuda = torch.cuda
        properties = torch.cuda.get_device_properties(device)
        l2_bytes = getattr(properties, "L2_cache_size", 0)  # PyTorch before 2.6 does not tell
        self._flush = torch.empty(max(256 << 20, 4 * l2_bytes), dtype=torch.int8, device=device)
        self._cycles_per_ms = self._calibrate()
        self._spin_ms: dict[int, float] = {}  # by the id of the call, and so are the turns
        self._turns: dict[int, int] = {}
        self.overhead_ms = overhead_ms

    def __call__(self, call: Call) -> float:
        self._meet(call)
        turns = self._turns[id(call)]
        elapsed_ms = statistics.mean(self._hidden_ms(call, launches_ahead(turn)) for turn in range(turns))
        return max(elapsed_ms - self.overhead_ms, 1e-6)

    def run_hidden(self, call: Call, turn: int) -> None:
        """Run a call as it is timed, for the profiler: L2 flushed, behind a spin kernel."""
        self._meet(call)
        self._once(call, 2 * self._spin_ms[id(call)], launches_ahead(turn))  # the profiler makes launches slower

    def _meet(self, call: Call) -> None:
        """See how long a call keeps the host and the GPU, if it is new."""
        if id(call) not in self._spin_ms:
            self._spin_ms[id(call)] = self._first_spin_ms(call)
            first_ms = statistics.median(self._hidden_ms(call, 0) for _ in range(3))
            self._turns[id(call)] = TURNS if first_ms < _TURNS_BELOW_MS else 1

    def _hidden_ms(self, call: Call, launches: int) -> float:
        for factor in (1, 2, 4, 8):
            elapsed_ms, hidden = self._once(call, factor * self._spin_ms[id(call)], launches)
            if hidden:
                break
            self._spin_ms[id(call)] *= 1.2
        return elapsed_ms  # never hidden: the call itself waits for the GPU, and that is its cost

    def _once(self, call: Call, spin_ms: float, launches: int) -> tuple[float, bool]:
        """Return the elapsed milliseconds, and whether the host had enqueued everything in time."""
        start, end = self._cuda.Event(enable_timing=True), self._cuda.Event(enable_timing=True)
        self._flush.zero_()
        for _ in range(launches):
            self._cuda._sleep(1)
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


class GraphTimer:
    """Replays of a captured CUDA graph of several calls: no host in it, caches as warm as the calls leave them."""

    def __init__(self, call: Call, gpu_ms: float, device: str) -> None:
        import torch

        self._cuda = torch.cuda
        self._calls = max(2, min(20, round(_GRAPH_MS / max(gpu_ms, 1e-3))))
        side = torch.cuda.Stream(device)
        side.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(side):  # what a first call sets up must not be captured, and belongs on this stream
            for _ in range(2):
                call()
        torch.cuda.current_stream(device).wait_stream(side)
        torch.cuda.synchronize(device)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, stream=side):
            for _ in range(self._calls):
                call()

    def __call__(self) -> float:
        start, end = self._cuda.Event(enable_timing=True), self._cuda.Event(enable_timing=True)
        self._graph.replay()  # one ahead: the launch of the second is hidden behind it
        start.record()
        self._graph.replay()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) / self._calls


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
