"""From a study directory to ``report.html`` and ``report/*.svg``."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

import autotune
from autotune.bench import plots
from autotune.bench.cells import read_results
from autotune.bench.rows import Measurement
from autotune.files import write_atomic
from autotune.report.data import Data
from autotune.report.model import Figure
from autotune.report.outcomes import history, pareto, ties
from autotune.report.page import page
from autotune.report.parameters import parameter_figures
from autotune.report.running import curves, durations, rungs, timeline
from autotune.report.static import to_svg
from autotune.storage import AGGREGATE_LOCK, StudyDir

_TITLES = {
    "heatmap": "Attention: backend by shape",
    "speedup": "Attention: what the default loses",
    "roofline": "Attention: roofline",
}


def write_report(store: StudyDir) -> list[Figure]:
    """Write the report of a study as it is now; return its figures, the absent ones with the reason.

    Raises:
        InvalidInput: there is no plan, or a library is missing; nothing was written.
    """
    data = Data.of(store)
    figures = all_figures(data)
    images = _attention(store)
    titles = {_TITLES[name]: content for name, content in images.items()}
    html = page(data, figures, {figure.name: caption(figure.name) for figure in figures}, titles)
    files = {f"{figure.name}.svg": to_svg(figure) for figure in figures}
    files |= {f"{name}.png": content for name, content in images.items()}
    with contextlib.closing(store.lock()) as lock, lock.holding(AGGREGATE_LOCK):
        os.makedirs(store.figure_file(""), exist_ok=True)
        for name, content in files.items():
            write_atomic(store.figure_file(name), content)
        write_atomic(store.report_file, html)
    return figures


def all_figures(data: Data) -> list[Figure]:
    """Return every figure of the report; the workflow's rule lists the files of the same names."""
    of_parameters = parameter_figures(data)
    return [
        *(history(data), pareto(data), ties(data)),
        *of_parameters,
        *(curves(data), rungs(data), timeline(data), durations(data)),
    ]


def caption(name: str) -> str:
    """Return a figure's caption, which Snakemake's own report shows as well."""
    return (Path(autotune.snakefile()).parent / "report" / f"{name}.rst").read_text(encoding="utf-8").strip()


def _attention(store: StudyDir) -> dict[str, bytes]:
    """Return name -> PNG file of what the attention benchmark measured in the study's directory."""
    try:
        records = read_results(store.root)
    except FileNotFoundError:
        return {}
    margin = next((record["margin"] for record in records if record.get("margin") is not None), 0.0)
    with tempfile.TemporaryDirectory() as folder:
        paths = plots.write(folder, [Measurement.from_json(record) for record in records], margin)
        return {path.stem: path.read_bytes() for path in paths}
