"""The two records of a trial: what was planned, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from autotune.files import digest

COMPLETE = "complete"  # the objective returned finite metrics
PRUNED = "pruned"  # it stopped itself early, on a pruner's word
INFEASIBLE = "infeasible"  # these parameters cannot work: an outcome, never best
FAILED = "failed"  # exception, timeout, crash
STATES = (COMPLETE, PRUNED, INFEASIBLE, FAILED)

REASONS = {
    COMPLETE: (None,),
    PRUNED: (None,),
    INFEASIBLE: ("oom", "nonfinite", "declared"),
    FAILED: ("exception", "timeout", "crash"),
}


@dataclass(frozen=True, slots=True)
class TrialConfig:
    """A planned trial: one file in ``configs/``, never rewritten when unchanged.

    ``parent`` is the trial whose folder this one goes on from; ``repeat`` counts the trials before it that have the
    same params and fidelity, where a study repeats them.
    """

    number: int
    id: str
    params: dict[str, Any]
    seed: int
    round: int = 0
    fidelity: float | None = None
    resources: dict[str, Any] = field(default_factory=dict)
    parent: int | None = None
    repeat: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return the record as it is written; what few trials have is left out of the others."""
        record = {name: getattr(self, name) for name in self.__slots__}
        if self.parent is None:
            del record["parent"]
        if not self.repeat:
            del record["repeat"]
        return record

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> TrialConfig:
        """Read the record of a file; KeyError where it is none."""
        optional = {"parent", "repeat"} - record.keys()
        return cls(**{name: record[name] for name in cls.__slots__ if name not in optional})


def trial_id(
    objective: str, params: dict[str, Any], seed: int, fidelity: float | None = None, version: str | None = None
) -> str:
    """Return the id of a piece of work: equal ids are the same work, within a study and between studies."""
    return digest([objective, params, seed, fidelity, *([] if version is None else [version])])


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one execution of an objective came to; the fields that are allowed depend on the state."""

    state: str
    reason: str | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    error: str | None = None
    traceback: str | None = None
    logged: bool = False

    def __post_init__(self) -> None:
        """Refuse a record that contradicts itself: a fault of the program, not of the user."""
        if self.state not in REASONS or self.reason not in REASONS[self.state]:
            raise ValueError(f"state {self.state!r} cannot have the reason {self.reason!r}")
        if not all(isinstance(value, float | int) for value in self.metrics.values()):
            raise ValueError(f"metrics are numbers, got {self.metrics}")
        if self.state == COMPLETE and (not self.metrics or self.error):
            raise ValueError("a complete trial has metrics and no error")
        if self.state in (INFEASIBLE, FAILED) and not self.error:
            raise ValueError(f"a trial that is {self.state} has an error that says why")


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a trial: one file in ``trials/``; that it is there means that it is whole.

    ``attempt`` counts executions from 1; ``started_at`` is in seconds since 1970, ``duration_s`` is by the monotonic
    clock; ``retry`` is set by ``autotune retry``: the result stands in for the next attempt and is no outcome any more.
    ``fidelity`` and ``repeat`` are the trial's, where its study has such. ``source`` and ``hardware`` are those of
    autotune.origin; ``reused_from`` is where the trial ran, if not here; ``earlier_s`` is what earlier attempts took.
    """

    number: int
    id: str
    params: dict[str, Any]
    outcome: Outcome
    attempt: int
    started_at: float
    duration_s: float
    host: str
    gpus: str | None = None
    environment: str = ""
    retry: bool = False
    fidelity: float | None = None
    repeat: int | None = None
    source: str | None = None
    hardware: str | None = None
    reused_from: str | None = None
    earlier_s: float | None = None

    @property
    def state(self) -> str:
        """One of STATES."""
        return self.outcome.state

    @property
    def metrics(self) -> dict[str, float]:
        """Metric name to finite value."""
        return self.outcome.metrics

    def settles(self, on_failure: str, attempts: int) -> bool:
        """Return whether the trial needs no further execution."""
        if self.retry:
            return False
        return self.state != FAILED or (on_failure == "record" and self.attempt >= attempts)

    def to_dict(self) -> dict[str, Any]:
        """Return the record as it is written: flat, without empty fields."""
        record = {name: getattr(self, name) for name in self.__slots__ if name != "outcome"}
        record |= {name: getattr(self.outcome, name) for name in Outcome.__slots__}
        return {name: item for name, item in record.items() if item is not None and item is not False and item != ""}

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> Result:
        """Read the record of a file; KeyError, TypeError or ValueError where it is none."""
        own = {name: record[name] for name in cls.__slots__ if name in record}
        outcome = Outcome(**{name: record[name] for name in Outcome.__slots__ if name in record})
        return cls(outcome=outcome, **own)


def again(result: Result) -> Result:
    """Return the result marked for another execution."""
    return replace(result, retry=True)
