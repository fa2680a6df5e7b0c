"""How trials are packed into batches."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.batch import Batch
from autotune.batching import LONGEST_JOB_S, SHORTEST_JOB_S, auto_size, cut

IDS = [f"{number:016x}" for number in range(100)]


@pytest.mark.parametrize(
    ("trials", "slots", "trial_s", "size"),
    [
        (32, 2, None, 4),  # nothing known: four jobs a slot
        (3, 8, None, 1),
        (10_000, 2, 1.0, 1250),  # 8 jobs of 20 minutes
        (10_000, 100, 1.0, 300),  # a cluster: 34 jobs of 5 minutes, not 400 of 25 seconds
        (10_000, 2, 60.0, 30),  # never longer than half an hour
        (100, 2, 7200.0, 1),  # long trials: a job each
        (10, 2, 0.001, 10),  # all of it lasts 10 ms
    ],
)
def test_auto_size(trials: int, slots: int, trial_s: float | None, size: int) -> None:
    assert auto_size(trials, slots, trial_s) == size


@given(st.integers(1, 100_000), st.integers(1, 1000), st.floats(0.0, 1e5))
def test_auto_jobs_last_minutes(trials: int, slots: int, trial_s: float) -> None:
    size = auto_size(trials, slots, trial_s)
    assert 1 <= size <= trials
    assert size == 1 or size * trial_s <= LONGEST_JOB_S
    assert size == trials or (size + 1) * trial_s >= SHORTEST_JOB_S


def test_cut_covers_every_trial_once() -> None:
    batches = cut(IDS, 30, [])
    assert [list(batch.numbers) for batch in batches] == [
        list(range(first, min(first + 30, 100))) for first in range(0, 100, 30)
    ]


def test_settled_batches_stay_when_the_size_changes() -> None:
    settled = [Batch.of(30, IDS[30:60])]
    batches = cut(IDS, 20, settled)
    assert [len(batch.numbers) for batch in batches] == [20, 10, 30, 20, 20]
    assert sorted(number for batch in batches for number in batch.numbers) == list(range(100))


def test_settled_batches_of_another_plan_are_cut_anew() -> None:
    stale = [Batch.of(0, ["another"] * 10), Batch.of(90, [*IDS[90:], "one more"])]
    assert [batch.name for batch in cut(IDS, 50, stale)] == [batch.name for batch in cut(IDS, 50, [])]
