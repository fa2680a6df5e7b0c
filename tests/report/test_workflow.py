"""The report as part of the workflow: a target, kept up to date once it is there, and in Snakemake's own report."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import autotune
from autotune.records import Outcome, TrialConfig
from autotune.report.data import Data
from autotune.report.write import all_figures, caption
from autotune.storage import StudyDir

Cli = Callable[..., subprocess.CompletedProcess[str]]
Write = Callable[..., Path]


def test_captions_and_outputs_of_the_rule_are_the_figures(study_with: Callable[..., StudyDir], tmp_path: Path) -> None:
    def outcome_of(planned: TrialConfig) -> Outcome:
        return Outcome("complete", metrics={"loss": 1.0})

    names = [figure.name for figure in all_figures(Data.of(study_with(tmp_path, 3, outcome_of)))]
    rule = Path(autotune.snakefile()).with_name("rules").joinpath("report.smk").read_text()
    for name in names:
        assert caption(name)
        assert f'report/{name}.svg", caption="../report/{name}.rst", category=' in " ".join(rule.split())
    assert rule.count("caption=") == len(names)


def test_snakemake_writes_the_report_and_shows_its_figures(
    cli: Cli, write_study: Write, environment: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    write_study(tmp_path, max_trials=25, trials_per_job=25)

    def snakemake(*args: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "snakemake", "--snakefile", autotune.snakefile(), "--cores", "1", *args]
        return subprocess.run(argv, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False)

    assert cli("plan", "study.yaml").returncode == 0
    done = snakemake("report")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / ".autotune/report.html").exists()
    done = snakemake("--report", "snakemake.html")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "snakemake.html").read_text()
    for name in ("history", "importances", "timeline"):
        assert f"{name}.svg" in page
        assert json.dumps(caption(name).split(".")[0])[1:-1].split("'")[0] in page
    for category in ("Outcome", "Parameters", "Execution"):
        assert f'"{category}"' in page


def test_study_says_where_the_report_is_and_keeps_it_up_to_date(cli: Cli, write_study: Write, tmp_path: Path) -> None:
    write_study(tmp_path, max_trials=4)
    report = tmp_path / ".autotune/report.html"
    done = cli("study", "study.yaml")
    assert "`autotune report` draws them" in done.stdout and not report.exists()
    assert cli("report").returncode == 0
    assert "4 of 4 trials done" in report.read_text()
    done = cli("study", "study.yaml", "--max-trials", "6")
    assert done.returncode == 0 and done.stdout.rstrip().endswith("scalars.csv, report.html")
    assert "6 of 6 trials done" in report.read_text()
    written = report.stat().st_mtime_ns
    assert cli("study", "study.yaml", "--max-trials", "6").returncode == 0
    assert report.stat().st_mtime_ns == written


def test_missing_libraries_do_not_stop_a_study(cli: Cli, write_study: Write, tmp_path: Path) -> None:
    write_study(tmp_path, max_trials=2)
    (tmp_path / ".autotune").mkdir()
    (tmp_path / ".autotune/report.html").write_text("of another machine")
    hidden = "import importlib.util\nfind = importlib.util.find_spec\n"
    hidden += "importlib.util.find_spec = lambda name, *args: None if name == 'plotly' else find(name, *args)\n"
    (tmp_path / "sitecustomize.py").write_text(hidden)
    path = f"{tmp_path}:{Path(autotune.__file__).parents[1]}"
    done = cli("study", "study.yaml", env={"PYTHONPATH": path})
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / ".autotune/report.html").read_text() == "of another machine"
