from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from autotune.execution.pruners import Curves, judge
from autotune.execution.trial import Trial
from autotune.records import TrialConfig
from autotune.storage import StudyDir

PRUNER = {"type": "median", "percentile": 50, "startup_trials": 3, "warmup_steps": 0, "min_step": 1, "eta": 3}
OTHERS = {n: [(1, float(n)), (2, float(n) - 0.5)] for n in range(1, 6)}


def says(value: float, *, step: int = 2, others: Any = OTHERS, **options: Any) -> bool:
    return judge({**PRUNER, **options}, [(step, value)], others).prune


def test_median_stops_the_worse_half() -> None:
    assert says(2.6) and not says(2.4)


def test_percentile_keeps_the_best_part() -> None:
    assert says(1.6, type="percentile", percentile=25) and not says(1.4, type="percentile", percentile=25)
    assert not says(4.4, type="percentile", percentile=100)


def test_nothing_is_stopped_before_enough_is_known() -> None:
    assert not says(99, startup_trials=6)
    assert not says(99, warmup_steps=3)
    assert not says(99, step=3), "no other trial has got so far"


def test_the_best_value_so_far_counts() -> None:
    assert not judge(PRUNER, [(1, 0.1), (2, 99.0)], OTHERS).prune


def test_halving_decides_at_its_rungs_alone() -> None:
    others = {n: [(3, float(n))] for n in range(1, 9)}
    assert not says(99, step=2, others={n: [(2, 1.0)] for n in range(9)}, type="halving")
    assert not says(2.5, step=3, others=others, type="halving")  # third of nine: the best third goes on
    assert says(3.5, step=3, others=others, type="halving")
    assert not says(99, step=3, others={}, type="halving"), "the first to come goes on"


def trial(root: Path, number: int, **study: Any) -> Trial:
    settings = {"metric": "loss", "mode": "min", "pruner": PRUNER, **study}
    return Trial(TrialConfig(number, f"{number:016x}", {}, 0), 1, StudyDir(root), settings)


def test_a_trial_asks_the_curves_on_disk_and_leaves_what_it_saw(tmp_path: Path) -> None:
    for number in range(3):
        other = trial(tmp_path, number)
        other.report(1, 1.0 + number)
        other.close()
    own = trial(tmp_path, 3)
    assert not own.should_prune(), "nothing was reported yet"
    own.report(1, 9.0)
    assert own.should_prune() and own.is_pruned
    saw = json.loads((tmp_path / "work/trial_00003/pruner.jsonl").read_text())
    assert saw == {"step": 1, "prune": True, "value": 9.0, "bound": 2.0, "others": {"0": 1.0, "1": 2.0, "2": 3.0}}


def test_more_is_better_turns_the_curves(tmp_path: Path) -> None:
    for number in range(3):
        trial(tmp_path, number, mode="max").report(1, 1.0 + number)
    own = trial(tmp_path, 3, mode="max")
    own.report(1, 9.0)
    assert not own.should_prune()


def test_curves_read_only_what_is_new_and_begin_again_with_a_new_attempt(tmp_path: Path) -> None:
    first = trial(tmp_path, 0)
    curves = Curves(StudyDir(tmp_path), {"metric": "loss", "mode": "min"})
    first.report(1, 3.0)
    first.log("other", 1.0)
    first.report(2, 2.0)
    assert curves.refresh() == {0: [(1, 3.0), (2, 2.0)]}
    first.report(3, 1.0)
    first.close()
    assert curves.refresh() == {0: [(1, 3.0), (2, 2.0), (3, 1.0)]}
    trial(tmp_path, 0).report(1, 7.0)
    assert curves.refresh() == {0: [(1, 7.0)]}


@pytest.mark.parametrize("pruner", [{}, None])
def test_without_a_pruner_nothing_is_stopped(pruner: Any, tmp_path: Path) -> None:
    own = trial(tmp_path, 0, pruner=pruner)
    own.report(1, 9.0)
    assert not own.should_prune()
    assert not (tmp_path / "work/trial_00000/pruner.jsonl").exists()
