"""The language model of examples/lm: its study as it stands, and the knobs of several processes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("torch", reason="PyTorch is not installed (make check installs it)")

EXAMPLE = Path(__file__).parents[2] / "examples" / "lm"
SHORT = {"seconds": 0.3, "context": 32, "width": 32, "depth": 2, "heads": 2}


def results(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_bytes()) for path in sorted((folder / "trials").iterdir())]


@pytest.mark.slow
def test_tiny_study_and_the_comparison(tmp_path: Path, cli: Any, environment: Callable[..., dict[str, str]]) -> None:
    study = yaml.safe_load((EXAMPLE / "tiny.yaml").read_text())
    study["space"] |= SHORT
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    done = cli("study", "study.yaml", "--max-trials", "4", timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    found = results(tmp_path / study["log_dir"])
    assert [result["state"] for result in found] == ["complete"] * 4
    for result in found:
        metrics = result["metrics"]
        # 0 would be to know the text, ln 103 = 4.6 to know nothing of it; large steps end above that.
        assert 1 < metrics["val_loss"] < 10
        assert metrics["updates"] % 10 == 0
        assert metrics["tokens_per_s"] > 100
    best = json.loads((tmp_path / study["log_dir"] / "best.json").read_bytes())
    assert best["value"] == min(result["metrics"]["val_loss"] for result in found)
    assert best["pareto"][0]["number"] == best["number"]
    compared = subprocess.run(
        [sys.executable, "-m", "examples.lm.compare", study["log_dir"]],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert compared.returncode == 0, compared.stderr
    assert [line.split(" | ")[0] for line in compared.stdout.splitlines()[2:]] == [
        "| defaults",
        f"| best (trial {best['number']})",
    ]


@pytest.mark.slow
def test_two_processes_train_one_model(tmp_path: Path, cli: Any, write_study: Callable[..., Path]) -> None:
    space = {"strategy": ["fsdp"], "precision": ["bf16"], "batch_size": [8, 7], "grad_accum": [2], **SHORT}
    keys = {"objective": "examples.lm.objective:objective", "metric": "val_loss", "algo": "grid", "space": space}
    write_study(tmp_path, **keys, max_trials=2, launcher="torchrun", resources={"cpus": 2}, trial_timeout=200)
    done = cli("study", "study.yaml", timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    first, second = results(tmp_path / ".autotune")
    assert first["state"] == "complete"
    assert 1 < first["metrics"]["val_loss"] < 10
    assert (second["state"], second["reason"]) == ("infeasible", "declared")
    assert "batch_size must be a multiple of 4" in second["error"]


@pytest.mark.parametrize("name", ["study.yaml", "two_gpus.yaml", "tiny.yaml"])
def test_each_study_plans(name: str, tmp_path: Path, cli: Any) -> None:
    shutil.copy(EXAMPLE / name, tmp_path)
    planned = cli("plan", name)
    assert planned.returncode == 0, planned.stderr
    study = yaml.safe_load((tmp_path / name).read_text())
    configs = sorted((tmp_path / study["log_dir"] / "configs").iterdir())
    assert len(configs) == study["max_trials"]
    for path in configs:
        config = json.loads(path.read_bytes())
        params = config["params"]
        assert ("strategy" in params) == (params.get("gpus") == 2)
        assert ("activation_checkpointing" in params) <= (params["batch_size"] >= 16)
        assert params["precision"] != "fp32" or params.get("attn_backend") not in {"torch-flash", "torch-cudnn"}
