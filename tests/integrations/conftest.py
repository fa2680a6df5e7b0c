"""A study with every state, whose results are written as the runner writes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from autotune.algorithms.random import RandomSearch
from autotune.config import StudyConfig
from autotune.execution.trial import Trial
from autotune.planning import make_plan
from autotune.records import Outcome, Result
from autotune.spaces import Choice, IntRange, LogUniform, SearchSpace
from autotune.storage import StudyDir

SPACE = SearchSpace(
    {
        "lr": LogUniform(1e-5, 1e-1),
        "layers": IntRange(1, 5),
        "optimizer": Choice(["sgd", "adam"]),
        "nesterov": Choice([True, False]),
        "mixed": Choice([1, "auto", None]),
    }
)
STARTED_AT = 1_700_000_000.25
STATES = [
    Outcome("complete", metrics={"loss": 0.5, "time_ms": 12.5}, logged=True),
    Outcome("complete", metrics={"loss": 0.25, "time_ms": 10.0}),
    Outcome("pruned", metrics={"loss": 0.9}),
    Outcome("infeasible", "oom", error="MemoryError: out of memory"),
    Outcome("failed", "crash", error="killed by SIGKILL"),
    None,  # not run yet
]
CURVE = {0: 2.0, 1: 1.0, 2: 0.75}  # the last is not the final metric


@pytest.fixture
def store(tmp_path: Path) -> StudyDir:
    """A study of six trials: two complete, one each pruned, infeasible, failed and missing; trial 0 has a curve."""
    store = StudyDir(tmp_path / "demo" / ".autotune")
    config = StudyConfig(
        objective="train:objective", metric="loss", max_trials=len(STATES), log_dir=store.root, on_failure="record"
    )
    make_plan(store, config, SPACE, RandomSearch(seed=3))
    for number, outcome in enumerate(STATES):
        if outcome is not None:
            store.write_result(_result(store, number, outcome))
    trial = Trial(store.read_config(0), 1, store, {"metric": "loss"})
    for step, value in CURVE.items():
        trial.report(step, value)
    trial.log("train/accuracy", 0.75, 2)
    trial.close()
    return store


@pytest.fixture
def change_result() -> Callable[[StudyDir, int, float], None]:
    """``change_result(store, 1, 0.1)``: trial 1 ran again, and came to a loss of 0.1."""

    def change(store: StudyDir, number: int, loss: float) -> None:
        result = store.read_result(number)
        assert result is not None
        store.write_result(replace(result, attempt=2, outcome=Outcome("complete", metrics={"loss": loss})))

    return change


def _result(store: StudyDir, number: int, outcome: Outcome) -> Result:
    config = store.read_config(number)
    return Result(
        number=number,
        id=config.id,
        params=config.params,
        outcome=outcome,
        attempt=1,
        started_at=STARTED_AT + number,
        duration_s=1.5,
        host="node1",
    )
