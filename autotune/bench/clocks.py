"""Timing of backends that passed: by the clock that the choice goes by until it is sure, by the others briefly."""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from autotune.bench import kernels, timing
from autotune.bench.inputs import Inputs
from autotune.bench.sampling import Sampled, sample_in_rounds
from autotune.bench.telemetry import Telemetry

MAIN_PART = 0.7  # of the budget for the clock that the choice goes by; the others share the rest
_SHORT = 12  # samples by a clock that nothing is chosen by
_TELEMETRY_EVERY = 5  # rounds

Call = Callable[[], Any]


@dataclass
class Timed:
    """What the clocks read, each by backend."""

    times_ms: dict[str, dict[str, tuple[float, ...]]] = field(default_factory=dict)  # clock -> backend -> times
    raised: dict[str, Exception] = field(default_factory=dict)
    peaks: dict[str, int | None] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)
    kernels: dict[str, kernels.Profile | None] = field(default_factory=dict)
    telemetry: dict[str, Any] = field(default_factory=dict)
    stopped: str = ""


@dataclass
class Bench:
    """The prepared calls of one case on one device, and the timers for them."""

    device: str
    inputs: Inputs
    calls: Mapping[str, Call]
    active: Mapping[str, Callable[[], AbstractContextManager[None]]]
    timer: Callable[[Call], float]
    telemetry: Telemetry
    no_graph: str = ""  # why the calls cannot be captured in CUDA graphs, where they cannot
    at: Callable[[str], None] = lambda name: None
    say: Callable[[str], None] = lambda text: None
    _graphs: dict[str, timing.GraphTimer] = field(default_factory=dict)

    def refresh(self) -> None:
        """Make calls that keep a forward pass run it again, on the stream that is current now."""
        self.inputs.q.detach().mul_(1)

    def run(
        self, names: list[str], by: str, budget_s: float, margin: float, keep: tuple[str, ...], fixed: bool = False
    ) -> Timed:
        """Time the backends by all clocks that the device has, ``by`` first and longest (``fixed``: all alike)."""
        found = Timed()
        clocks = timing.CLOCKS if self.device.startswith("cuda") else ("gpu",)
        for name in names:
            self._peak(name, found)
        for clock in sorted(clocks, key=lambda clock: clock != by):
            left = [name for name in names if name not in found.raised]
            main = clock == by
            seconds = budget_s * (MAIN_PART if main else (1 - MAIN_PART) / (len(clocks) - 1))
            measure = self._measure_by(clock, left, found)
            left = [name for name in left if name not in found.notes or clock != "graph" or name in self._graphs]
            limits = {"fixed": fixed} if main else {"samples": _SHORT, "most": _SHORT}
            sampled = self._sample(left, measure, seconds, margin, keep, clock, limits)
            found.raised |= sampled.raised
            found.times_ms[clock] = {name: one.times_ms for name, one in sampled.samples.items()}
            found.stopped = sampled.stopped if main else found.stopped
        if "graph" in clocks:
            self._graphs = {}
            self.refresh()
        found.telemetry = self.telemetry.summary()
        return found

    def _peak(self, name: str, found: Timed) -> None:
        self.at(name)
        try:
            with self.active[name]():
                found.peaks[name] = timing.peak_extra_bytes(self.calls[name], self.device)
        except Exception as error:  # noqa: BLE001 - a backend may raise anything
            found.raised[name] = error

    def _measure_by(self, clock: str, names: list[str], found: Timed) -> Callable[[str], float]:
        if clock == "graph":
            self._capture(names, found)
            return lambda name: self._graphs[name]()
        if clock == "eager":
            return lambda name: timing.time_eager(self.calls[name], self.device)
        return lambda name: self.timer(self.calls[name])

    def _capture(self, names: list[str], found: Timed) -> None:
        if self.no_graph:
            for name in names:
                found.notes.setdefault(name, []).append(f"no CUDA graph: {self.no_graph}")
            return
        for name in names:
            self.at(name)
            self.say(f"capturing {name} in a CUDA graph")
            known = found.times_ms.get("gpu", {}).get(name)
            gpu_ms = statistics.median(known) if known else 0.05
            try:
                self.refresh()
                with self.active[name]():
                    self._graphs[name] = timing.GraphTimer(self.calls[name], gpu_ms, self.device)
            except Exception as error:  # noqa: BLE001 - then it has no figure by this clock
                found.notes.setdefault(name, []).append(f"no CUDA graph: {str(error).splitlines()[0][:160]}")

    def _sample(
        self,
        names: list[str],
        measure: Callable[[str], float],
        budget_s: float,
        margin: float,
        keep: tuple[str, ...],
        clock: str,
        limits: dict[str, Any],
    ) -> Sampled:
        def one(name: str) -> float:
            self.at(name)
            with self.active[name]():  # outside the timed region
                return measure(name)

        def after(done: int, total: int) -> None:
            if done % _TELEMETRY_EVERY == 0 and (self.telemetry.cheap or done == _TELEMETRY_EVERY):
                self.telemetry.read()
            self.say(f"timing {len(names)} backends by {clock}, round {done} of at most {total}")

        return sample_in_rounds(
            names, one, time.monotonic, budget_s=budget_s, margin=margin, keep=keep, on_round=after, **limits
        )

    def profile(self, names: list[str], found: Timed, timer: timing.CudaTimer) -> None:
        """Ask the profiler which kernels run; where it has no answer there is a note."""
        for name in names:
            self.at(name)
            self.say(f"profiling {name}")
            try:
                with self.active[name]():
                    call = self.calls[name]
                    is_short = statistics.median(found.times_ms["gpu"][name]) < kernels.SHORT_MS
                    repeats = 5 * timing.TURNS if is_short else 6
                    found.kernels[name] = kernels.profile(functools.partial(timer.run_hidden, call), repeats)
            except Exception as error:  # noqa: BLE001 - a missing name spoils no figure
                found.notes.setdefault(name, []).append(f"no profile: {str(error).splitlines()[0][:160]}")
