"""What a measurement of one case came to: a row for each backend, whether it ran or not."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from autotune.bench.case import AttentionCase
from autotune.bench.timing import Samples

STATES = ("ok", "unsupported", "incorrect", "failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One backend on one case; ``ok`` has times and no reason, every other state a reason and no times."""

    backend: str
    state: str
    flops: float
    reason: str | None = None
    times_ms: tuple[float, ...] = ()
    max_error: float | None = None
    peak_bytes: int | None = None

    def __post_init__(self) -> None:
        if self.state not in STATES:
            raise ValueError(f"state must be one of {', '.join(STATES)}, got {self.state!r}")
        if (self.state == "ok") != bool(self.times_ms) or (self.state == "ok") == bool(self.reason):
            raise ValueError(f"a row that is {self.state} has these times and reason: {self.times_ms}, {self.reason!r}")

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
    def interval_ms(self) -> tuple[float, float] | None:
        return Samples(self.times_ms).interval_ms if self.times_ms else None

    @property
    def samples(self) -> int:
        return len(self.times_ms)

    @property
    def tflops(self) -> float | None:
        return self.flops / self.median_ms / 1e9 if self.median_ms else None

    def to_json(self) -> dict[str, Any]:
        """Return the row with its derived figures, for those who read the file; ``from_json`` derives them again."""
        figures = ("median_ms", "p20_ms", "p80_ms", "samples", "tflops")
        return asdict(self) | {name: getattr(self, name) for name in figures} | {"times_ms": list(self.times_ms)}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Row:
        kept = ("backend", "state", "flops", "reason", "max_error", "peak_bytes")
        return cls(times_ms=tuple(record["times_ms"]), **{name: record[name] for name in kept})


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """All rows of one case on one machine."""

    case: AttentionCase
    device: str
    hardware: dict[str, Any]
    budget_s: float
    rows: tuple[Row, ...]
    from_cache: bool = field(default=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        return {
            "case": self.case.to_json(),
            "device": self.device,
            "hardware": self.hardware,
            "budget_s": self.budget_s,
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
            from_cache=from_cache,
        )
