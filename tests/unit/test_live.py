"""The parts of the live view: lines, times, who runs what, what was logged last."""

from __future__ import annotations

import itertools
import json
import os
import random
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autotune.aggregation import Summary
from autotune.cli.logs import _Log as Log
from autotune.execution.begun import noting
from autotune.files import LockFile
from autotune.live import (
    RECENT_S,
    Follower,
    Running,
    best_so_far,
    last_logged,
    lasting,
    pace,
    sparkline,
    who_runs,
)
from autotune.records import Outcome, Result
from autotune.storage import Results, StudyDir

STUDY: dict[str, Any] = {
    "metric": "loss",
    "mode": "min",
    "resources": {"gpus": 2},
    "on_failure": "rerun",
    "attempts": 1,
}


def a_result(number: int, loss: float | None, ended_at: float = 100.0, duration_s: float = 10.0) -> Result:
    outcome = Outcome(state="complete", metrics={"loss": loss}) if loss is not None else FAILED
    return Result(number, f"{number:016x}", {}, outcome, 1, ended_at - duration_s, duration_s, "here")


FAILED = Outcome(state="failed", reason="crash", error="killed")


@pytest.fixture
def store(tmp_path: Path) -> StudyDir:
    store = StudyDir(tmp_path / "study")
    store.make()
    return store


@pytest.mark.parametrize(
    ("values", "width", "drawn"),
    [
        ([], 8, ""),
        ([1.0], 8, "▁"),
        ([2.0, 2.0, 2.0], 8, "▁▁▁"),
        ([8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0], 8, "█▇▆▅▄▃▂▁"),
        ([0.0] * 50 + [1.0] * 50, 4, "▁▁██"),
        ([float(n) for n in range(1000)], 2, "▁█"),
    ],
)
def test_a_sparkline_goes_from_the_lowest_to_the_highest(values: list[float], width: int, drawn: str) -> None:
    assert sparkline(values, width) == drawn


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-1, "0 s"),
        (59.4, "59 s"),
        (60, "1 min 00 s"),
        (3599.9, "1 h 00 min"),
        (3900, "1 h 05 min"),
        (183_600, "2 d 3 h"),
    ],
)
def test_times_in_words(seconds: float, words: str) -> None:
    assert lasting(seconds) == words


def test_the_best_so_far_passes_over_failures() -> None:
    results = [a_result(0, 3.0), a_result(1, None), a_result(2, 4.0), a_result(3, 1.0)]
    assert best_so_far(STUDY, results) == [3.0, 3.0, 1.0]
    assert best_so_far({**STUDY, "mode": "max"}, results) == [3.0, 4.0, 4.0]


def a_summary(unsettled: int, running: int) -> Summary:
    return Summary(STUDY, 100, {}, unsettled, list(range(running)), unsettled, None, {}, {})


def test_the_time_left_follows_from_durations_and_slots() -> None:
    ended = [a_result(number, 1.0, ended_at=1000.0, duration_s=3600.0) for number in range(4)]
    # 2 run since half an hour, 6 wait: (8 - 2 * 0.5) hours of work on 2 slots, each of 2 GPUs.
    found = pace(ended, a_summary(8, 2), [1800.0, 1800.0], now=1000.0 + RECENT_S + 1)
    assert found.recent == 0
    assert found.left_s == pytest.approx(3.5 * 3600)
    assert found.gpu_hours_left == pytest.approx(14)


def test_gpu_hours_are_counted_by_each_trials_own_need() -> None:
    summary = a_summary(3, 1)
    summary.study = {**STUDY, "resources": {"gpus": "tp * 2"}}
    ended = [
        replace(a_result(0, 1.0, ended_at=0.0, duration_s=3600.0), params={"tp": 1}),
        replace(a_result(1, 1.0, ended_at=0.0, duration_s=3 * 3600.0), params={"tp": 4}),
    ]
    # (2 GPUs for 1 h and 8 for 3 h) are 6.5 GPUs; 3 trials of 2 h are left.
    assert pace(ended, summary, [], now=RECENT_S + 1).gpu_hours_left == pytest.approx(6 * 6.5)


def test_many_quick_trials_say_more_than_their_durations() -> None:
    now = 10_000.0
    ended = [a_result(number, 1.0, ended_at=now - 100 + number, duration_s=0.001) for number in range(100)]
    found = pace(ended, a_summary(50, 1), [0.0], now)
    assert found.recent == 100
    assert found.left_s == pytest.approx(50, rel=0.01)  # one a second, though each takes a millisecond


