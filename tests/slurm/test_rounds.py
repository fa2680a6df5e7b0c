"""Studies that learn, on real daemons: the rounds are planned by the main process, their trials run as jobs."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

KEYS: dict[str, Any] = {
    "algo": "hyperband",
    "fidelity": {"name": "epochs", "max": 4, "eta": 2},
    "max_trials": 12,
    "trials_per_job": 3,
}


def decisions(folder: Path) -> dict[str, bytes]:
    store = folder / ".autotune"
    return {path.name: path.read_bytes() for name in ("configs", "rounds") for path in (store / name).iterdir()}


def played_locally(lab: Any, tmp_path: Path) -> dict[str, bytes]:
    """Return what the same study decides on this machine."""
    folder = tmp_path / "local"
    folder.mkdir()
    for name in ("study.yaml", "objective.py"):
        shutil.copy(lab.folder / name, folder)
    done = lab.run("env", "-C", str(folder), "autotune", "study", "study.yaml", "-j", "2")
    assert done.returncode == 0, done.stdout
    return decisions(folder)


def test_the_literal_line_runs_rungs_as_jobs_and_decides_as_on_one_machine(lab: Any, tmp_path: Path) -> None:
    lab.write(**KEYS)
    assert lab.run("autotune", "plan", "study.yaml").returncode == 0

    done = lab.run(*lab.snakemake())

    assert done.returncode == 0, done.stdout
    study = json.loads((lab.folder / ".autotune/study.json").read_text())
    assert len(study["round_sizes"]) == 3
    assert lab.executions() == dict.fromkeys(range(study["trials"]), 1)
    assert decisions(lab.folder) == played_locally(lab, tmp_path)


@pytest.mark.slow
def test_killed_in_mid_round_it_goes_on_with_the_same_decisions(lab: Any, tmp_path: Path) -> None:
    lab.write("time.sleep(1)", **KEYS)
    study = lab.start(*lab.study())
    lab.wait((lab.folder / ".autotune/rounds/round_00001.json").exists, "the second round")
    os.killpg(study.pid, signal.SIGKILL)

    done = lab.run(*lab.study())

    log = (lab.folder / ".autotune/logs/snakemake.log").read_text()
    assert done.returncode == 0, done.stdout + log[-3000:]
    assert set(lab.executions().values()) == {1}
    assert decisions(lab.folder) == played_locally(lab, tmp_path)
