"""What a measurement of one case came to: a row for each backend, whether it ran or not."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from autotune.bench.case import AttentionCase
from autotune.bench.sampling import Samples

STATES = ("ok", "unsupported", "incorrect", "failed")
_TIMES = ("times_ms", "eager_times_ms", "graph_times_ms")
_FIGURES = ("median_ms", "p20_ms", "p80_ms", "samples", "tflops", "gbs", "eager_ms", "graph_ms")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One backend on one case; ``ok`` has times and no reason, every other state a reason.

    What is ``incorrect`` only at a length beside the case has times as well: what it would gain is known.
    ``times_ms`` is time on the GPU (on a CPU, wall time), one a round; ``eager_times_ms`` has the host in it,
    ``graph_times_ms`` are replays of a CUDA graph. ``kernels`` and ``kernel_ms`` are the profiler's word;
    ``launch_ms`` is what was taken off each of ``times_ms`` because it was the kernel's start and not its run.
    """

    backend: str
    state: str
    flops: float
    bytes: float = 0.0
    reason: str | None = None
    times_ms: tuple[float, ...] = ()
    eager_times_ms: tuple[float, ...] = ()
    graph_times_ms: tuple[float, ...] = ()
    max_error: float | None = None
    peak_bytes: int | None = None
    first_call_s: float | None = None
    kernels: tuple[str, ...] = ()
    kernel_ms: float | None = None
    launch_ms: float = 0.0
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.state not in STATES:
            raise ValueError(f"state must be one of {', '.join(STATES)}, got {self.state!r}")
        times_fit = bool(self.times_ms) == (self.state == "ok") or (self.state == "incorrect" and self.times_ms)
        if not times_fit or (self.state == "ok") == bool(self.reason):
            raise ValueError(f"a row that is {self.state} has these times and reason: {self.times_ms}, {self.reason!r}")

    def times_by(self, clock: str) -> tuple[float, ...]:
        """Return the times by ``gpu``, ``eager`` or ``graph``; empty where that was not measured."""
        return {"gpu": self.times_ms, "eager": self.eager_times_ms, "graph": self.graph_times_ms}[clock]

    @property
    def median_ms(self) -> float | None:
        return Samples(self.times_ms).median_ms if self.times_ms else None

    @property
    def p20_ms(self) -> float | None:
        return Samples(self.times_ms).p20_ms if self.times_ms else None

    @property
    def p80_ms(self) -> float | None:
        return Samples(self.times_ms).p80_ms if self.times_ms else None

    @property
    def eager_ms(self) -> float | None:
        return Samples(self.eager_times_ms).median_ms if self.eager_times_ms else None

    @property
    def graph_ms(self) -> float | None:
        return Samples(self.graph_times_ms).median_ms if self.graph_times_ms else None

    @property
    def samples(self) -> int:
        return len(self.times_ms)

    @property
    def tflops(self) -> float | None:
        return self.flops / self.median_ms / 1e9 if self.median_ms else None

    @property
    def gbs(self) -> float | None:
        return self.bytes / self.median_ms / 1e6 if self.median_ms else None

    def to_json(self) -> dict[str, Any]:
        """Return the row with its derived figures, for those who read the file; ``from_json`` derives them again."""
        times = {name: [round(time, 6) for time in getattr(self, name)] for name in _TIMES}
        lists = {"kernels": list(self.kernels), "notes": list(self.notes)}
        return asdict(self) | {name: getattr(self, name) for name in _FIGURES} | times | lists

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Row:
        kept = (
            "backend",
            "state",
            "flops",
            "bytes",
            "reason",
            "max_error",
            "peak_bytes",
            "first_call_s",
            "kernel_ms",
            "launch_ms",
        )
        lists = {name: tuple(record.get(name, ())) for name in (*_TIMES, "kernels", "notes")}
        fields: dict[str, Any] = lists | {name: record[name] for name in kept if name in record}
        return cls(**fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """All rows of one case on one machine; ``by`` is the clock that had the larger part of the budget."""

    case: AttentionCase
    device: str
    hardware: dict[str, Any]
    budget_s: float
    rows: tuple[Row, ...]
    by: str = "gpu"
    conditions: dict[str, Any] = field(default_factory=dict)  # ceilings, clocks, power: as they were meanwhile
    from_cache: bool = field(default=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        return {
            "case": self.case.to_json(),
            "device": self.device,
            "hardware": self.hardware,
            "budget_s": self.budget_s,
            "by": self.by,
            "conditions": self.conditions,
            "rows": [row.to_json() for row in self.rows],
        }

    @classmethod
    def from_json(cls, record: dict[str, Any], *, from_cache: bool = False) -> Measurement:
        return cls(
            case=AttentionCase.from_json(record["case"]),
            device=record["device"],
            hardware=record["hardware"],
            budget_s=record["budget_s"],
            rows=tuple(Row.from_json(row) for row in record["rows"]),
            by=record.get("by", "gpu"),
            conditions=record.get("conditions", {}),
            from_cache=from_cache,
        )
