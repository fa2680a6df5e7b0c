"""Run a program that logs to Weights & Biases as a trial.

Before the program's command line goes ``python -m autotune.integrations.wandb_program``. The program is left as it is:
``wandb.config`` has the trial's parameters, as in a sweep, and what it logs with ``wandb.log`` becomes the trial's
scalars; the last value of each key, or what ``run.summary`` says, are its metrics. The run is an offline one in the
trial's folder, unless ``WANDB_MODE`` says otherwise.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from autotune.execution.kernel import die_with_parent, wait_for_program
from autotune.files import write_atomic
from autotune.integrations.wandb_log import History, read_history


def main(argv: list[str]) -> int:
    """Run the program, then write its metrics; return its exit status."""
    params = json.loads(os.environ["AUTOTUNE_PARAMS"])
    if argv[:1] == ["--nested"]:
        argv, params = argv[1:], _nested(params)
    folder = Path(os.environ["AUTOTUNE_TRIAL_DIR"], f"wandb_{os.environ['AUTOTUNE_ATTEMPT']}")
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "sweep_params.yaml"
    write_atomic(
        config, json.dumps({name: {"value": value} for name, value in params.items()}).encode()
    )  # JSON is YAML
    told = {"WANDB_MODE": os.environ.get("WANDB_MODE", "offline"), "WANDB_SWEEP_PARAM_PATH": str(config)}
    environment = {**os.environ, **told, "WANDB_DIR": str(folder)}
    # The program keeps the trial's lock, and dies with this process, as it would without it.
    process = subprocess.Popen(argv, env=environment, close_fds=False, preexec_fn=die_with_parent)  # noqa: PLW1509
    status = wait_for_program(process, forward=True)
    _hand_over(read_history(folder))
    return status if status >= 0 else 128 - status


def _nested(params: dict[str, Any]) -> dict[str, Any]:
    """Return ``{"a.b": 1}`` as ``{"a": {"b": 1}}``."""
    tree: dict[str, Any] = {}
    for name, value in params.items():
        *outer, last = name.split(".")
        node = tree
        for part in outer:
            node = node.setdefault(part, {})
        node[last] = value
    return tree


def _hand_over(history: History) -> None:
    with open(os.environ["AUTOTUNE_SCALARS"], "a", encoding="utf-8") as log:
        log.writelines(json.dumps(row) + "\n" for row in history.rows)
    if history.summary:
        write_atomic(os.environ["AUTOTUNE_RESULT"], json.dumps(history.summary).encode())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
