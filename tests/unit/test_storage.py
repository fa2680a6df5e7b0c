from __future__ import annotations

import os
from pathlib import Path

import pytest

from autotune.batch import Batch
from autotune.errors import InvalidStudy, OtherVersion, UnreadableFile
from autotune.files import json_bytes
from autotune.records import FAILED, INFEASIBLE, Outcome, Result, again
from autotune.storage import Results, StudyDir, parse_result


def a_result(number: int = 3, outcome: Outcome | None = None, attempt: int = 1) -> Result:
    outcome = outcome or Outcome(state="complete", metrics={"loss": 0.5})
    return Result(
        number=number,
        id="0123456789abcdef",
        params={"x": 1, "name": "\udc80"},
        outcome=outcome,
        attempt=attempt,
        started_at=1.5,
        duration_s=0.25,
        host="here",
    )


@pytest.fixture
def store(tmp_path: Path) -> StudyDir:
    store = StudyDir(tmp_path / "study")
    store.make()
    return store


def test_a_batch_is_its_name() -> None:
    batch = Batch.of(5, ["a", "b", "c"])
    assert batch.name.startswith("00005-00007-")
    assert Batch(batch.name).numbers == range(5, 8)
    assert Batch.of(5, ["a", "b", "d"]).name != batch.name
    assert Batch.of(123_456, ["a"]).numbers == range(123_456, 123_457)


@pytest.mark.parametrize("name", ["", "1-2", "00000-00001-xyz", "00000-00001-12345678.json", "../00000-00001-12345678"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(InvalidStudy, match="must be named like"):
        Batch(name)


def test_a_result_is_read_as_it_was_written(store: StudyDir) -> None:
    outcomes = [
        Outcome(state="complete", metrics={"loss": 0.5, "a b": -1.0}, logged=True),
        Outcome(state=INFEASIBLE, reason="oom", error="out of memory"),
        Outcome(state=FAILED, reason="crash", error="killed", traceback="..."),
    ]
    for number, outcome in enumerate(outcomes):
        result = a_result(number, outcome, attempt=number + 1)
        store.write_result(result)
        assert store.read_result(number) == result
    assert store.read_result(7) is None


@pytest.mark.parametrize(
    "text",
    [
        '{"schema_version": 1}',
        '{"schema_version": 1, "state": "complete", "metrics": {}}',
        '{"schema_version": 1, "state": "done", "number": 1}',
    ],
)
def test_a_record_that_is_no_result_is_unreadable(text: str) -> None:
    with pytest.raises(UnreadableFile, match="must hold the result of a trial"):
        parse_result(text.encode(), "f")


def test_which_results_settle_a_trial() -> None:
    failed = a_result(outcome=Outcome(state=FAILED, reason="timeout", error="late"), attempt=2)
    assert a_result().settles("rerun", 1)
    assert not failed.settles("rerun", 1)
    assert failed.settles("record", 2)
    assert not failed.settles("record", 3)
    assert not again(a_result()).settles("rerun", 1)


def test_results_are_read_again_only_where_they_changed(store: StudyDir, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        store.write_result(a_result(number))
    results = Results(store).refresh()
    assert sorted(results.by_number) == [0, 1, 2]
    read: list[int] = []
    real = StudyDir.read_result
    monkeypatch.setattr(StudyDir, "read_result", lambda self, number: read.append(number) or real(self, number))
    store.write_result(a_result(1, attempt=12))
    os.unlink(store.result_file(2))
    os.truncate(store.result_file(0), 9)
    results.refresh()
    assert sorted(read) == [0, 1]
    assert list(results.by_number) == [1]
    assert "trial_00000.json" in results.unreadable[0]
    store.write_result(a_result(0))
    assert (sorted(results.refresh().by_number), results.unreadable) == ([0, 1], {})


def test_a_result_of_another_version_is_not_passed_over(store: StudyDir) -> None:
    Path(store.result_file(0)).write_text('{"schema_version": 2}')
    with pytest.raises(OtherVersion):
        Results(store).refresh()


def test_batches_that_are_not_whole_have_an_empty_record(store: StudyDir) -> None:
    whole, broken = Batch.of(0, ["a"]), Batch.of(1, ["b"])
    store.write_batch(whole, {"states": {"complete": 1}})
    Path(store.batch_file(broken)).write_bytes(b'{"sta')
    Path(store.index_file).write_bytes(json_bytes({"batches": []}))
    records = store.batch_records()
    assert records[whole.name]["states"] == {"complete": 1}
    assert records[broken.name] == {}
    assert set(records) == {whole.name, broken.name}
    store.forget_batch(broken)
    store.forget_batch(broken)  # once more is no fault
    assert set(store.batch_records()) == {whole.name}


def test_who_runs_is_seen_without_writing(store: StudyDir) -> None:
    assert store.running([0, 1]) == []  # there is not even a lock file
    assert not os.path.exists(store.lock_file)
    lock = store.lock()
    lock.acquire(1)
    assert store.running([0, 1]) == [1]
    lock.close()
    assert store.running([0, 1]) == []


def test_the_archive_takes_everything_but_itself(store: StudyDir) -> None:
    assert StudyDir(store.root).archive() is not None  # the empty folders
    store.make()
    store.write_result(a_result())
    folder = store.archive()
    assert folder is not None
    assert folder.name == "002"
    assert (folder / "trials/trial_00003.json").exists()
    assert os.listdir(store.root) == ["archive"]
    assert [old.root for old in store.archived()] == [str(folder), str(folder.with_name("001"))]
    assert store.archive() is None
