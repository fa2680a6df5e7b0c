"""The main job through the real command line and the real Snakemake: plan, run, fail, mend, resume, extend."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import autotune

SPACE = {
    "lr": {"type": "loguniform", "low": 1e-5, "high": 5e-3},
    "batch_size": {"type": "choice", "options": [8, 16, 32]},
}

# Appends to calls.txt at every execution; trial 3 raises and trial 7 is killed until the file `mended` is there.
OBJECTIVE = """
import os
from pathlib import Path

def objective(params, trial):
    with open("calls.txt", "a") as calls:
        calls.write(f"{trial.number}\\n")
    if not Path("mended").exists():
        if trial.number == 3:
            raise ValueError("three is bad")
        if trial.number == 7:
            os.kill(os.getpid(), 9)
    trial.log("curve", 1.0)
    return {"loss": params["lr"], "other": params["batch_size"]}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a study of 20 trials, 5 a job."""
    study = {"objective": "work:objective", "space": SPACE, "algo": "sobol", "max_trials": 20, "trials_per_job": 5}
    (tmp_path / "study.yaml").write_text(json.dumps(study))
    (tmp_path / "work.py").write_text(OBJECTIVE)
    return tmp_path


def run(project: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    """Run ``autotune`` in the project."""
    return subprocess.run(
        [sys.executable, "-m", "autotune.cli", *argv],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def snakemake(project: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    """Run bare Snakemake, as a user would after ``autotune plan``."""
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "-s",
        autotune.snakefile(),
        "--profile",
        autotune.profile("local"),
        *argv,
    ]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=300, check=False)


def calls(project: Path) -> Counter[int]:
    """Return how often each trial was executed."""
    path = project / "calls.txt"
    return Counter(int(line) for line in path.read_text().split()) if path.exists() else Counter()


def tree(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_two_of_twenty_fail_and_only_they_run_again(project: Path) -> None:
    first = run(project, "study", "study.yaml")
    assert first.returncode == 1
    assert "ValueError: three is bad" in first.stdout
    assert "SIGKILL" in first.stdout
    assert first.stdout.splitlines()[-1].startswith("of 20 trials 2 failed; the same command runs exactly these again")
    states = Counter(json.loads(path.read_bytes())["state"] for path in (project / ".autotune/trials").iterdir())
    assert states == {"complete": 18, "failed": 2}
    assert json.loads((project / ".autotune/best.json").read_bytes())["value"] is not None
    assert (project / ".autotune/scalars.csv").read_text().startswith("step,tag,value,time\n")
    assert calls(project) == Counter(range(20))

    (project / "mended").touch()
    second = snakemake(project)
    assert second.returncode == 0, second.stderr
    assert calls(project) == Counter(range(20)) + Counter([3, 7])
    again = json.loads((project / ".autotune/trials/trial_00003.json").read_bytes())
    assert (again["state"], again["attempt"]) == ("complete", 2)
    assert "Nothing to be done" in snakemake(project).stderr


def test_planning_again_changes_no_byte_and_makes_no_work(project: Path) -> None:
    (project / "mended").touch()
    assert run(project, "plan", "study.yaml").returncode == 0
    planned = tree(project / ".autotune")
    shutil.copytree(project / ".autotune", project / "copy")
    assert run(project, "plan", "study.yaml").returncode == 0
    assert tree(project / ".autotune") == planned == tree(project / "copy")
    assert run(project, "plan", "study.yaml", "--log-dir", "elsewhere").returncode == 0
    assert tree(project / "elsewhere") == planned
    assert snakemake(project).returncode == 0
    stamps = {path: path.stat().st_mtime_ns for path in (project / ".autotune").rglob("*")}
    assert run(project, "plan", "study.yaml").returncode == 0
    assert {path: path.stat().st_mtime_ns for path in (project / ".autotune").rglob("*")} == stamps
    assert "Nothing to be done" in snakemake(project).stderr


@pytest.mark.parametrize("algo", ["random", "sobol", "grid", "lhs"])
def test_raising_max_trials_runs_exactly_the_new_ones(project: Path, algo: str) -> None:
    (project / "mended").touch()
    options = ("--algo", algo, "--algo-options", "grid_points=30") if algo == "grid" else ("--algo", algo)
    assert run(project, "study", "study.yaml", *options, "--max-trials", "8").returncode == 0
    kept = tree(project / ".autotune/configs")
    more = run(project, "study", "study.yaml", *options, "--max-trials", "16")
    assert more.returncode == 0, more.stderr
    assert calls(project) == Counter(range(16))
    assert kept.items() <= tree(project / ".autotune/configs").items()
    assert ("block" in more.stderr) == (algo == "lhs")


def test_changed_space_is_refused_and_fresh_keeps_what_recurs(project: Path) -> None:
    (project / "mended").touch()
    grid = ("--algo", "grid", "--algo-options", "grid_points=2", "--max-trials", "100")
    assert run(project, "study", "study.yaml", *grid).returncode == 0
    assert calls(project) == Counter(range(6))
    before = tree(project)
    wider = {**SPACE, "batch_size": {"type": "choice", "options": [8, 16, 32, 64]}}
    (project / "wider.json").write_text(json.dumps(wider))
    refused = run(project, "study", "study.yaml", *grid, "--space", "wider.json")
    assert refused.returncode == 2
    assert "batch_size" in refused.stderr
    assert "--fresh" in refused.stderr
    assert "--log-dir" in refused.stderr
    assert {name: data for name, data in tree(project).items() if name != "wider.json"} == before
    fresh = run(project, "study", "study.yaml", *grid, "--space", "wider.json", "--fresh")
    assert fresh.returncode == 0, fresh.stderr
    assert sum(calls(project).values()) == 8  # of the 8 points 6 recur, though under other numbers
    assert (project / ".autotune/archive/001/study.json").exists()


def test_dry_run_writes_nothing_and_counts_what_is_done(project: Path) -> None:
    (project / "mended").touch()
    before = tree(project)
    dry = run(project, "plan", "study.yaml", "--dry-run")
    assert dry.returncode == 0
    assert "20 trials would be planned" in dry.stdout
    assert tree(project) == before
    assert run(project, "study", "study.yaml").returncode == 0
    before = tree(project)
    dry = run(project, "plan", "study.yaml", "--dry-run", "--max-trials", "30")
    assert "10 configs new or changed, 20 trials done already, 2 of 6 jobs to run" in dry.stdout
    assert tree(project) == before


def test_status_and_retry(project: Path) -> None:
    assert run(project, "study", "study.yaml", "--on-failure", "record").returncode == 0
    status = json.loads(run(project, "status", "--json").stdout)
    assert status["counts"] == {"complete": 18, "failed": 2, "infeasible": 0, "missing": 0, "pruned": 0, "running": 0}
    assert {tuple(group["trials"]) for group in status["failures"]} == {(3,), (7,)}
    assert status["best"]["number"] is not None
    (project / "mended").touch()
    assert run(project, "study", "study.yaml", "--on-failure", "record").returncode == 0
    assert calls(project) == Counter(range(20))
    assert "2 trials will run again" in run(project, "retry").stdout
    done = run(project, "study", "study.yaml", "--on-failure", "record")
    assert done.returncode == 0
    assert calls(project) == Counter(range(20)) + Counter([3, 7])
    assert "20 of 20 trials done (20 complete)" in done.stdout


def test_init_writes_a_project_that_runs_as_it_stands(tmp_path: Path) -> None:
    assert run(tmp_path, "init", "demo").returncode == 0
    demo = tmp_path / "demo"
    assert run(demo, "plan").returncode == 0
    plain = subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "2"],
        cwd=demo,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert plain.returncode == 0, plain.stderr
    assert json.loads((demo / ".autotune/best.json").read_bytes())["value"] < 0.02
    # The SLURM profile, executed on this machine: the literal name is found, and the local run left it nothing to do.
    slurm = subprocess.run(
        [sys.executable, "-m", "snakemake", "--profile", "slurm", "--executor", "local", "--cores", "1", "-n"],
        cwd=demo,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert "Nothing to be done" in slurm.stdout + slurm.stderr
    refused = run(tmp_path, "init", "demo")
    assert refused.returncode == 2
    assert "must not overwrite" in refused.stderr
