"""Several trials side by side in one job, and a job that begins no trial which its time limit would cut off."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

RECORDS = """
import os, time

def note(line):
    with open("calls.txt", "a") as calls:
        calls.write(line + "\\n")

def objective(params, trial):
    devices = os.environ.get("CUDA_VISIBLE_DEVICES")
    note(f"start {trial.number} {devices} {os.getppid()}")
    time.sleep(0.4)
    note(f"end {trial.number} {devices} {os.getppid()}")
    if trial.number == 5:
        raise ValueError("five")
    return {"loss": params["x"]}
"""


def run_batch(folder: Path, env: dict[str, str], *argv: str) -> subprocess.Popen[str]:
    """Start the study's first batch as Snakemake would."""
    name = json.loads((folder / ".autotune/batches/index.json").read_bytes())["batches"][0]
    return subprocess.Popen(
        [sys.executable, "-m", "autotune.cli", "run-batch", name, *argv],
        cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def lines(folder: Path) -> list[list[str]]:
    """Return what the objective noted, word by word."""
    path = folder / "calls.txt"
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.parametrize("isolation", ["trial", "worker", "none"])
def test_slots_run_side_by_side_on_devices_of_their_own(
    isolation: str, tmp_path: Path, cli: Any, write_study: Callable[..., Path], environment: Any
) -> None:
    keys = {
        "max_trials": 12,
        "trials_per_job": 12,
        "slots_per_job": 3,
        "resources": {"gpus": 1},
        "isolation": isolation,
    }
    write_study(tmp_path, source=RECORDS, **keys)
    assert cli("plan", "study.yaml").returncode == 0
    job = run_batch(tmp_path, environment(CUDA_VISIBLE_DEVICES="4,5,6"))
    output, _ = job.communicate(timeout=120)
    assert job.returncode == 1, output
    assert "1 of 12 trials failed and will run again: 5" in output
    assert Counter(int(number) for word, number, *_ in lines(tmp_path) if word == "start") == Counter(range(12))
    on: dict[str, str] = {}
    side_by_side = 0
    for word, number, device, _ in lines(tmp_path):
        if word == "end":
            assert on.pop(device) == number
        else:
            assert device not in on, "two trials on one device"
            on[device] = number
        side_by_side = max(side_by_side, len(on))
    assert side_by_side == 3
    gpus = {json.loads(path.read_bytes())["gpus"] for path in (tmp_path / ".autotune/trials").iterdir()}
    assert gpus == {"4", "5", "6"}


def test_a_job_with_slots_ends_whole_and_resumes(
    tmp_path: Path, cli: Any, write_study: Callable[..., Path], environment: Any
) -> None:
    source = RECORDS.replace("trial.number == 5", "False")
    write_study(tmp_path, source=source, max_trials=20, trials_per_job=20, slots_per_job=4)
    assert cli("plan", "study.yaml").returncode == 0
    job = run_batch(tmp_path, environment())
    while len(lines(tmp_path)) < 10:
        time.sleep(0.05)
    job.send_signal(signal.SIGTERM)
    job.communicate(timeout=60)
    assert job.returncode == 128 + signal.SIGTERM
    assert not [pid for *_, pid in lines(tmp_path) if os.path.exists(f"/proc/{pid}")]
    done = {path.name for path in (tmp_path / ".autotune/trials").iterdir()}
    again = run_batch(tmp_path, environment())
    again.communicate(timeout=60)
    assert again.returncode == 0
    counts = Counter(int(number) for word, number, *_ in lines(tmp_path) if word == "start")
    assert all(counts[int(name[6:11])] == 1 for name in done)
    assert set(counts) == set(range(20))


def test_no_trial_is_begun_that_the_time_limit_would_cut_off(
    tmp_path: Path, cli: Any, write_study: Callable[..., Path], environment: Any
) -> None:
    source = RECORDS.replace("trial.number == 5", "False").replace("sleep(0.4)", "sleep(1)")
    write_study(tmp_path, source=source, max_trials=8, trials_per_job=8)
    assert cli("plan", "study.yaml").returncode == 0
    elsewhere = run_batch(tmp_path, environment(SLURM_JOB_ID="1"), "--runtime", "0.06")  # 3.4 s after what it keeps
    output, _ = elsewhere.communicate(timeout=60)
    assert elsewhere.returncode == 1
    done = len(list((tmp_path / ".autotune/trials").iterdir()))
    assert 1 <= done <= 3
    assert f"{8 - done} of 8 trials are left for the next job" in output
    # Here nobody enforces the limit, so it plays no part.
    here = run_batch(tmp_path, environment(), "--runtime", "0.01")
    here.communicate(timeout=60)
    assert here.returncode == 0
    assert Counter(number for word, number, *_ in lines(tmp_path) if word == "start") == Counter(map(str, range(8)))


def test_fewer_trials_than_slots_are_refused(tmp_path: Path, cli: Any, write_study: Callable[..., Path]) -> None:
    write_study(tmp_path, trials_per_job=2, slots_per_job=4)
    refused = cli("plan", "study.yaml")
    assert refused.returncode == 2
    assert "`trials_per_job` must be at least `slots_per_job` (4), got 2" in refused.stderr
