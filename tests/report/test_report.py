"""The report of real studies: what is drawn, what is told, and that a study's texts stay texts."""

from __future__ import annotations

import os
import re
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autotune.records import Outcome, Result, TrialConfig
from autotune.report.data import Data, thinned
from autotune.report.failures import log_tail
from autotune.report.outcomes import history
from autotune.report.parameters import parameter_figures
from autotune.report.provenance import provenance
from autotune.report.running import lanes, timeline
from autotune.report.write import write_report
from autotune.storage import StudyDir

ROOT = Path(__file__).parents[2]

Cli = Callable[..., subprocess.CompletedProcess[str]]
Write = Callable[..., Path]
StudyWith = Callable[..., StudyDir]
Content = Callable[[str], dict[str, Any]]

FIGURES = {
    *("history", "pareto", "ties", "importances", "parallel", "slices", "contour", "curves", "rungs"),
    *("timeline", "durations"),
}

SOURCE = """\
import math


def objective(params, trial):
    if params["opt"] != "adam" and params["lr"] > 0.01:
        print("first line\\n<b>the end of the log</b>")
        raise ValueError("diverged: <i>lr</i> is too high")
    loss = (math.log10(params["lr"]) + 3) ** 2 + params.get("momentum", 0.5)
    for step in range(5):
        trial.report(step, loss + 1 / (step + 1))
    return {"loss": loss, "memory_gb": params["layers"] * 2.0}
"""
SPACE = {
    "lr": {"type": "loguniform", "low": 1e-5, "high": 0.1},
    "layers": {"type": "int", "low": 1, "high": 9},
    "opt": {"type": "choice", "options": ["adam", "<script>alert(1)</script>"]},
    "momentum": {"type": "uniform", "low": 0.0, "high": 0.99, "when": "opt == 'adam'"},
}


def loss_of(planned: TrialConfig) -> Outcome:
    return Outcome("complete", metrics={"loss": planned.params["lr"] + planned.params["layers"]})


def svg_texts(folder: Path) -> dict[str, str]:
    """Return the texts of each SVG file, which must be well-formed."""
    return {path.stem: "\n".join(ET.parse(path).getroot().itertext()) for path in folder.glob("*.svg")}


def test_page_of_a_study_with_failures_curves_and_two_metrics(
    cli: Cli, write_study: Write, content: Content, tmp_path: Path
) -> None:
    import plotly.graph_objects as go

    metrics = [{"name": "loss"}, {"name": "memory_gb"}]
    keys = {"space": SPACE, "metrics": metrics, "metric": None, "mode": None, "on_failure": "record"}
    write_study(tmp_path, source=SOURCE, max_trials=60, trials_per_job=30, **keys)
    assert cli("study", "study.yaml", "-j", "2").returncode == 0
    done = cli("report")
    assert done.returncode == 0, done.stderr
    assert "not drawn: rungs: the study has no `fidelity`" in done.stdout
    page = (tmp_path / ".autotune/report.html").read_text()
    # Nothing is fetched, and texts of the study are no markup.
    assert not re.findall(r'(?:src|href)="(?!#|data:)[^"]*', page)
    assert "<script>alert" not in page and "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "diverged: &lt;i&gt;lr&lt;/i&gt; is too high" in page
    assert "&lt;b&gt;the end of the log&lt;/b&gt;" in page
    data = content(page)
    assert set(data["figures"]) == FIGURES - {"ties", "rungs"}
    for figure in data["figures"].values():
        go.Figure(figure)  # raises where Plotly has no such property
        drawn = str({name: item for name, item in figure.items() if figure["data"][0]["type"] != "parcoords"})
        assert "<script" not in drawn  # Plotly reads some HTML, but not in parallel coordinates
    assert len(data["table"]["values"][0]) == 60
    texts = svg_texts(tmp_path / ".autotune/report")
    assert set(texts) == FIGURES
    assert "<script>alert(1)</script>" in texts["slices"]
    assert "memory_gb" in texts["pareto"] and "the study has no `fidelity`" in texts["rungs"]


