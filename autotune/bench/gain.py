"""What a program would gain by the best backend for each of its shapes, weighted by how often it calls them."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from autotune.bench.cells import Cell
from autotune.bench.choose import NoUsableBackend, choose
from autotune.bench.profile import Call, Profile
from autotune.bench.rows import Measurement
from autotune.bench.sampling import ratio
from autotune.bench.show import console


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """A recorded call: what it takes by the backend that the program uses, and by the best (ms a call).

    ``reason`` says why a time is not known, or that what the program uses is not right.
    """

    call: Call
    now_ms: float | None = None
    best: str | None = None
    best_ms: float | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    """All calls of one process, a step or (``unit`` run) the whole run; ``whole_ms`` is what that took in the program.

    ``unknown`` is the number of calls that are not in it, over all processes and steps.
    """

    unit: str
    now_ms: float
    saved_ms: float
    whole_ms: float | None
    unknown: int

    @property
    def part(self) -> float:
        """What of the attention's time is saved."""
        return self.saved_ms / self.now_ms if self.now_ms else 0.0

    @property
    def share(self) -> float | None:
        """What of the program's time is saved, where that is known."""
        return self.saved_ms / self.whole_ms if self.whole_ms else None

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "part": self.part, "share": self.share}


def cells(profile: Profile, how: Mapping[str, Any]) -> list[Cell]:
    """Return a cell for each case, to be measured where the program computed it if ``how`` names no device."""
    device = how.get("device")
    wanted = dict.fromkeys((call.case, device or call.device) for call in profile.calls)
    return [Cell(case=case, **{**how, "device": place}) for case, place in wanted]


def gains(profile: Profile, found: Mapping[tuple[Any, str | None], Measurement], margin: float) -> list[Gain]:
    """Return what each call takes now and by the best; ``found`` is by case and the device that was asked for."""
    by_case = {case: measurement for (case, _), measurement in found.items()}
    return [_gain(call, found.get((call.case, call.device)) or by_case[call.case], margin) for call in profile.calls]


def _gain(call: Call, measurement: Measurement, margin: float) -> Gain:
    rows = {row.backend: row for row in measurement.rows}
    now = rows.get(call.backend)
    times_now = () if now is None else now.times_by(measurement.by)
    if now is None or not times_now:
        return Gain(call=call, reason=f"{call.backend}: {now.reason if now is not None else 'not measured'}")
    now_ms = statistics.median(times_now)
    try:
        choice = choose(measurement, margin)
    except NoUsableBackend as error:
        return Gain(call=call, now_ms=now_ms, reason=str(error))
    best = call.backend if call.backend in choice.ties else str(choice)
    # Over the rounds that both took part in, so that drift is no gain.
    times = ratio(times_now, rows[best].times_by(measurement.by)).median
    wrong = None if now.state == "ok" else f"{call.backend} is {now.state}: {now.reason}"
    return Gain(call=call, now_ms=now_ms, best=best, best_ms=now_ms / times, reason=wrong)


def total(profile: Profile, found: Sequence[Gain]) -> Total:
    """Add up what is known of one process: a step where the program has an optimizer, else the run."""
    parts = profile.processes * max(1, profile.steps)
    known = [one for one in found if one.now_ms is not None and one.best_ms is not None]
    now_ms = sum(one.call.count * (one.now_ms or 0.0) for one in known) / parts
    best_ms = sum(one.call.count * (one.best_ms or 0.0) for one in known) / parts
    whole_s = profile.step_s if profile.steps else profile.span_s
    unknown = sum(one.call.count for one in found if one not in known) + sum(count for _, count in profile.skipped)
    return Total(
        unit="step" if profile.steps else "run",
        now_ms=now_ms,
        saved_ms=now_ms - best_ms,
        whole_ms=whole_s * 1e3 if whole_s else None,
        unknown=unknown,
    )


def to_json(profile: Profile, found: Sequence[Gain]) -> dict[str, Any]:
    """Return profile, gains and total."""
    return {
        "profile": profile.to_json(),
        "shapes": [asdict(one) for one in found],
        "total": total(profile, found).to_json(),
    }


def sentences(profile: Profile, found: Sequence[Gain]) -> list[str]:
    """Return what a user wants to know of it."""
    all_ = total(profile, found)
    share = "" if all_.share is None else f", {all_.share:.1%} of its {all_.whole_ms:.4g} ms (without torch.compile)"
    sentence = (
        f"attention takes {all_.now_ms:.4g} ms a {all_.unit}; by the best backend for each shape a {all_.unit} gains "
        f"{all_.saved_ms:.4g} ms: {all_.part:.1%} of that{share}"
    )
    lines = [sentence, *(f"not in it: {count} calls, {what}" for what, count in profile.skipped)]
    return lines + [f"{one.call.case}: {one.reason}" for one in found if one.reason]


def print_gains(profile: Profile, found: Sequence[Gain]) -> None:
    """Print a line for each shape, and what it comes to."""
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for head in ("shape", "calls", "now", "ms", "best", "ms", "saved ms"):
        table.add_column(head, justify="left" if head in ("shape", "now", "best") else "right", no_wrap=True)
    for one in found:
        call, saved = one.call, ""
        if one.now_ms is not None and one.best_ms is not None:
            saved = f"{call.count * (one.now_ms - one.best_ms):.4g}"
        times = (f"{one.now_ms:.4g}" if one.now_ms else "", f"{one.best_ms:.4g}" if one.best_ms else "")
        table.add_row(str(call.case), str(call.count), call.backend, times[0], one.best or "", times[1], saved)
    out = console()
    calls = sum(call.count for call in profile.calls)
    out.print(
        f"[bold]{escape(profile.command)}[/bold] {escape(profile.ended)}: {calls} calls of "
        f"{len(profile.calls)} shapes, {profile.steps} steps, processes: {profile.processes}",
        soft_wrap=True,
    )
    out.print(table)
    for line in sentences(profile, found):
        out.print(escape(line), soft_wrap=True)
