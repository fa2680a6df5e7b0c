"""CSV and Parquet: the tables ``trials`` and ``scalars``, with the columns of ``trials.csv`` and ``scalars.csv``."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from autotune.aggregation import SCALAR_COLUMNS, csv_bytes, scalar_rows, trial_columns, trial_rows
from autotune.files import canonical
from autotune.integrations import library
from autotune.integrations.snapshot import Snapshot, Written, replacing

Table = tuple[str, Iterator[dict[str, Any]], list[str]]  # its name, rows and columns


def export_csv(snapshot: Snapshot, to: str | None) -> Written:
    """Write both tables to the folder ``to``."""
    target = to or snapshot.store.export_path("csv")
    with replacing(snapshot.store, target) as folder:
        os.makedirs(folder)
        for name, rows, columns in _tables(snapshot):
            Path(folder, f"{name}.csv").write_bytes(csv_bytes(rows, columns))
    opens = f"""python -c "import pandas; print(pandas.read_csv('{target}/trials.csv'))\""""
    return Written(f"trials.csv ({len(snapshot.results)} trials) and scalars.csv", target, opens)


def export_parquet(snapshot: Snapshot, to: str | None) -> Written:
    """Write both tables to the folder ``to``; a column whose values are of several types holds them as JSON texts."""
    arrow, parquet = library("pyarrow", "parquet"), library("pyarrow.parquet", "parquet")
    target = to or snapshot.store.export_path("parquet")
    with replacing(snapshot.store, target) as folder:
        os.makedirs(folder)
        for name, rows, columns in _tables(snapshot):
            content = list(rows)
            arrays = {column: _array(arrow, [row.get(column) for row in content]) for column in columns}
            parquet.write_table(arrow.table(arrays), os.path.join(folder, f"{name}.parquet"))
    opens = f"""python -c "import pandas; print(pandas.read_parquet('{target}/trials.parquet'))\""""
    return Written(f"trials.parquet ({len(snapshot.results)} trials) and scalars.parquet", target, opens)


def _tables(snapshot: Snapshot) -> Iterable[Table]:
    results = snapshot.results
    yield "trials", trial_rows(results, snapshot.study), trial_columns(snapshot.study, results)
    yield "scalars", scalar_rows(snapshot.store, results, snapshot.study), SCALAR_COLUMNS


def _array(arrow: Any, values: list[Any]) -> Any:
    try:
        return arrow.array(values)
    except (arrow.ArrowInvalid, arrow.ArrowTypeError, OverflowError):
        return arrow.array([None if value is None else canonical(value) for value in values])
