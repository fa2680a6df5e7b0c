"""The page: one HTML file that holds its figures, its table and the library that draws them, compressed."""

from __future__ import annotations

import base64
import gzip
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from autotune.aggregation import trial_columns, trial_rows
from autotune.integrations import library
from autotune.report.data import Data
from autotune.report.failures import failures
from autotune.report.interactive import rounded, to_plotly
from autotune.report.model import Figure
from autotune.report.provenance import provenance

_HERE = Path(__file__).parent


def page(data: Data, figures: Sequence[Figure], captions: dict[str, str], images: dict[str, bytes]) -> bytes:
    """Return the page.

    Args:
        data: the study.
        figures: what is drawn, in order; those that are absent are named with the reason.
        captions: name of a figure to its caption.
        images: title of a picture to the bytes of a PNG file.

    Raises:
        InvalidInput: Plotly or Jinja2 is not installed.
    """
    jinja2, offline = library("jinja2", "report"), library("plotly.offline", "report")
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(_HERE), autoescape=True, trim_blocks=True)
    drawn = [figure for figure in figures if figure.absent is None]
    content = {"table": table(data), "figures": {figure.name: to_plotly(figure) for figure in drawn}}
    text = environment.get_template("page.html").render(
        data=data,
        counts={name: number for name, number in data.summary.to_dict()["counts"].items() if number},
        figures=drawn,
        heights={name: figure["layout"]["height"] for name, figure in content["figures"].items()},
        absent=[figure for figure in figures if figure.absent is not None],
        captions=captions,
        images={title: base64.b64encode(image).decode() for title, image in images.items()},
        failures=failures(data),
        provenance=provenance(data),
        style=(_HERE / "page.css").read_text(encoding="utf-8"),
        script=(_HERE / "page.js").read_text(encoding="utf-8"),
        content=packed(json.dumps(plain(content), separators=(",", ":"), allow_nan=False)),
        plotly=packed(offline.get_plotlyjs()),
    )
    return bytes(text.encode("utf-8", "backslashreplace"))


def table(data: Data) -> dict[str, Any]:
    """Return the table of trials: ``columns`` and, for each, its values."""
    results = data.snapshot.results
    columns = trial_columns(data.study, results)
    rows = list(trial_rows(results, data.study))
    values = [rounded([row.get(column) for row in rows]) for column in columns]
    best = data.summary.best
    return {"columns": columns, "values": values, "best": None if best is None else best.number}


def packed(text: str) -> str:
    """Return a text compressed and in letters, which is a third of its size and holds nothing that HTML could see."""
    return base64.b64encode(gzip.compress(text.encode("utf-8", "backslashreplace"), mtime=0)).decode()


def plain(value: Any) -> Any:
    """Return a value with None for each number that JSON has not."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value
