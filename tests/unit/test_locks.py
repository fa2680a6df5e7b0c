"""Locks: between processes, through forks, and on a file system that has none."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from pathlib import Path

import pytest

from autotune import files
from autotune.files import LockFile


def test_a_byte_is_held_by_one(tmp_path: Path) -> None:
    one, other = LockFile(tmp_path / "lock"), LockFile(tmp_path / "lock")
    assert one.acquire(7)
    assert not other.acquire(7)
    assert other.acquire(8)
    assert other.is_held(7)
    assert not one.is_held(7)  # by itself, that is
    one.release(7)
    assert other.acquire(7)
    one.close()
    other.close()


def test_a_read_only_file_says_who_runs(tmp_path: Path) -> None:
    holder = LockFile(tmp_path / "lock")
    holder.acquire(3)
    (tmp_path / "lock").chmod(0o444)
    reader = LockFile(tmp_path / "lock", read_only=True)
    assert reader.is_held(3)
    assert not reader.is_held(4)


def test_a_forked_child_keeps_the_lock_until_it_ends(tmp_path: Path) -> None:
    lock, other = LockFile(tmp_path / "lock"), LockFile(tmp_path / "lock")
    lock.acquire(1)
    child = os.fork()
    if child == 0:
        time.sleep(0.5)
        os._exit(0)
    lock.close()
    assert other.is_held(1)
    os.waitpid(child, 0)
    assert other.acquire(1)


def test_without_locks_all_are_granted_and_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: object) -> bytes:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "fcntl", no_locks)
    files.warn_once.cache_clear()
    lock = LockFile(tmp_path / "lock")
    with pytest.warns(UserWarning, match="has no locks"):
        assert lock.acquire(1)
    assert not lock.is_held(1)
    with lock.holding(2):
        pass
    lock.close()
