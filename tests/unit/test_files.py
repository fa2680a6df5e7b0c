from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.errors import InvalidInput, OtherVersion, UnreadableFile
from autotune.files import (
    LockFile,
    canonical,
    digest,
    json_bytes,
    load_user_file,
    parse_record,
    read_bytes,
    read_record,
    write_atomic,
    write_if_changed,
)

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), VALUES, max_size=4))
def test_a_record_is_read_as_it_was_written(record: dict[str, Any]) -> None:
    record.pop("schema_version", None)
    for indent in (False, True):
        assert parse_record(json_bytes(record, indent=indent), "f") == {**record, "schema_version": 1}


@given(st.dictionaries(st.text(), VALUES, max_size=4))
def test_the_order_of_keys_does_not_count(record: dict[str, Any]) -> None:
    turned = dict(reversed(list(record.items())))
    assert canonical(turned) == canonical(record)
    assert digest(turned) == digest(record)
    assert len(digest(record)) == 16


def test_nan_is_no_json() -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical({"x": float("nan")})


@pytest.mark.parametrize("text", ["\ud800", "a\udc80b", "\u2603", "\x00\x1f\x7f"])
def test_any_text_can_be_written(text: str, tmp_path: Path) -> None:
    write_atomic(tmp_path / "f.json", json_bytes({"text": text}))
    assert read_record(tmp_path / "f.json")["text"] == text
    assert digest(text) == digest(text)


def test_a_write_is_whole_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "f"
    write_atomic(path, b"old")
    real = os.write

    def full(handle: int, data: Any) -> int:
        if len(data) > 2:
            return real(handle, data[:2])  # a nearly full disk takes a part first
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space") as caught:
        write_atomic(path, b"newer")
    assert caught.value.filename == str(path)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["f"]


def test_a_left_temporary_file_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / ".f.tmp").write_bytes(b"a longer text than the next")
    write_atomic(tmp_path / "f", b"next")
    assert (tmp_path / "f").read_bytes() == b"next"
    assert os.listdir(tmp_path) == ["f"]


def test_equal_bytes_are_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "f"
    assert write_if_changed(path, b"x")
    stamp = path.stat().st_mtime_ns, path.stat().st_ino
    assert not write_if_changed(path, b"x")
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == stamp
    assert write_if_changed(path, b"y")


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 3_000_000])
def test_files_of_any_size_are_read_whole(size: int, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x" * size)
    assert len(read_bytes(str(tmp_path / "f"))) == size


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", r"not whole \(0 bytes\)"),
        (b'{"a": 1', r"not whole \(7 bytes\)"),
        (b"\x00" * 9, r"not whole \(9 bytes\)"),
        (b"\xff\xfe\xfa", "not whole"),
        (b"[" * 100_000, "not whole"),
        (b"[1]", "got list"),
        (b"null", "got NoneType"),
        (b"{}", "schema_version 1, got None"),
        (b'{"schema_version": "1"}', "got '1'"),
        (b'{"schema_version": true}', "got True"),
    ],
)
def test_what_is_no_record_is_unreadable(data: bytes, says: str) -> None:
    with pytest.raises(UnreadableFile, match=f"^here/f.json must .*{says}"):
        parse_record(data, "here/f.json")


@pytest.mark.parametrize("version", [0, 2, 10**30])
def test_another_version_is_refused_and_is_no_damage(version: int) -> None:
    with pytest.raises(OtherVersion, match=rf"^f must have schema_version 1, got {version}: .*install that version"):
        parse_record(json.dumps({"schema_version": version}).encode(), "f")
    assert not issubclass(OtherVersion, UnreadableFile)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-5", 1e-5),
        ("1E5", 1e5),
        ("-2.5e+3", -2500.0),
        ("+1e0", 1.0),
        ("1_000", 1000),
        ("'1e-5'", "1e-5"),
        ("1e", "1e"),
        ("e5", "e5"),
        ("null", None),
        ("[8, 16]", [8, 16]),
    ],
)
def test_yaml_knows_the_numbers_that_people_write(text: str, value: object, tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(f"x: {text}\n")
    found = load_user_file(path)["x"]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("s.yaml", "a: [1\nb: 2\n", "line 2"),
        ("s.yaml", "? [a]\n: b\n", "unhashable"),
        ("s.yaml", "a: 2001-99-99\n", "month"),
        ("s.yaml", "a: " + "[" * 5000, "recursion"),
        ("s.json", "{", "line 1"),
        ("s.json", "[" * 100_000, "recursion"),
    ],
)
def test_a_users_file_is_refused_with_its_name(name: str, text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(InvalidInput) as caught:
        load_user_file(path)
    assert str(path) in str(caught.value)
    assert says in str(caught.value)


def test_a_lock_is_held_by_one_and_dies_with_its_holder(tmp_path: Path) -> None:
    one, two = LockFile(tmp_path / "lock"), LockFile(tmp_path / "lock")
    watcher = LockFile(tmp_path / "lock", read_only=True)
    assert one.acquire(7)
    assert not two.acquire(7)
    assert two.acquire(8)
    assert watcher.is_held(7)
    assert not watcher.is_held(9)
    one.close()
    assert not watcher.is_held(7)
    assert two.acquire(7)
    with two.holding(9):
        assert watcher.is_held(9)
    assert not watcher.is_held(9)
    two.close()
    watcher.close()


def test_a_lock_lasts_until_the_last_process_that_shares_it_is_gone(tmp_path: Path) -> None:
    lock, watcher = LockFile(tmp_path / "lock"), LockFile(tmp_path / "lock", read_only=True)
    lock.acquire(1 << 61)
    source, sink = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(sink)
        os.read(source, 1)
        os._exit(0)
    lock.close()
    assert watcher.is_held(1 << 61)
    os.write(sink, b"x")
    os.waitpid(child, 0)
    assert not watcher.is_held(1 << 61)
    watcher.close()
    os.close(source)
    os.close(sink)
