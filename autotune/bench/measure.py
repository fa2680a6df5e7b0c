"""Measure one case in this process: check, time, check again. Whatever a backend does is a row with a reason.

It is meant for a process of its own (``isolate.py``): a crash, a hang or a CUDA error that stays ends only that one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from autotune.bench import backends as table
from autotune.bench import kernels, timing
from autotune.bench.attempt import why
from autotune.bench.case import AttentionCase
from autotune.bench.ceilings import ceilings
from autotune.bench.check import Checked, Task, check_case, check_context, held_against_truth, judge, quiet_torch
from autotune.bench.clocks import Bench, Timed
from autotune.bench.gate import Verdict
from autotune.bench.rows import Row
from autotune.bench.telemetry import Telemetry, index_of

_LAST_FILLS = (("random", 6),)  # after the timing: a backend that has begun to replay is still wrong


@dataclass(slots=True)
class Answer:
    """The rows of a case, in the order of the names, and the conditions that they were measured under."""

    rows: tuple[Row, ...] = ()
    conditions: dict[str, Any] = field(default_factory=dict)


def measure_case(task: Task) -> Answer:
    """Return a row for each backend; ``budget_s`` bounds the timing, not what comes before it.

    Raises:
        Poisoned: a backend left the CUDA context unusable.
    """
    rows: dict[str, Row] = {}
    conditions: dict[str, Any] = {}

    def note(row: Row) -> None:
        rows[row.backend] = row
        task.done(row)

    with quiet_torch(task.device):
        try:
            checked = check_case(task, note)
            if checked is not None:
                conditions = time_case(task, checked, note)
        except (RuntimeError, MemoryError) as error:  # not of one backend: the exact result itself did not fit
            check_context(task, "")
            for name in [name for name in task.targets if name not in rows]:
                note(task.row(name, "failed", f"the check could not be made: {why(error)}"))
    return Answer(tuple(rows[name] for name in task.targets), conditions)


def time_case(task: Task, checked: Checked, note: Callable[[Row], None]) -> dict[str, Any]:
    """Time what passed, check it once more, note a row for each, and return the conditions."""
    timed = _time(task, checked)
    raised = {name: Verdict(checked.verdicts[name].max_error, raised=error) for name, error in timed.raised.items()}
    left = {name: one for name, one in checked.ready.items() if name not in raised}
    last = held_against_truth(task, checked.inputs, left, _LAST_FILLS)
    judge(task, raised | last, note)
    for name in left:
        if last[name].passed:
            note(_row(task, checked, timed, name))
    return {"stopped": timed.stopped, **ceilings(task.device, task.case.dtype), **timed.telemetry}


def _row(task: Task, checked: Checked, timed: Timed, name: str) -> Row:
    seen = timed.kernels.get(name)
    times_ms, launch_ms = kernels.without_launch(timed.times_ms["gpu"][name], seen)
    unsafe = checked.unsafe.get(name)
    return Row(
        backend=name,
        state="ok" if unsafe is None else "incorrect",
        reason=unsafe,
        flops=task.case.flops(),
        bytes=task.case.bytes(),
        times_ms=times_ms,
        eager_times_ms=timed.times_ms.get("eager", {}).get(name, ()),
        graph_times_ms=timed.times_ms.get("graph", {}).get(name, ()),
        max_error=checked.verdicts[name].max_error,
        peak_bytes=timed.peaks.get(name),
        first_call_s=round(checked.ready[name].first_call_s, 4),
        kernels=() if seen is None else seen.names,
        kernel_ms=None if seen is None else seen.kernel_ms,
        launch_ms=launch_ms,
        notes=(*timed.notes.get(name, ()), *_caution(checked, name)),
    )


def _caution(checked: Checked, name: str) -> list[str]:
    """Return what a backend gets wrong in a form of the case that was not asked for."""
    wrong = checked.cautions.get(name)
    return [] if wrong is None else [f"right here, but not in another form: {wrong}"]


_timers: dict[str, Callable[[Callable[[], Any]], float]] = {}


def timer_of(device: str) -> Callable[[Callable[[], Any]], float]:
    """Return the timer of a device, calibrated once a process."""
    if device not in _timers:
        timer = timing.timer_for(device)
        if isinstance(timer, timing.CudaTimer):
            timer.overhead_ms = kernels.event_overhead_ms(timer, device)
        _timers[device] = timer
    return _timers[device]


def bench_of(task: Task, checked: Checked) -> Bench:
    """Return the prepared calls of a case with the timers of its device."""
    return Bench(
        device=task.device,
        inputs=checked.inputs,
        calls={name: one.call for name, one in checked.ready.items()},
        active={name: one.backend.active for name, one in checked.ready.items()},
        timer=timer_of(task.device),
        telemetry=Telemetry(index_of(task.device)),
        no_graph=no_graph(task.case),
        at=task.at,
        say=task.say,
    )


def no_graph(case: AttentionCase) -> str:
    """Return why calls of the case must not be captured in a CUDA graph; the sticky error would end the process."""
    if case.direction == "bwd" and case.dropout:
        return "the forward of a backward alone keeps the dropout's seed on the host, where a graph cannot read it"
    return ""


def _time(task: Task, checked: Checked) -> Timed:
    bench = bench_of(task, checked)
    timed = bench.run(list(checked.ready), task.by, task.budget_s, task.margin, keep=(table.DEFAULT,), fixed=task.fixed)
    if task.profile and isinstance(bench.timer, timing.CudaTimer):
        bench.profile([name for name in checked.ready if name not in timed.raised], timed, bench.timer)
    for name, error in timed.raised.items():
        check_context(task, name, error)
    return timed
