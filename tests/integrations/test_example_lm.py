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

from autotune.records import Outcome, Result
from autotune.storage import StudyDir
from examples.lm import table

pytest.importorskip("torch", reason="PyTorch is not installed (make check installs it)")

EXAMPLE = Path(__file__).parents[2] / "examples" / "lm"
SPEED = {"tokens_per_s": 1234.4}
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
    compared = run_module("examples.lm.compare", study["log_dir"], cwd=tmp_path, env=environment())
    assert compared.returncode == 0, compared.stderr
    assert [line.split(" | ")[:2] for line in compared.stdout.splitlines()[2:]] == [
        ["| defaults", "1 CPU"],
        [f"| best (trial {best['number']})", "1 CPU"],
    ]
    noted = (tmp_path / study["log_dir"] / "compare.json").read_bytes()
    assert (
        run_module("examples.lm.compare", study["log_dir"], cwd=tmp_path, env=environment()).stdout == compared.stdout
    )
    assert (tmp_path / study["log_dir"] / "compare.json").read_bytes() == noted  # nothing was trained again
    assert len(json.loads(noted)) == 6
    table = run_module("examples.lm.table", study["log_dir"], cwd=tmp_path, env=environment())
    assert table.stdout.startswith(compared.stdout)
    assert "4 trials (4 complete) in " in table.stdout


def run_module(*words: str, cwd: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *words], cwd=cwd, env=env, capture_output=True, text=True, timeout=200, check=False
    )


def test_table_of_what_was_measured() -> None:
    runs = [
        {"name": name, "on": "2 H200", "params": {"lr": 0.00312345, "gpus": 2}, "metrics": {"test_loss": loss} | SPEED}
        for name, loss in [("defaults", 2.0), ("best (trial 3)", 1.0), ("defaults", 2.25)]
    ]
    assert table.rows(runs) == [
        "| defaults | 2 H200 | 2.125 (2.000 to 2.250 of 2) | 1,234 | lr 0.00312 |",
        "| best (trial 3) | 2 H200 | 1.000 (1.000 to 1.000 of 1) | 1,234 | lr 0.00312 |",
    ]


def test_no_table_without_a_comparison(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert table.main(str(tmp_path)) == 1
    assert "run examples.lm.compare" in capsys.readouterr().err


def test_best_is_of_as_many_gpus(tmp_path: Path) -> None:
    from examples.lm.compare import contenders

    store = StudyDir(tmp_path / "study")
    store.make()
    for number, (gpus, loss) in enumerate([(1, 1.0), (2, 3.0), (2, 2.0)]):
        params, outcome = {"gpus": gpus, "lr": 0.1}, Outcome("complete", metrics={"val_loss": loss})
        store.write_result(Result(number, f"{number}", params, outcome, 1, started_at=0.0, duration_s=1.0, host="here"))
    assert contenders(str(store.root), 1)["best (trial 0)"] == {"gpus": 1, "lr": 0.1}
    two = contenders(str(store.root), 2)
    assert two["best (trial 2)"] == {"gpus": 2, "lr": 0.1}
    assert two["defaults"]["strategy"] == "ddp"


def test_studies_begin_with_what_they_are_compared_with() -> None:
    from examples.lm.objective import DEFAULTS

    for name in ("study.yaml", "two_gpus.yaml"):
        for start in yaml.safe_load((EXAMPLE / name).read_text())["warm_start"]:
            known = {**DEFAULTS, "precision": "fp32", "compile": False, "strategy": "ddp", "gpus": start.get("gpus")}
            assert {key: known[key] for key in start} == {**start, "lr": float(start["lr"])}


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
