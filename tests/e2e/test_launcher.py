"""Trials of several processes: real torchrun, real process groups (gloo) on this machine."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autotune.execution.launch import torchrun
from autotune.execution.trial import Trial
from autotune.records import TrialConfig
from autotune.storage import StudyDir

OBJECTIVE = """
import torch
import torch.distributed as dist
from autotune import Infeasible

def objective(params, trial):
    dist.init_process_group("gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
    total = torch.tensor([float(rank + 1)])
    dist.all_reduce(total)
    trial.log("rank", rank)
    if trial.number == 1 and rank == 1:
        raise Infeasible("too large for rank 1")
    if trial.number == 2 and rank == 1:
        raise MemoryError("rank 1 is full")
    if trial.number == 3:
        raise ValueError("broken everywhere")
    dist.barrier()
    dist.destroy_process_group()
    return {"loss": total.item() if rank == 0 else -1.0, "world": world}
"""

PROGRAM = """
import json, os, sys, time
import torch.distributed as dist

dist.init_process_group("gloo")
if dist.get_rank() == 0:
    with open(os.environ["AUTOTUNE_SCALARS"], "a") as scalars:
        scalars.write(json.dumps([time.time(), "world", 0, dist.get_world_size()]) + "\\n")
    with open(os.environ["AUTOTUNE_RESULT"], "w") as result:
        json.dump({"loss": float(sys.argv[1]), "world": dist.get_world_size()}, result)
dist.barrier()
"""


@pytest.mark.slow
def test_python_objective_on_two_ranks(tmp_path: Path, cli: Any, write_study: Callable[..., Path]) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed (make check installs it)")
    keys = {"launcher": "torchrun", "resources": {"cpus": 2}, "trials_per_job": 4, "trial_timeout": 100}
    write_study(tmp_path, source=OBJECTIVE, on_failure="record", **keys)
    done = cli("study", "study.yaml", timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    results = [json.loads(path.read_bytes()) for path in sorted((tmp_path / ".autotune/trials").iterdir())]
    assert [(result["state"], result.get("reason")) for result in results] == [
        ("complete", None),
        ("infeasible", "declared"),
        ("infeasible", "oom"),
        ("failed", "exception"),
    ]
    assert results[0]["metrics"] == {"loss": 3.0, "world": 2.0}
    assert results[1]["error"] == "too large for rank 1"
    scalars = (tmp_path / ".autotune/scalars.csv").read_text()
    assert scalars.count("trial_00000/rank") == 1  # rank 0 alone logs
    assert "broken everywhere" in (tmp_path / ".autotune/work/trial_00003/stdout.log").read_text()


@pytest.mark.slow
def test_command_on_two_ranks(tmp_path: Path, cli: Any, write_study: Callable[..., Path]) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed (make check installs it)")
    (tmp_path / "train.py").write_text(PROGRAM)
    keys = {"objective": None, "command": "python train.py {x}", "launcher": "torchrun", "resources": {"cpus": 2}}
    write_study(tmp_path, max_trials=1, trials_per_job=1, **keys)
    done = cli("study", "study.yaml", timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((tmp_path / ".autotune/best.json").read_bytes())["metrics"]["world"] == 2
    assert "trial_00000/world" in (tmp_path / ".autotune/scalars.csv").read_text()


def trial(number: int = 3) -> Trial:
    """A trial whose id is the digits of its number."""
    return Trial(TrialConfig(number, f"{number:016x}", {}, 0), 2, StudyDir("nowhere"), {"metric": "loss"})


def test_two_nodes_meet_at_the_first_under_srun() -> None:
    argv = torchrun({"gpus": 8, "cpus": 4, "nodes": 2}, ["python", "train.py", "--lr", "0.1"], trial())
    assert argv[:5] == ["srun", "--nodes=2", "--ntasks=2", "--ntasks-per-node=1", "--overlap"]
    assert {"--nnodes=2", "--nproc-per-node=4", "--rdzv-backend=c10d", "--rdzv-id=0000000000000003-2"} < set(argv)
    assert argv[-3:] == ["train.py", "--lr", "0.1"]


def test_what_is_no_python_is_started_as_it_is() -> None:
    argv = torchrun({"gpus": 0, "cpus": 3}, ["./train", "-x"], trial())
    assert argv == [
        *(sys.executable, "-m", "torch.distributed.run", "--nnodes=1", "--nproc-per-node=3"),
        *("--standalone", "--local-addr=127.0.0.1", "--no-python", "./train", "-x"),
    ]


@pytest.mark.slow
def test_ranks_meet_on_a_machine_whose_name_does_not_resolve(
    tmp_path: Path, environment: Callable[..., dict[str, str]]
) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed (make check installs it)")
    unnamed = ["unshare", "--user", "--map-root-user", "--uts", "sh", "-c", 'hostname nowhere && exec "$@"', "sh"]
    if shutil.which("unshare") is None or subprocess.run([*unnamed, "true"], capture_output=True).returncode:
        pytest.skip("needs user namespaces (unshare --user --uts), which this machine does not let us make")
    (tmp_path / "train.py").write_text(PROGRAM)
    files = {"AUTOTUNE_SCALARS": str(tmp_path / "scalars"), "AUTOTUNE_RESULT": str(tmp_path / "result.json")}
    argv = torchrun({"gpus": 0, "cpus": 2}, ["python", "train.py", "0.5"], trial())
    ended = subprocess.run(
        [*unnamed, *argv], cwd=tmp_path, env=environment(**files), capture_output=True, text=True, timeout=100
    )
    assert ended.returncode == 0, ended.stderr
    assert json.loads((tmp_path / "result.json").read_bytes()) == {"loss": 0.5, "world": 2}


def test_gpus_are_a_multiple_of_nodes(tmp_path: Path, cli: Any, write_study: Callable[..., Path]) -> None:
    write_study(tmp_path, resources={"gpus": 3, "nodes": 2})
    refused = cli("plan", "study.yaml")
    assert refused.returncode == 2
    assert "`resources.gpus` must be a multiple of `resources.nodes` (2), got 3" in refused.stderr