def test_rungs_of_halving(cli: Cli, write_study: Write, content: Content, tmp_path: Path) -> None:
    source = "def objective(params, trial):\n    return params['x'] + 1 / params['epochs']\n"
    write_study(tmp_path, source=source, algo="hyperband", fidelity={"name": "epochs", "max": 9}, max_trials=22)
    assert cli("study", "study.yaml", "-j", "2").returncode == 0
    assert cli("report").returncode == 0
    figure = content((tmp_path / ".autotune/report.html").read_text())["figures"]["rungs"]
    top = next(trace for trace in figure["data"] if trace["name"] == "reached the top")
    assert 9 in top["x"] and figure["layout"]["xaxis"]["title"]["text"] == "epochs"


def test_ties_of_repeats(cli: Cli, write_study: Write, content: Content, tmp_path: Path) -> None:
    source = (
        "import random\n\n\ndef objective(params, trial):\n"
        "    return params['x'] + random.Random(f'{trial.seed} {params}').gauss(0, 0.1)\n"
    )
    space = {"x": {"type": "choice", "options": [0.0, 0.01, 2.0, 4.0]}}
    write_study(tmp_path, source=source, space=space, repeats={"min": 3, "max": 6}, max_trials=20, batch_size=8)
    assert cli("study", "study.yaml", "-j", "2").returncode == 0
    assert cli("report").returncode == 0
    (trace,) = content((tmp_path / ".autotune/report.html").read_text())["figures"]["ties"]["data"]
    assert len(trace["x"]) == 2 and min(trace["error_x"]["array"]) > 0 and min(trace["error_x"]["arrayminus"]) > 0


def test_a_plan_without_results_has_a_report(study_with: StudyWith, tmp_path: Path) -> None:
    store = study_with(tmp_path, 4, loss_of)
    for number in range(4):
        os.unlink(store.result_file(number))
    assert all(figure.absent for figure in write_report(store))
    assert "No trial has completed yet" in (tmp_path / "report.html").read_text()


def test_no_plan_is_a_sentence(cli: Cli) -> None:
    done = cli("report")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "run `autotune plan` first" in done.stderr


@pytest.mark.parametrize("library", ["plotly", "matplotlib", "jinja2"])
def test_missing_library_is_a_sentence_and_nothing_is_written(
    library: str, cli: Cli, study_with: StudyWith, tmp_path: Path
) -> None:
    study_with(tmp_path / ".autotune", 3, loss_of)
    done = cli("report", env=without(library, tmp_path))
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "pip install 'autotune[report]'" in done.stderr
    assert not (tmp_path / ".autotune/report.html").exists()


def test_without_optuna_only_what_needs_it_is_left_out(cli: Cli, study_with: StudyWith, tmp_path: Path) -> None:
    study_with(tmp_path / ".autotune", 30, loss_of)
    done = cli("report", env=without("optuna", tmp_path))
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if "pip install 'autotune[optuna]'" in line]
    assert [line.split(":")[1] for line in lines] == [
        " parameter importances",
        " contour of the two parameters that matter most",
    ]


def without(library: str, folder: Path) -> dict[str, str]:
    """Return an environment in which a library does not load."""
    (folder / "hidden" / library).mkdir(parents=True)
    (folder / "hidden" / library / "__init__.py").write_text("raise ImportError('hidden')")
    return {"PYTHONPATH": f"{folder / 'hidden'}{os.pathsep}{ROOT}"}


def test_the_parameter_that_decides_matters_most(study_with: StudyWith, tmp_path: Path) -> None:
    data = Data.of(study_with(tmp_path, 60, loss_of))
    importance, parallel, slices, contour = parameter_figures(data)
    (panel,) = importance.panels
    assert panel.y.labels[-1] == "layers"
    assert parallel.parallel is not None and None in parallel.parallel.values[3]  # momentum, where it is inactive
    assert [one.x.title for one in slices.panels] == ["lr", "layers", "opt", "momentum"]
    assert slices.panels[0].x.log and slices.panels[2].x.labels[0] == "adam"
    assert len(slices.panels[3].series[0].x) < 60
    assert "layers" in contour.title
    surface = contour.panels[0].series[0]
    assert len(surface.z) == len(surface.y) and len(surface.z[0]) == len(surface.x)


