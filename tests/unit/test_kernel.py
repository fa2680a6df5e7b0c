"""What differs between kernels: children are watched on those without ``pidfd_open`` too."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

OLD_KERNEL = """
import os, sys
del os.pidfd_open
from autotune.cli import main
sys.exit(main(sys.argv[1:]))
"""

SOURCE = """
import os, time

def objective(params, trial):
    if trial.number == 1:
        os.kill(os.getpid(), 9)
    if trial.number == 2:
        time.sleep(60)
    return params["x"]
"""


def test_trials_crash_and_hang_without_pidfd(
    tmp_path: Path, cli: Callable[..., Any], write_study: Callable[..., Path], environment: Any
) -> None:
    write_study(tmp_path, source=SOURCE, trials_per_job=4, trial_timeout=1, on_failure="record")
    assert cli("plan", "study.yaml").returncode == 0
    name = json.loads((tmp_path / ".autotune/batches/index.json").read_bytes())["batches"][0]
    argv = [sys.executable, "-c", OLD_KERNEL, "run-batch", name]
    done = subprocess.run(
        argv, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    results = [json.loads(path.read_bytes()) for path in sorted((tmp_path / ".autotune/trials").iterdir())]
    assert [result.get("reason") for result in results] == [None, "crash", "timeout", None]
