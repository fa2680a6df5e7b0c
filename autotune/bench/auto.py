"""``options: auto`` in a search space: the attention backends that were found usable for the study's shapes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autotune.bench import cache
from autotune.bench.attn import check_backends, packages
from autotune.bench.cells import RESULTS_FOLDER, Cell
from autotune.bench.hardware import fingerprint, resolve_device
from autotune.bench.rows import Measurement
from autotune.errors import InvalidInput, InvalidStudy
from autotune.files import read_record
from autotune.storage import StudyDir


def resolved(space: Mapping[str, Any], cells: Sequence[Cell], store: StudyDir, *, fresh: bool) -> dict[str, Any]:
    """Return a space with plain lists instead of ``auto``.

    Where the study is planned already its list stays, whatever was measured since: a plan does not change by itself.

    Raises:
        InvalidStudy: the study has no attention shapes, they are not measured, or no backend can do all of them.
    """
    names = [name for name, one in space.items() if isinstance(one, Mapping) and one.get("options") == "auto"]
    planned = store.read_study()["space"] if os.path.exists(store.study_file) and not fresh else {}
    if all(isinstance(planned.get(name), Mapping) and "options" in planned[name] for name in names):
        lists = {name: planned[name]["options"] for name in names}
    else:
        lists = dict.fromkeys(names, usable(names[0], cells, store))
    return {
        name: {**parameter, "options": lists[name]} if name in lists else parameter for name, parameter in space.items()
    }


def usable(name: str, cells: Sequence[Cell], store: StudyDir) -> list[str]:
    """Return the backends that are right on every shape, as the study's own jobs or the cache here have it."""
    if not cells:
        raise InvalidStudy(f"`space.{name}.options` can be auto only in a study with a block `attention:`, got none")
    found = [_known(cell, store) for cell in cells]
    missing = [str(cell.case) for cell, measurement in zip(cells, found) if measurement is None]
    if missing:
        raise InvalidStudy(
            f"`space.{name}.options: auto` needs every shape under `attention:` measured before the study is planned, "
            f"but {len(missing)} of {len(cells)} are not, such as {missing[0]}; `autotune bench-attn --study FILE` "
            f"measures them on this machine, with `--plan-cells {store.root}` and `snakemake {store.root}/attn.csv` "
            "it is done by jobs"
        )
    sets = [{row.backend for row in one.rows if row.state == "ok"} for one in found if one is not None]
    names = [row.backend for row in found[0].rows] if found[0] is not None else []
    both = [backend for backend in names if all(backend in one for one in sets)]
    if not both:
        raise InvalidStudy(f"`space.{name}.options: auto` found no attention backend that can do all shapes here")
    return both


def _known(cell: Cell, store: StudyDir) -> Measurement | None:
    """Return what is known of a shape: the result of the study's job, else what this machine keeps of it."""
    path = Path(store.root, RESULTS_FOLDER, f"{cell.case.id}.json")
    if path.exists():
        return Measurement.from_json(read_record(path))
    try:
        place = resolve_device(cell.device)
    except InvalidInput:  # no GPU here, on a login node, say
        return None
    by = "gpu" if place == "cpu" else cell.by
    return cache.load(fingerprint(place, packages()), cell.case, check_backends(cell.backends), cell.budget_s, by)
