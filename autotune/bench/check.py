"""Backends on one case, made ready and held against the truth: who may be timed, and why not the others."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from autotune.bench import backends as table
from autotune.bench import gate
from autotune.bench.attempt import attempt, small, why
from autotune.bench.backends import Backend
from autotune.bench.case import AttentionCase
from autotune.bench.dropout import wrong_dropout
from autotune.bench.gate import Verdict
from autotune.bench.inputs import FILLS, Inputs, Outputs, fill, new_inputs
from autotune.bench.neighbours import FILLS as NEIGHBOUR_FILLS
from autotune.bench.neighbours import neighbours, relatives
from autotune.bench.rows import Row


class Poisoned(Exception):
    """The CUDA context of this process answers no more; the backend that it was at is to blame."""

    def __init__(self, backend: str, reason: str) -> None:
        super().__init__(reason)
        self.backend = backend


def _nothing(*_: Any) -> None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What to measure and how; ``targets`` are backends by name, each ``module:Class``."""

    case: AttentionCase
    device: str
    targets: Mapping[str, str]
    budget_s: float = 10.0
    margin: float = 0.02
    by: str = "gpu"
    profile: bool = True
    fixed: bool = False  # no backend is dropped, and only the budget ends the timing early
    say: Callable[[str], None] = _nothing
    at: Callable[[str], None] = _nothing  # told which backend is at work, before it can do harm
    done: Callable[[Row], None] = _nothing  # told each row that has no time as soon as it is known

    def row(self, name: str, state: str, reason: str, max_error: float | None = None) -> Row:
        return Row(backend=name, state=state, flops=self.case.flops(), reason=reason, max_error=max_error)


@dataclass(slots=True)
class Ready:
    """A backend with its call on the inputs of a case."""

    backend: Backend
    call: Callable[[], Outputs]
    first_call_s: float = 0.0

    def run(self) -> Outputs:
        with self.backend.active():
            return self.call()


@dataclass(slots=True)
class Checked:
    """The backends that are right on a case, ready on the same inputs.

    ``unsafe`` are wrong at a length beside it; ``cautions`` are for what they get wrong in another form of it.
    """

    inputs: Inputs
    ready: dict[str, Ready]
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    unsafe: dict[str, str] = field(default_factory=dict)
    cautions: dict[str, str] = field(default_factory=dict)


Note = Callable[[Row], None]


def check_case(task: Task, note: Note) -> Checked | None:
    """Load, run once and check every backend; those that are out get rows. None where nothing is left.

    Raises:
        Poisoned: a backend left the CUDA context unusable.
    """
    loaded = _loaded(task, note)
    if not loaded:
        return None
    inputs = new_inputs(task.case, task.device)
    fill(inputs, "random", 0)
    checked = Checked(inputs, _first_calls(task, inputs, loaded, note))
    checked.verdicts = held_against_truth(task, inputs, checked.ready, FILLS)
    judge(task, checked.verdicts, note)
    checked.ready = {name: one for name, one in checked.ready.items() if checked.verdicts[name].passed}
    checked.unsafe = _beside(task, checked.ready, neighbours(task.case))
    checked.cautions = _beside(task, checked.ready, relatives(task.case))
    fill(inputs, "random", 0)  # never zeros: they draw less power, and so run faster than real data
    return checked if checked.ready else None


def _loaded(task: Task, note: Note) -> dict[str, Backend]:
    """Return the backends that do not refuse by their own word; the others get rows."""
    loaded: dict[str, Backend] = {}
    for name, target in task.targets.items():
        try:
            backend = table.load(target)
            reason = backend.unsupported(task.case, task.device)
        except Exception as error:  # noqa: BLE001 - another package's class
            reason = f"does not load: {why(error)}"
        if reason is None:
            loaded[name] = backend
        else:
            note(task.row(name, "unsupported", reason))
    return loaded


def _first_calls(task: Task, inputs: Inputs, loaded: dict[str, Backend], note: Note) -> dict[str, Ready]:
    """Prepare and call each once; those that raise get rows: unsupported if a tiny case of the kind raises too."""
    ready: dict[str, Ready] = {}
    for name, backend in loaded.items():
        task.say(f"first call of {name}")
        task.at(name)
        start = time.perf_counter()
        try:
            one = Ready(backend, backend.prepare(task.case, inputs))
            one.run()
            wait(task.device)
        except Exception as error:  # noqa: BLE001 - a backend may raise anything
            check_context(task, name, error)
            refusal = attempt(task.targets[name], small(task.case), task.device)
            check_context(task, name, error)
            note(task.row(name, "failed", why(error)) if refusal is None else task.row(name, "unsupported", refusal))
            continue
        one.first_call_s = time.perf_counter() - start
        ready[name] = one
    return ready


