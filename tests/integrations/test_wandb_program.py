"""A sweep of W&B whose program knows nothing of Autotune: `autotune study sweep.yaml` runs both as they are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PROGRAM = """\
import argparse
import wandb

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float)
parser.add_argument("--optimizer.name", dest="optimizer")
args = parser.parse_args()
with wandb.init(project="demo") as run:
    assert run.config.lr == args.lr
    assert run.config.optimizer == {"name": args.optimizer}
    for epoch in range(3000):  # more than one block of the file
        run.log({"val/loss": args.lr / (epoch + 1), "epoch": epoch, "note": "no number"})
    run.summary["parameters"] = 7
    run.summary["bad"] = "no number"
"""
SWEEP = """\
program: train.py
method: grid
metric: {name: val/loss, goal: minimize}
parameters:
  lr: {values: [6.0]}
  optimizer: {parameters: {name: {values: [sgd, adam]}}}
"""


@pytest.mark.slow
def test_a_sweep_runs_unchanged(cli: Callable[..., Any], tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    (tmp_path / "train.py").write_text(PROGRAM)
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    done = cli("study", "sweep.yaml", "-j", "2", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    for number, optimizer in enumerate(["sgd", "adam"]):
        result = json.loads((tmp_path / ".autotune" / "trials" / f"trial_{number:05d}.json").read_text())
        assert result["params"] == {"lr": 6.0, "optimizer.name": optimizer}
        assert result["metrics"] == {"val/loss": 0.002, "epoch": 2999.0, "parameters": 7.0}
    curve = (tmp_path / ".autotune" / "work" / "trial_00000" / "scalars.jsonl").read_text().splitlines()
    values = [(step, value) for _, tag, step, value in map(json.loads, curve) if tag == "val/loss"]
    assert values == [(epoch, 6.0 / (epoch + 1)) for epoch in range(3000)]


@pytest.mark.slow
def test_a_program_that_fails_has_failed(cli: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("raise SystemExit(3)\n")
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    done = cli("study", "sweep.yaml", "-j", "2", cwd=tmp_path)
    assert done.returncode == 1
    assert "exit with status 0, got 3" in " ".join(done.stdout.split())
