"""Measurements as tables: attn.csv has a row for each backend and case, attn_best.json a choice for each case."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from autotune.bench.backends import DEFAULT
from autotune.bench.case import AttentionCase
from autotune.bench.choose import Choice, NoUsableBackend, choose
from autotune.bench.rows import Measurement
from autotune.files import json_bytes, write_if_changed

CSV_NAME, BEST_NAME = "attn.csv", "attn_best.json"
_CASE = (
    "batch",
    "heads",
    "kv_heads",
    "seq_q",
    "seq_kv",
    "d_k",
    "d_v",
    "dtype",
    "causal",
    "window",
    "mask",
    "direction",
    "dropout",
    "layout",
)
_FIGURES = ("median_ms", "p20_ms", "p80_ms", "samples", "eager_ms", "graph_ms", "kernel_ms", "first_call_s")
_CONDITIONS = ("matmul_tflops", "copy_gbs", "sm_clock_mhz", "power_w", "temperature_c", "throttle")
COLUMNS = (
    "case", *_CASE, "backend", "state", "chosen", "tie", "vs_best", *_FIGURES, "tflops", "gbs", "matmul_part",
    "copy_part", "peak_mib", "max_error", "kernel", "reason", *_CONDITIONS,
    "device", "torch", "cuda", "cudnn", "driver",
)  # fmt: skip


def chosen(measurement: Measurement, margin: float) -> Choice | None:
    """Return the choice, or None where no backend is usable."""
    try:
        return choose(measurement, margin)
    except NoUsableBackend:
        return None


def lines(measurement: Measurement, margin: float) -> Iterable[dict[str, Any]]:
    """Yield a record for each backend."""
    choice = chosen(measurement, margin)
    seen, machine = measurement.conditions, measurement.hardware
    for row in measurement.rows:
        ratio = choice.ratios.get(row.backend) if choice is not None else None
        record: dict[str, Any] = {"case": measurement.case.id, "backend": row.backend, "state": row.state}
        record |= {name: getattr(measurement.case, name) for name in _CASE}
        record |= {name: _rounded(getattr(row, name)) for name in (*_FIGURES, "tflops", "gbs", "max_error")}
        record |= {
            "chosen": int(choice is not None and choice == row.backend),
            "tie": int(choice is not None and row.backend in choice.ties),
            "vs_best": None if ratio is None else _rounded(ratio.median),
            "matmul_part": _part(row.tflops, seen.get("matmul_tflops")),
            "copy_part": _part(row.gbs if row.bytes else None, seen.get("copy_gbs")),
            "peak_mib": None if row.peak_bytes is None else round(row.peak_bytes / 2**20, 1),
            "kernel": row.kernels[0] if row.kernels else None,
            "reason": row.reason or "; ".join(row.notes) or None,
        }
        record |= {name: _joined(seen.get(name)) for name in _CONDITIONS}
        yield record | {name: machine.get(name) for name in ("device", "torch", "cuda", "cudnn", "driver")}


def as_csv(measurements: Iterable[Measurement], margin: float) -> bytes:
    """Return attn.csv."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for measurement in measurements:
        writer.writerows(lines(measurement, margin))
    return text.getvalue().encode()


def best(measurements: Iterable[Measurement], margin: float) -> dict[str, Any]:
    """Return attn_best.json: for each case the choice, its ties, and what PyTorch's own would lose."""
    found = []
    for measurement in measurements:
        choice = chosen(measurement, margin)
        record: dict[str, Any] = {"id": measurement.case.id, "case": measurement.case.to_json()}
        record |= {"choice": None if choice is None else str(choice), "ties": list(choice.ties) if choice else []}
        record |= {"regret": _rounded(choice.regret) if choice else None, "by": measurement.by}
        found.append(record | {"device": measurement.hardware.get("device"), "default": DEFAULT})
    return {"margin": margin, "cases": found}


def write(folder: str | os.PathLike[str], measurements: list[Measurement], margin: float) -> list[Path]:
    """Write both tables, only where they change."""
    paths = [Path(folder, CSV_NAME), Path(folder, BEST_NAME)]
    Path(folder).mkdir(parents=True, exist_ok=True)
    write_if_changed(paths[0], as_csv(measurements, margin))
    write_if_changed(paths[1], json_bytes(best(measurements, margin), indent=True))
    return paths


def order(measurement: Measurement) -> tuple[Any, ...]:
    """Sort by what a reader looks for: direction, mask, sizes."""
    case: AttentionCase = measurement.case
    return (case.direction, case.seq_q == 1, case.mask, case.window, case.causal, case.d_k, case.seq_kv, case.batch)


def _rounded(value: Any) -> Any:
    return float(f"{value:.5g}") if isinstance(value, float) else value


def _part(value: float | None, whole: float | None) -> float | None:
    return round(value / whole, 3) if value and whole else None


def _joined(value: Any) -> Any:
    return (
        "/".join(f"{one:.0f}" if isinstance(one, float) else str(one) for one in value)
        if isinstance(value, list)
        else value
    )
