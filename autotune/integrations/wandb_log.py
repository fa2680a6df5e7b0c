"""Reads what a run of Weights & Biases has in its ``.wandb`` file.

The file is a log of LevelDB's format (https://github.com/google/leveldb/blob/main/doc/log_format.md) behind seven bytes
of its own; each entry is a protocol buffer, for which the package ``wandb`` has the classes.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autotune.integrations import library

_FILE_HEADER_BYTES = 7
_BLOCK_BYTES = 32768
_HEADER = struct.Struct(
    "<IHB"
)  # checksum, length, and whether it is all (1), the first (2), middle (3) or last (4) part
_ALL, _LAST = 1, 4


@dataclass
class History:
    """What runs logged: (time in seconds, key, step, value), in order, and the last value of each key."""

    rows: list[tuple[float, str, int, float]] = field(default_factory=list)
    summary: dict[str, float] = field(default_factory=dict)


def read_history(folder: Path) -> History:
    """Return the numbers that the runs below a folder logged."""
    history = History()
    for path in sorted(folder.rglob("*.wandb")):
        explicit: dict[str, float] = {}
        for record in read_records(path):
            if record.HasField("history"):
                _add_row(history, _numbers(record.history.item))
            elif record.HasField("summary"):
                explicit |= _numbers(record.summary.update)
        history.summary |= {name: value for name, value in explicit.items() if not name.startswith("_")}
    return history


def read_records(path: Path) -> Iterator[Any]:
    """Yield the records of a ``.wandb`` file; the end that a kill cut off is not there."""
    make = library("wandb.proto.wandb_internal_pb2", "wandb").Record
    for data in _entries(path.read_bytes()):
        record = make()
        record.ParseFromString(data)
        yield record


def _entries(data: bytes) -> Iterator[bytes]:
    place, parts = _FILE_HEADER_BYTES, b""
    while place + _HEADER.size <= len(data):
        left = _BLOCK_BYTES - place % _BLOCK_BYTES
        if left < _HEADER.size:  # the end of a block, too short for a header
            place += left
            continue
        _, length, kind = _HEADER.unpack_from(data, place)
        place += _HEADER.size
        if kind == 0 or place + length > len(data):
            return
        parts += data[place : place + length]
        place += length
        if kind in (_ALL, _LAST):
            yield parts
            parts = b""


def _add_row(history: History, numbers: dict[str, float]) -> None:
    time_s, step = numbers.get("_timestamp", 0.0), int(numbers.get("_step", 0))
    for key, value in numbers.items():
        if not key.startswith("_"):
            history.rows.append((time_s, key, step, value))
            history.summary[key] = value


def _numbers(items: Any) -> dict[str, float]:
    """Return key -> value of those that are numbers."""
    found = {}
    for item in items:
        value = json.loads(item.value_json)
        value = float(value) if value in ("NaN", "Infinity", "-Infinity") else value
        if isinstance(value, int | float):
            found[item.key or "/".join(item.nested_key)] = float(value)
    return found
