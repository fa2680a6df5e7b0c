"""A job that is told to end: the trial in flight may save, nothing half is written, and it goes on from there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SAVES = """
import time
from pathlib import Path

def objective(params, trial):
    saved = trial.dir / "checkpoint"
    if saved.exists():
        return {"loss": params["x"], "from": float(saved.read_text())}
    trial.on_stop(lambda: saved.write_text("41"))
    Path(f"started-{trial.number}").touch()
    time.sleep(60)
"""

PROGRAM = """
import json, os, signal, sys, time
from pathlib import Path

saved = Path(os.environ["AUTOTUNE_TRIAL_DIR"], "checkpoint")

def save(*_):
    saved.write_text("41")
    sys.exit(0)

if saved.exists():
    Path(os.environ["AUTOTUNE_RESULT"]).write_text(json.dumps({"loss": 1.0, "from": 41.0}))
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
Path("started-" + os.environ["AUTOTUNE_TRIAL"]).touch()
time.sleep(60)
"""


def wait_for(path: Path) -> None:
    """Wait until a file is there."""
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.05)


def start_batch(folder: Path, env: dict[str, str]) -> tuple[str, subprocess.Popen[bytes]]:
    """Start the study's only batch as Snakemake would; return its name and the process."""
    name = json.loads((folder / ".autotune/batches/index.json").read_bytes())["batches"][0]
    argv = [sys.executable, "-m", "autotune.cli", "run-batch", name]
    return name, subprocess.Popen(argv, cwd=folder, env=env, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize("isolation", ["trial", "worker", "none", "command"])
def test_a_trial_saves_when_its_job_is_told_to_end(
    isolation: str, tmp_path: Path, cli: Callable[..., Any], write_study: Callable[..., Path], environment: Any
) -> None:
    keys: dict[str, Any] = {"isolation": "trial" if isolation == "command" else isolation}
    if isolation == "command":
        keys |= {"objective": None, "command": f"{sys.executable} program.py {{x}}"}
    write_study(tmp_path, source=SAVES, max_trials=2, **keys)
    (tmp_path / "program.py").write_text(PROGRAM)
    assert cli("plan", "study.yaml").returncode == 0
    name, job = start_batch(tmp_path, environment())
    wait_for(tmp_path / "started-0")
    job.send_signal(signal.SIGTERM)
    assert job.wait(30) == 128 + signal.SIGTERM
    assert (tmp_path / ".autotune/work/trial_00000/checkpoint").read_text() == "41"
    assert list((tmp_path / ".autotune/trials").iterdir()) == []
    assert not (tmp_path / f".autotune/batches/{name}.json").exists()

    # The next start finds its checkpoint; trial 1, which did not run, has none, and is told to end in its turn.
    name, job = start_batch(tmp_path, environment())
    wait_for(tmp_path / "started-1")
    job.send_signal(signal.SIGTERM)
    job.wait(30)
    result = json.loads((tmp_path / ".autotune/trials/trial_00000.json").read_bytes())
    assert (result["state"], result["attempt"], result["metrics"]["from"]) == ("complete", 1, 41.0)


def test_a_trial_that_will_not_end_is_killed_after_its_grace(
    tmp_path: Path, cli: Callable[..., Any], write_study: Callable[..., Path], environment: Any
) -> None:
    source = "import signal\n" + SAVES.replace(
        '    trial.on_stop(lambda: saved.write_text("41"))\n', "    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    ).replace('trial.number}").touch()', 'trial.number}").write_text(str(os.getpid()))').replace(
        "import time", "import os, time"
    )
    write_study(tmp_path, source=source, max_trials=1, trials_per_job=1, stop_grace=0.5)
    assert cli("plan", "study.yaml").returncode == 0
    _, job = start_batch(tmp_path, environment())
    wait_for(tmp_path / "started-0")
    time.sleep(0.2)
    job.send_signal(signal.SIGTERM)
    assert job.wait(30) == 128 + signal.SIGTERM
    assert not os.path.exists(f"/proc/{(tmp_path / 'started-0').read_text()}")
