"""What tests share: the command line in a process of its own, a study to run it on, and when to skip."""

from __future__ import annotations

import glob
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]

# No deadline: a busy machine is no failure. In CI the same examples every time.
settings.register_profile("autotune", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("autotune")

# Appends its trial's number to executions.txt beside it, so that a test can count what was executed.
OBJECTIVE = """\
from pathlib import Path


def objective(params, trial):
    with open(Path(__file__).with_name("executions.txt"), "a") as log:
        log.write(f"{trial.number}\\n")
    return {"loss": (params["x"] - 0.3) ** 2}
"""

STUDY: dict[str, Any] = {
    "objective": "objective:objective",
    "metric": "loss",
    "mode": "min",
    "algo": "random",
    "seed": 1337,
    "max_trials": 4,
    "trials_per_job": 2,
    "space": {"x": {"type": "uniform", "low": 0.0, "high": 1.0}},
    "log_dir": ".autotune",
}

# What a developer's or a cluster's shell may set, and would change what a test sees.
_LEAKS = ("AUTOTUNE_", "SNAKEMAKE_", "SLURM_", "CUDA_VISIBLE_DEVICES", "FORCE_COLOR", "PYTHONWARNINGS")


def child_environment(**extra: str) -> dict[str, str]:
    """Return a child's environment: this checkout and this interpreter's programs first, nothing that leaks in."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_LEAKS)}
    path = os.pathsep.join([os.path.dirname(sys.executable), kept.get("PATH", os.defpath)])
    return {**kept, "PATH": path, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "COLUMNS": "120", **extra}


@pytest.fixture
def environment() -> Callable[..., dict[str, str]]:
    """``environment(NAME="value")``: the environment for a program that a test starts by itself."""
    return child_environment


@pytest.fixture
def cli(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """``cli("plan", "study.yaml", cwd=folder)``: run the command line to its end and return what came of it."""

    def run(
        *args: str | os.PathLike[str],
        cwd: str | os.PathLike[str] = tmp_path,
        env: dict[str, str] | None = None,
        timeout: float = 300,
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "autotune.cli", *map(os.fspath, args)],
            cwd=cwd,
            env=child_environment(**(env or {})),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
        )

    return run


@pytest.fixture
def write_study() -> Callable[..., Path]:
    """``write_study(folder, max_trials=8)``: write study.yaml and objective.py there; return the study file.

    A key that is None is left out; ``source`` is the text of objective.py.
    """

    def write(folder: Path, *, source: str = OBJECTIVE, **keys: Any) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "objective.py").write_text(source)
        study = {key: value for key, value in {**STUDY, **keys}.items() if value is not None}
        path = folder / "study.yaml"
        path.write_text(yaml.safe_dump(study, sort_keys=False))
        return path

    return write


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs a GPU where there is none."""
    if item.get_closest_marker("gpu") and not glob.glob("/dev/nvidia[0-9]*"):
        pytest.skip("needs a CUDA device, and this machine has none")