def held_against_truth(
    task: Task, inputs: Inputs, ready: Mapping[str, Ready], fills: Iterable[tuple[str, int]]
) -> dict[str, Verdict]:
    """Return a verdict for each backend; with dropout its calls without it are checked, and then the dropout."""
    case = replace(task.case, dropout=0.0)
    calls = {name: one.run if case == task.case else _without_dropout(case, inputs, one) for name, one in ready.items()}
    verdicts = gate.check(case, inputs, calls, fills=fills, on_step=task.say, at=task.at)
    for name, verdict in verdicts.items():
        if task.case.dropout and verdict.passed:
            task.say(f"checking the dropout of {name}")
            task.at(name)
            try:
                wrong = wrong_dropout(task.case, task.device, ready[name].backend)
                verdicts[name] = replace(verdict, wrong=wrong)
            except Exception as error:  # noqa: BLE001 - a backend may raise anything
                verdicts[name] = replace(verdict, raised=error)
    return verdicts


def _without_dropout(case: AttentionCase, inputs: Inputs, one: Ready) -> Callable[[], Outputs]:
    def call() -> Outputs:
        return one.backend.prepare(case, inputs)()  # in here, where an exception is a verdict

    return Ready(one.backend, call).run


def judge(task: Task, verdicts: Mapping[str, Verdict], note: Note) -> None:
    """Note a row for each backend that did not pass."""
    for name, verdict in verdicts.items():
        if verdict.wrong is not None:
            note(task.row(name, "incorrect", verdict.wrong, verdict.max_error))
        elif verdict.raised is not None:
            check_context(task, name, verdict.raised)
            note(task.row(name, "failed", why(verdict.raised), verdict.max_error))


_beside_found: dict[tuple[str, str, str], str | None] = {}  # (device, target, cases) -> what is wrong, once a process


def _beside(task: Task, good: dict[str, Ready], cases: list[AttentionCase]) -> dict[str, str]:
    """Return what is wrong with backends in cases beside the one that is asked for."""
    keys = {name: (task.device, task.targets[name], " ".join(case.id for case in cases)) for name in good}
    new = [name for name in good if keys[name] not in _beside_found and not good[name].backend.recompiles]
    _beside_found.update({keys[name]: None for name in new})
    for case in cases if new else ():
        inputs = new_inputs(case, task.device)
        fill(inputs, "random", 0)
        left = [
            n for n in new if _beside_found[keys[n]] is None and good[n].backend.unsupported(case, task.device) is None
        ]
        ready: dict[str, Callable[[], Outputs]] = {}
        for name in left:
            try:
                ready[name] = Ready(good[name].backend, good[name].backend.prepare(case, inputs)).run
            except Exception as error:  # noqa: BLE001 - it cannot do this length, and says so: no wrong result
                check_context(task, name, error)
        task.say(f"checking beside it: {case}")
        for name, verdict in gate.check(case, inputs, ready, fills=NEIGHBOUR_FILLS, at=task.at).items():
            if verdict.raised is not None:
                check_context(task, name, verdict.raised)
            elif verdict.wrong is not None:
                _beside_found[keys[name]] = f"beside it, at {case}: {verdict.wrong}"
    return {name: reason for name in good if (reason := _beside_found.get(keys[name])) is not None}


def wait(device: str) -> None:
    """Wait until the device is done with all that it was given."""
    import torch

    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def check_context(task: Task, name: str, error: Exception | None = None) -> None:
    """Raise Poisoned where the device answers no more: after an illegal access every later call fails."""
    try:
        wait(task.device)
    except RuntimeError as broken:
        raise Poisoned(name, why(error or broken)) from None


@contextmanager
def quiet_torch(device: str) -> Iterator[None]:
    """Shut out what a caller may have switched on: autocast changes dtypes, no_grad leaves no backward pass."""
    import torch

    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(torch.autocast(device.partition(":")[0], enabled=False))
        if device.startswith("cuda"):
            stack.enter_context(torch.cuda.device(device))
        yield
