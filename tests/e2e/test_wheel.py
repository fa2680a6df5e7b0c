"""The lines that users hold, typed literally in an empty folder where only the built wheel is installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

API = """
from autotune import Study, StudyConfig
from autotune.spaces import SearchSpace, Choice, IntRange, Uniform, LogUniform
from autotune.algorithms.random import RandomSearch
from autotune.algorithms.grid import GridSearch
from autotune.algorithms.sobol import SobolSearch
from autotune.algorithms.lhs import LatinHypercubeSearch
from autotune.bench.attn import select_fastest_backend

space = SearchSpace({
    "lr": LogUniform(1e-5, 5e-3),
    "batch_size": Choice([8, 16, 32]),
    "attn_backend": Choice(["torch", "xformers", "flash2"]),
    "seq_len": IntRange(128, 513, 128),
    "dropout": Uniform(0, 0.5),
})

def objective(params, trial):
    return 1.0  # placeholder

cfg = StudyConfig(metric="loss", mode="min", max_trials=20, log_dir=".autotune")
seen = []
study = Study(cfg, space, RandomSearch(seed=1337), callbacks=[lambda trial: seen.append(trial.value)])
best = study.optimize(objective)
print("best params:", best)
assert seen == [1.0] * 20 and best["seq_len"] in (128, 256, 384, 512), (seen, best)
"""

SHELL = r"""
cat > space.json << 'JSON'
{
  "lr": {"type": "loguniform", "low": 1e-5, "high": 5e-3},
  "batch_size": {"type": "choice", "options": [8, 16, 32]},
  "attn_backend": {"type": "choice", "options": ["torch", "xformers", "flash2"]}
}
JSON
mkdir mypkg
cat > mypkg/objectives.py << 'PY'
def train_eval(params, trial):
    return params["lr"] * params["batch_size"]
PY

python -m autotune.cli study \
  --objective mypkg.objectives:train_eval \
  --space space.json \
  --algo random \
  --metric loss --mode min \
  --max-trials 25 \
  --log-dir .autotune \
  --write-best-to .autotune/best.json

python -m autotune.cli study \
  --objective mypkg.objectives:train_eval \
  --space space.json \
  --algo sobol \
  --metric loss --mode min \
  --max-trials 25 --log-dir .sobol
autotune plan --objective mypkg.objectives:train_eval --space space.json --algo grid --log-dir .grid
"""


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="session")
def bin_dir(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel, and with the dependencies (but not the checkout) of this one."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=False, symlinks=True)
    site = next(folder.glob("lib/python*/site-packages"))
    # A plain line adds the folder without its own .pth files, so the editable checkout stays out.
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(folder / "bin/python"),
        "install",
        "-q",
        "--no-deps",
        str(wheel),
    ]
    subprocess.run(pip, check=True, capture_output=True, timeout=300)
    # Its programs name the environment that they were installed in; this one runs in the new environment.
    program = folder / "bin/snakemake"
    program.write_text(f'#!/bin/sh\nexec "{folder}/bin/python" -m snakemake "$@"\n')
    program.chmod(0o755)
    return folder / "bin"


def shell(bin_dir: Path, cwd: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Run a script with the installed environment first on PATH."""
    environment = {**os.environ, "PATH": f"{bin_dir}:{os.environ['PATH']}"}
    environment.pop("PYTHONPATH", None)
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def test_wheel_holds_workflow_profiles_and_types(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {
        "autotune/_workflow/Snakefile",
        "autotune/_workflow/rules/trials.smk",
        "autotune/_profiles/local/config.yaml",
        "autotune/_profiles/slurm/config.yaml",
        "autotune/py.typed",
    } <= names


def test_python_api_to_the_letter(bin_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "tune.py").write_text(API)
    done = shell(bin_dir, tmp_path, "python tune.py && python -c 'import autotune; print(autotune.__file__)'")
    assert done.returncode == 0, done.stderr
    assert str(ROOT) not in done.stdout  # it is the wheel that ran
    assert "best params: {" in done.stdout
    assert len(list((tmp_path / ".autotune/trials").glob("trial_*.json"))) == 20
    assert "autotune.loss" in (tmp_path / ".autotune/scalars.csv").read_text()


def test_command_line_to_the_letter(bin_dir: Path, tmp_path: Path) -> None:
    done = shell(bin_dir, tmp_path, SHELL)
    assert done.returncode == 0, done.stdout + done.stderr
    best = json.loads((tmp_path / ".autotune/best.json").read_bytes())
    assert best["params"].keys() == {"lr", "batch_size", "attn_backend"}
    assert (tmp_path / ".autotune/trials/trial_00024.json").exists()
    assert (tmp_path / ".sobol/best.json").exists()
    # `snakemake --profile slurm` looks for ./slurm, which `init` writes; here its policy, executed on this machine.
    slurm = shell(bin_dir, tmp_path, "autotune init demo && cd demo && autotune plan && snakemake --profile slurm -n")
    assert slurm.returncode == 0, slurm.stderr
    assert "Using profile slurm" in slurm.stderr
    assert "batch" in slurm.stdout


def test_attention_benchmark_to_the_letter(bin_dir: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed (make check installs it)")
    done = shell(bin_dir, tmp_path, "python -m autotune.cli bench-attn --seq 512 --heads 16 --d-k 64 --dtype bf16")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "torch" in done.stdout
