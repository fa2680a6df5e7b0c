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
INDEX = "attn/index.json"  # <log_dir>/attn/index.json: the ids of all planned cells


MEM_MB = 8000  # what a job may take: PyTorch with CUDA alone is about 4000
RUNTIME_MIN = 60  # first calls compile, and the check computes in float64


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One case to be measured on some machine; ``backends`` None is all that are there when it runs."""

    case: AttentionCase
    backends: tuple[str, ...] | None
    device: str | None
    budget_s: float
    margin: float
    by: str = "gpu"

    def to_json(self) -> dict[str, Any]:
        gpus = int(self.device is not None and self.device.startswith("cuda"))  # what Snakemake reserves for the job
        return {
            "id": self.case.id,
            "case": self.case.to_json(),
            "backends": None if self.backends is None else list(self.backends),
            "device": self.device,
            "budget_s": self.budget_s,
            "margin": self.margin,
            "by": self.by,
            "resources": {"gpu": gpus, "mem_mb": MEM_MB, "runtime": RUNTIME_MIN},
        }

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Cell:
        return cls(
            case=AttentionCase.from_json(record["case"]),
            backends=None if record["backends"] is None else tuple(record["backends"]),
            device=record["device"],
            budget_s=record["budget_s"],
            margin=record["margin"],
            by=record.get("by", "gpu"),
        )


def plan_cells(log_dir: str | os.PathLike[str], cells: Sequence[Cell], *, only: bool = False) -> list[Path]:
    """Write one file for each cell and an index of all, only where they change, and return the files of these cells.

    With ``only`` what was planned before and is none of these is not planned any more; its results stay.
    """
    paths = [Path(log_dir, CELLS_FOLDER, f"{cell.case.id}.json") for cell in cells]
    for path, cell in zip(paths, cells, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_if_changed(path, json_bytes(cell.to_json(), indent=True))
    for path in set(Path(log_dir, CELLS_FOLDER).glob("*.json")) - set(paths) if only else ():
        path.unlink(missing_ok=True)
    known = sorted(path.stem for path in Path(log_dir, CELLS_FOLDER).glob("*.json"))
    write_if_changed(Path(log_dir, INDEX), json_bytes({"cells": known}, indent=True))
    return paths


def read_results(log_dir: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Return what was measured so far, in the order of the planned cells.

    Raises:
        FileNotFoundError: nothing is planned there.
    """
    known = read_record(Path(log_dir, INDEX))["cells"]
    paths = [Path(log_dir, RESULTS_FOLDER, f"{cell}.json") for cell in known]
    return [read_record(path) for path in paths if path.exists()]


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
