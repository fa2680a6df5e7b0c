"""Leases on real GPUs: trials side by side, each of which sees one device, its own."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

OBJECTIVE = """
import time

def note(line):
    with open("calls.txt", "a") as calls:
        calls.write(line + "\\n")

def objective(params, trial):
    import torch

    uuid = torch.cuda.get_device_properties(0).uuid
    note(f"start {trial.number} {uuid} {torch.cuda.device_count()}")
    x = torch.randn(2048, 2048, device="cuda")
    for _ in range(20):
        x = torch.nn.functional.normalize(x @ x)
    torch.cuda.synchronize()
    time.sleep(1)
    note(f"end {trial.number} {uuid} {torch.cuda.device_count()}")
    return float(x.norm())
"""


def gpu_count() -> int:
    """Return how many GPUs this machine has."""
    if shutil.which("nvidia-smi") is None:
        return 0
    answer = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    return answer.stdout.count("GPU ")


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.parametrize("slots", [1, 2])
def test_trials_at_once_each_on_a_gpu_of_its_own(
    slots: int, tmp_path: Path, cli: Any, write_study: Callable[..., Path]
) -> None:
    gpus = gpu_count()
    if gpus < 2:
        pytest.skip(f"needs two GPUs, and this machine has {gpus}")
    keys = {"trials_per_job": slots, "slots_per_job": slots, "resources": {"gpus": 1}}
    write_study(tmp_path, source=OBJECTIVE, max_trials=8, **keys)
    done = cli("study", "study.yaml", "-j", "8", timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    on: dict[str, str] = {}
    used = set()
    for line in (tmp_path / "calls.txt").read_text().splitlines():
        word, number, uuid, seen = line.split()
        assert seen == "1"
        used.add(uuid)
        if word == "start":
            assert uuid not in on, f"trials {on[uuid]} and {number} share a device"
            on[uuid] = number
        else:
            assert on.pop(uuid) == number
    assert len(used) == gpus