def test_best_so_far_only_gets_better(study_with: StudyWith, tmp_path: Path) -> None:
    data = Data.of(study_with(tmp_path, 40, loss_of, mode="max"))
    steps = history(data).panels[0].series[-1]
    assert steps.name == "best so far"
    assert list(steps.y) == sorted(steps.y, key=float) and steps.x[-1] == 39
    assert steps.y[-1] == max(result.metrics["loss"] for result in data.candidates)


def test_workers_and_their_share_of_the_time(study_with: StudyWith, tmp_path: Path) -> None:
    data = Data.of(study_with(tmp_path, 40, loss_of))
    (panel,) = timeline(data).panels
    # Ten trials of 9 s each on every GPU, one every 10 s: 90 of 99 s.
    assert panel.y.labels == tuple(f"node0 GPU {gpu} (91% busy)" for gpu in (3, 2, 1, 0))


def test_trials_side_by_side_are_lanes_of_their_own() -> None:
    outcome = Outcome("complete", metrics={"loss": 1.0})
    times = [(0.0, 10.0), (5.0, 10.0), (10.0, 2.0), (12.5, 1.0), (15.0, 1.0)]
    results = [Result(k, "id", {}, outcome, 1, start, took, "host") for k, (start, took) in enumerate(times)]
    found = [(name, [result.number for result in worked]) for name, worked in lanes(results)]
    assert found == [("host #1", [0, 2, 3, 4]), ("host #2", [1])]


def test_an_even_selection_is_drawn_of_many() -> None:
    assert thinned(list(range(10)), 5) == [0, 2, 4, 6, 8]
    assert thinned([1, 2], 5) == [1, 2]


def test_the_end_of_a_long_log(study_with: StudyWith, tmp_path: Path) -> None:
    store = study_with(tmp_path, 1, loss_of)
    os.makedirs(store.work_dir(0))
    Path(store.stdout_file(0)).write_text("".join(f"line {number}\n" for number in range(10_000)))
    assert log_tail(store, 0).splitlines() == [f"line {number}" for number in range(9970, 10_000)]
    assert log_tail(store, 7) == ""


def test_commit_and_changes_of_the_users_code(
    study_with: StudyWith, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Data.of(study_with(tmp_path / ".autotune", 2, loss_of))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))

    def code() -> dict[str, str]:
        return dict(provenance(data)["Code, as it was when this report was written"])

    assert code()["commit"].startswith("none")
    (tmp_path / "code.py").write_text("x = 1\n")
    user = ("-c", "user.name=A", "-c", "user.email=a@b.c")
    for args in (["init", "-q"], ["add", "code.py"], [*user, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", *args], cwd=tmp_path, check=True)
    assert re.fullmatch("[0-9a-f]{40}", code()["commit"]) and code()["state"].startswith("clean")
    (tmp_path / "code.py").write_text("x = 2\n")
    assert code()["state"] == "dirty: 1 files differ from the commit"
    assert ("4 trials on", "node0, GPU 0") not in provenance(data)["Hardware"]
    assert ("1 trials on", "node0, GPU 0") in provenance(data)["Hardware"]


def test_attention_pictures_are_in_the_page(study_with: StudyWith, cli: Cli, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    study_with(tmp_path / ".autotune", 2, loss_of)
    shape = ("--seq", "64", "--heads", "2", "--d-k", "16", "--dtype", "fp32", "--device", "cpu")
    planned = cli("bench-attn", *shape, "--plan-cells", ".autotune")
    assert planned.returncode == 0, planned.stderr
    (cell,) = (tmp_path / ".autotune/attn/cells").glob("*.json")
    out = tmp_path / ".autotune/attn/results" / cell.name
    measured = cli("bench-attn", "--cell", cell, "--out", out, "--no-cache")
    assert measured.returncode == 0, measured.stderr
    assert cli("report").returncode == 0
    assert "Attention: backend by shape" in (tmp_path / ".autotune/report.html").read_text()
    assert (tmp_path / ".autotune/report/heatmap.png").read_bytes().startswith(b"\x89PNG")
