"""Two real ranks of a distributed job: the first measures, both get its answer."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


def ranks(folder, place):
    launch = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--local-addr=127.0.0.1",
        "--nproc-per-node=2",
    ]
    program = [str(Path(__file__).parent / "bench_rank.py"), place, str(folder)]
    done = subprocess.run([*launch, *program], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)]


def agree(folder, place):
    first, second = ranks(folder, place)
    print(first, second, sep="\n")
    assert (first.pop("rank"), second.pop("rank")) == (0, 1)
    assert first == second  # measured times too: nobody measures the same twice
    assert first["choice"] in first["ties"]
    assert "abacus" in first["refused"]
    assert (folder / "cache-0").exists()
    assert not (folder / "cache-1").exists()


def test_ranks_agree_on_a_cpu(torch, tmp_path):
    agree(tmp_path, "cpu")


@pytest.mark.gpu
def test_ranks_agree_each_on_its_gpu(torch, tmp_path):
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two CUDA devices")
    agree(tmp_path, "cuda")
