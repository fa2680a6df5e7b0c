"""The rows of a table, one trial each: a plan that somebody else made."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, final

from autotune.algorithms import check_reset
from autotune.errors import InvalidStudy
from autotune.spaces import Choice, Params, SearchSpace


@final
@dataclass
class RowSearch:
    """The trials of a CSV file (its first line names the parameters) or a JSONL file (an object a line), in order.

    A CSV cell that reads as a JSON number, true, false or null is that value, an empty one is null, all else is text.
    Rows that are appended extend the plan. The seed changes nothing.
    """

    prefix_stable: ClassVar[bool] = True
    uses_seed: ClassVar[bool] = False
    own_space: ClassVar[bool] = True  # the space follows from the rows, so it may grow under a plan
    file: str
    _space: SearchSpace | None = field(default=None, init=False, repr=False, compare=False)

    def reset(self, space: SearchSpace, seed: int) -> None:
        """Start from the beginning."""
        self._space = space

    def suggestions(self, space: SearchSpace, max_trials: int) -> Iterator[Params]:
        """Return the first ``max_trials`` rows; InvalidStudy where the file is none, or `reset` got another space."""
        check_reset(space, self._space)
        return islice(read_rows(self.file), max_trials)


def space_of(rows: list[Params]) -> SearchSpace:
    """Return the space of all values that occur, each parameter's in the order of their first occurrence."""
    options = {name: {(type(row[name]), row[name]): row[name] for row in rows} for name in rows[0]}
    return SearchSpace({name: Choice([*values.values()]) for name, values in options.items()})


def read_rows(path: str) -> Iterator[Params]:
    """Yield the rows of a file.

    Raises:
        InvalidStudy: it cannot be read, has no rows, or rows whose parameters are not those of the first.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise InvalidStudy(f"`trials` must be a CSV or JSONL file, got {path!r}: {why}") from None
    rows = _json_rows(text, path) if path.endswith(".jsonl") else _csv_rows(text, path)
    names: list[str] = []
    for line, row in rows:
        names = names or [*row]
        if sorted(row) != sorted(names):
            raise InvalidStudy(
                f"{path}, line {line}: a row must have the parameters of the first, {', '.join(names)}, "
                f"got {', '.join(row)}"
            )
        yield {name: row[name] for name in names}
    if not names:
        raise InvalidStudy(f"{path} must have at least one row of parameters, got none")


def _csv_rows(text: str, path: str) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.reader(io.StringIO(text))
    header = next(reader, [])
    if len(set(header)) < len(header) or not all(header):
        raise InvalidStudy(f"{path}: the first line must name each parameter once, got {', '.join(header)}")
    for cells in reader:
        if not cells:
            continue
        if len(cells) != len(header):
            raise InvalidStudy(f"{path}, line {reader.line_num}: a row must have {len(header)} cells, got {len(cells)}")
        yield reader.line_num, dict(zip(header, map(_value, cells)))


def _json_rows(text: str, path: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise InvalidStudy(f"{path}, line {number}: a row must be JSON: {error}") from None
        if not isinstance(row, dict) or not row or any(isinstance(value, list | dict) for value in row.values()):
            raise InvalidStudy(f"{path}, line {number}: a row must be an object of plain values, got {line:.60}")
        yield number, row


def _value(cell: str) -> Any:
    if not cell:
        return None
    try:
        value = json.loads(cell)
    except ValueError:
        return cell
    return cell if isinstance(value, list | dict | str) else value