def test_nothing_is_foretold_where_nothing_runs_or_has_ended() -> None:
    assert pace([], a_summary(8, 2), [1.0], 0.0).left_s is None
    assert pace([a_result(0, 1.0)], a_summary(8, 0), [], 0.0).left_s is None


def test_held_locks_are_found_by_range(tmp_path: Path) -> None:
    chance = random.Random(7)
    holders = [LockFile(tmp_path / "lock") for _ in range(3)]
    taken = {byte: chance.choice(holders) for byte in chance.sample(range(200), 60)}
    assert all(holder.acquire(byte) for byte, holder in taken.items())
    reader = LockFile(tmp_path / "lock", read_only=True)
    assert sorted(reader.held(range(200))) == sorted(taken)
    assert sorted(reader.held(range(50, 90))) == sorted(taken.keys() & range(50, 90))
    assert list(reader.held(range(0))) == []
    for byte in list(taken)[::2]:
        taken.pop(byte).release(byte)
    assert sorted(reader.held(range(200))) == sorted(taken)
    for lock in (*holders, reader):
        lock.close()


def test_who_runs_is_what_is_locked_and_was_begun_last(store: StudyDir) -> None:
    lock = store.lock()
    lock.acquire(3)
    assert who_runs(store, 3, "loss") == Running(3)  # nobody has said more
    with noting(store.begun_file("a"), "old", None) as note, noting(store.begun_file("b"), 'ne"w', "0,1") as other:
        note(3, 1, 1000.0)
        note(4, 1, 1001.0)
        other(3, 2, 1002.0)
    with open(store.begun_file("a"), "a") as file:
        file.write('[3,3,2000.0,"cut o')
    assert who_runs(store, 3, "loss") == Running(3, 'ne"w', "0,1", 2, 1002.0)
    assert who_runs(store, 4, "loss") is None
    lock.close()


def test_what_cannot_be_noted_is_left_out(tmp_path: Path) -> None:
    with noting(str(tmp_path / "none" / "a.jsonl"), "here", None) as note:
        note(1, 1, 0.0)
    with noting("/dev/full", "here", None) as note:
        note(1, 1, 0.0)


def test_the_last_value_is_the_metrics_and_of_this_attempt(store: StudyDir) -> None:
    os.makedirs(store.work_dir(1))

    def logged(*lines: list[Any], rest: str = "") -> Any:
        Path(store.logged_file(1)).write_text("".join(json.dumps(line) + "\n" for line in lines) + rest)
        return last_logged(store, Running(1, started_at=100.0), "loss")

    assert last_logged(store, Running(2, started_at=100.0), "loss") is None
    found = logged([101, "loss", 3, 0.5], [102, "lr", 3, 0.1], rest='[103, "loss", 4')
    assert (found.tag, found.step, found.value) == ("loss", 3, 0.5)
    assert logged([101, "acc", 1, 0.5], [102, "lr", 3, 0.1]).tag == "lr"
    assert logged([50, "loss", 9, 0.5]) is None
    many = [[101, "loss", step, 1 / (step + 1)] for step in range(10_000)]
    assert logged(*many).step == 9_999


def test_a_log_that_is_replaced_is_printed_from_its_beginning(
    tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    path = tmp_path / "stdout.log"
    log = Log(str(path))
    path.write_bytes(b"one\xff\n")
    log.print_new()
    log.print_new()
    (tmp_path / "other").write_bytes(b"the second attempt, longer than the first\n")
    (tmp_path / "other").rename(path)
    log.print_new()
    assert capsysbinary.readouterr().out == b"one\xff\nthe second attempt, longer than the first\n"


def test_a_follower_reads_only_when_something_is_new(store: StudyDir, monkeypatch: pytest.MonkeyPatch) -> None:
    study = {**STUDY, "trials": 4}
    looks = itertools.count()

    def read_study() -> dict[str, Any]:
        next(looks)
        return study

    monkeypatch.setattr(store, "read_study", read_study)
    store.write_result(a_result(0, 0.5, ended_at=time.time()))
    Path(store.study_file).write_text("{}")
    follower = Follower(store, Results(store))
    assert [follower.look(4).summary.done for _ in range(5)] == [1] * 5
    assert next(looks) == 1
    store.write_result(a_result(1, 0.25, ended_at=time.time()))
    view = follower.look(4)
    assert (view.summary.done, view.curve) == (2, [0.5, 0.25])
