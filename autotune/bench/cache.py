"""Measurements that are kept: one JSON file for each machine and case, under $AUTOTUNE_CACHE or ~/.cache/autotune."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from autotune.bench.case import AttentionCase
from autotune.bench.rows import Measurement
from autotune.bench.timing import CLOCKS
from autotune.errors import AutotuneError
from autotune.files import LockFile, digest, json_bytes, read_record, write_atomic

METHOD = 3  # counts up when the gate or the timer changes so that older figures no longer compare


def folder() -> Path:
    """Return the folder of the cache; it need not exist."""
    root = os.environ.get("AUTOTUNE_CACHE")
    return (Path(root) if root else Path.home() / ".cache" / "autotune") / "attn"


def path_of(hardware: dict[str, Any], case: AttentionCase, by: str = CLOCKS[0]) -> Path:
    """Return the file for a case on a machine, sampled most by one clock."""
    name = case.id if by == CLOCKS[0] else f"{case.id}-{by}"
    return folder() / digest({"method": METHOD, **hardware}) / f"{name}.json"


def load(
    hardware: dict[str, Any], case: AttentionCase, backends: Sequence[str], budget_s: float, by: str = "gpu"
) -> Measurement | None:
    """Return the rows of these backends, if all are kept and no smaller budget cut them short; a bad file is a miss."""
    try:
        kept = Measurement.from_json(read_record(path_of(hardware, case, by)), from_cache=True)
    except (OSError, AutotuneError, RuntimeError, LookupError, TypeError, ValueError):
        return None
    rows = {row.backend: row for row in kept.rows}
    if kept.case != case or kept.by != by or not set(backends) <= set(rows):
        return None
    if kept.conditions.get("stopped") == "budget" and kept.budget_s < budget_s:
        return None
    return replace(kept, rows=tuple(rows[name] for name in backends))


def store(measurement: Measurement) -> bool:
    """Keep a measurement; return False where the folder cannot be written, which is no error."""
    path = path_of(measurement.hardware, measurement.case, measurement.by)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = LockFile(path.parent / ".lock")  # several ranks of one job may finish together
        try:
            with lock.holding(0):
                write_atomic(path, json_bytes(measurement.to_json()))
        finally:
            lock.close()
    except OSError:
        return False
    return True
