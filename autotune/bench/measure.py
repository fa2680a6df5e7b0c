"""Measure one case: ask, probe, check, time, check again. Whatever a backend does is a row with a reason."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from autotune.bench import backends as table
from autotune.bench import gate, timing
from autotune.bench.backends import Backend
from autotune.bench.case import AttentionCase
from autotune.bench.gate import Verdict
from autotune.bench.inputs import Inputs, Outputs, fill, new_inputs
from autotune.bench.probe import probe
from autotune.bench.probe_child import why
from autotune.bench.rows import Row

Say = Callable[[str], None]

_LAST_FILLS = (("random", 6),)  # after the timing: a backend that has begun to replay is still wrong


@dataclass(frozen=True, slots=True)
class Prepared:
    """A backend with its call on the inputs of a case."""

    backend: Backend
    call: Callable[[], Outputs]

    def run(self) -> Outputs:
        with self.backend.active():
            return self.call()


def measure_case(case: AttentionCase, device: str, names: Sequence[str], budget_s: float, say: Say) -> tuple[Row, ...]:
    """Return a row for each name, in their order; ``budget_s`` bounds the timing, not the probe and the checks."""
    say("probing the backends")
    rows, usable = _usable(case, device, names)
    if usable:
        with _quiet_torch(device):
            try:
                rows |= _measure(case, device, usable, budget_s, say)
            except (RuntimeError, MemoryError) as error:  # not of one backend: the exact result itself did not fit
                text = f"the check could not be made: {why(error)}"
                rows |= {name: _row(case, name, "failed", text) for name in usable if name not in rows}
    return tuple(rows[name] for name in names)


def _row(case: AttentionCase, name: str, state: str, reason: str, max_error: float | None = None) -> Row:
    return Row(backend=name, state=state, flops=case.flops(), reason=reason, max_error=max_error)


def _usable(case: AttentionCase, device: str, names: Sequence[str]) -> tuple[dict[str, Row], dict[str, Backend]]:
    """Return rows for those that refuse, by their own word or by the probe, and the backends that are left."""
    rows: dict[str, Row] = {}
    loaded: dict[str, Backend] = {}
    for name in names:
        try:
            backend = table.load(table.target(name))
            reason = backend.unsupported(case, device)
        except Exception as error:  # noqa: BLE001 - another package's class
            reason = f"does not load: {why(error)}"
        if reason is None:
            loaded[name] = backend
        else:
            rows[name] = _row(case, name, "unsupported", reason)
    for name, reason in probe(case, device, {name: table.target(name) for name in loaded}).items():
        if reason is not None:
            rows[name] = _row(case, name, "unsupported", reason)
            del loaded[name]
    return rows, loaded


def _measure(case: AttentionCase, device: str, usable: dict[str, Backend], budget_s: float, say: Say) -> dict[str, Row]:
    rows: dict[str, Row] = {}
    inputs = new_inputs(case, device)
    fill(inputs, "random", 0)
    ready: dict[str, Prepared] = {}
    for name, backend in usable.items():
        try:
            ready[name] = Prepared(backend, backend.prepare(case, inputs))
        except Exception as error:  # noqa: BLE001 - a backend may raise anything
            rows[name] = _row(case, name, "failed", why(error))
    verdicts = gate.check(case, inputs, {name: one.run for name, one in ready.items()}, on_step=say)
    good = {name: one for name, one in ready.items() if verdicts[name].passed}
    times, raised, peaks = _time(device, inputs, good, budget_s, say)
    verdicts |= {name: Verdict(verdicts[name].max_error, raised=error) for name, error in raised.items()}
    timed = {name: good[name].run for name in times}
    last = gate.check(case, inputs, timed, fills=_LAST_FILLS)
    verdicts |= {name: verdict for name, verdict in last.items() if not verdict.passed}
    for name, verdict in verdicts.items():
        if verdict.wrong is not None:
            rows[name] = _row(case, name, "incorrect", verdict.wrong, verdict.max_error)
        elif verdict.raised is not None:
            rows[name] = _row(case, name, "failed", why(verdict.raised), verdict.max_error)
        else:
            rows[name] = Row(
                backend=name,
                state="ok",
                flops=case.flops(),
                times_ms=times[name],
                max_error=verdict.max_error,
                peak_bytes=peaks[name],
            )
    return rows


def _time(
    device: str, inputs: Inputs, good: dict[str, Prepared], budget_s: float, say: Say
) -> tuple[dict[str, tuple[float, ...]], dict[str, Exception], dict[str, int | None]]:
    """Return times in milliseconds, what was raised, and the peak memory in bytes, each by name."""
    if not good:
        return {}, {}, {}
    fill(inputs, "random", 0)  # never zeros: they draw less power, and so run faster than real data
    timer = timing.timer_for(device)
    peaks: dict[str, int | None] = {}

    def measure(name: str) -> float:
        with good[name].backend.active():  # outside the timed region
            if name not in peaks:
                peaks[name] = timing.peak_extra_bytes(good[name].call, device)
            return timer(good[name].call)

    sampled = timing.sample_in_rounds(
        list(good),
        measure,
        time.monotonic,
        budget_s=budget_s,
        on_round=lambda done, total: say(f"timing {len(good)} backends, round {done} of {total}"),
    )
    return {name: one.times_ms for name, one in sampled.samples.items()}, sampled.raised, peaks


@contextmanager
def _quiet_torch(device: str) -> Iterator[None]:
    """Shut out what a caller may have switched on: autocast changes dtypes, no_grad leaves no backward pass."""
    import torch

    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(torch.autocast(device.partition(":")[0], enabled=False))
        if device.startswith("cuda"):
            stack.enter_context(torch.cuda.device(device))
        yield
