"""Weights & Biases: an offline run a trial, written by the real ``wandb``; ``wandb sync`` uploads them.

Times that W&B shows are those of the export; the trial's own are in the summary.
"""

from __future__ import annotations

import os
from typing import Any

from autotune.integrations import library
from autotune.integrations.snapshot import Snapshot, Written, replacing, trial_name
from autotune.records import COMPLETE, PRUNED, Result


def export(snapshot: Snapshot, to: str | None) -> Written:
    """Write the offline runs below the folder ``to``; nothing is sent anywhere."""
    wandb = library("wandb", "wandb")
    target = to or snapshot.store.export_path("wandb")
    with replacing(snapshot.store, target) as folder:
        os.makedirs(folder)
        for result in snapshot.results:
            _write(wandb, folder, snapshot, result)
    runs = os.path.join(target, "wandb", "offline-run-*")
    return Written(f"{len(snapshot.results)} trials as offline runs of W&B", target, f"wandb sync {runs}")


def _write(wandb: Any, folder: str, snapshot: Snapshot, result: Result) -> None:
    run = wandb.init(
        mode="offline",
        dir=folder,
        project=snapshot.name,
        id=f"{result.id}-{result.number}",
        name=trial_name(result.number),
        group=snapshot.name,
        tags=[result.state],
        config=snapshot.given(result),
        reinit="create_new",
        settings=_settings(wandb),
    )
    for step, values in _history(snapshot, result).items():
        run.log(values, step=step, commit=True)  # now, or the last step would come after the summary, and win
    run.summary.update({**result.metrics, "autotune": _facts(result)})
    run.finish(exit_code=0 if result.state in (COMPLETE, PRUNED) else 1)


def _settings(wandb: Any) -> Any:
    """Return settings that record the trial, and nothing of the process that exports it."""
    return wandb.Settings(
        silent=True,
        console="off",
        disable_git=True,
        disable_code=True,
        disable_job_creation=True,
        x_disable_stats=True,
        x_disable_meta=True,
        x_disable_machine_info=True,
        x_save_requirements=False,
    )


def _history(snapshot: Snapshot, result: Result) -> dict[int, dict[str, float]]:
    """Return step -> tag -> value, by step, for W&B's steps must not go back; the last value of a step counts."""
    steps: dict[int, dict[str, float]] = {}
    for logged in snapshot.logged(result):
        steps.setdefault(logged.step, {})[logged.tag] = logged.value
    return dict(sorted(steps.items()))


def _facts(result: Result) -> dict[str, Any]:
    facts = result.to_dict()
    names = (
        "number",
        "id",
        "state",
        "reason",
        "error",
        "attempt",
        "started_at",
        "duration_s",
        "host",
        "gpus",
        "repeat",
    )
    return {name: facts[name] for name in names if name in facts}
