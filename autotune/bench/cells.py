"""Attention cases as files: a planned cell goes in, a measured result comes out; Snakemake runs what lies between."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotune.bench.case import AttentionCase
from autotune.errors import UnreadableFile
from autotune.files import json_bytes, read_record, write_atomic, write_if_changed

CELLS_FOLDER = "attn/cells"  # <log_dir>/attn/cells/<id>.json: planned
RESULTS_FOLDER = "attn/results"  # <log_dir>/attn/results/<id>.json: measured


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One case to be measured on some machine; ``backends`` None is all that are there when it runs."""

    case: AttentionCase
    backends: tuple[str, ...] | None
    device: str | None
    budget_s: float
    margin: float

    def to_json(self) -> dict[str, Any]:
        gpus = int(self.device is not None and self.device.startswith("cuda"))  # what Snakemake reserves for the job
        return {
            "id": self.case.id,
            "case": self.case.to_json(),
            "backends": None if self.backends is None else list(self.backends),
            "device": self.device,
            "budget_s": self.budget_s,
            "margin": self.margin,
            "resources": {"gpu": gpus},
        }

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Cell:
        return cls(
            case=AttentionCase.from_json(record["case"]),
            backends=None if record["backends"] is None else tuple(record["backends"]),
            device=record["device"],
            budget_s=record["budget_s"],
            margin=record["margin"],
        )


def plan_cells(log_dir: str | os.PathLike[str], cells: Sequence[Cell]) -> list[Path]:
    """Write one file for each cell, only where it changes, and return them all."""
    paths = [Path(log_dir, CELLS_FOLDER, f"{cell.case.id}.json") for cell in cells]
    for path, cell in zip(paths, cells, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_if_changed(path, json_bytes(cell.to_json(), indent=True))
    return paths


def read_cell(path: str | os.PathLike[str]) -> Cell:
    """Read a planned cell.

    Raises:
        FileNotFoundError: there is no such file.
        UnreadableFile: it is not whole, of a later version, or no cell.
    """
    record = read_record(path)
    try:
        return Cell.from_json(record)
    except (LookupError, TypeError) as error:
        raise UnreadableFile(f"{os.fspath(path)} must be a planned attention cell, but has no {error}") from None


def write_result(path: str | os.PathLike[str], result: dict[str, Any]) -> None:
    """Write a measured result, whole or not at all."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, json_bytes(result, indent=True))
