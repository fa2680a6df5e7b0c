"""What an exporter sees of a study, and where it may write."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from autotune.aggregation import Logged, logged_values, planned_results
from autotune.errors import InvalidInput
from autotune.files import json_bytes, read_record, write_atomic
from autotune.objectives import objectives_of
from autotune.records import Result
from autotune.storage import AGGREGATE_LOCK, Results, StudyDir


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A study with the results that it has now."""

    store: StudyDir
    study: dict[str, Any]
    results: list[Result]

    @classmethod
    def of(cls, store: StudyDir) -> Snapshot:
        """Read a study; results that are not whole are left out, as they are of every table."""
        study = store.read_study()
        return cls(store, study, list(planned_results(study, Results(store).refresh()).values()))

    @property
    def folder(self) -> str:
        """The study directory's absolute path, which tells studies of one name apart."""
        return os.path.realpath(self.store.root)

    @property
    def name(self) -> str:
        """The study's name: that of its directory, or of the folder around one that is hidden (``demo/.autotune``)."""
        around, own = os.path.split(self.folder)
        return (os.path.basename(around) if own.startswith(".") else own) or "autotune"

    @property
    def objectives(self) -> list[tuple[str, str]]:
        """(name, mode) of each metric that is optimized."""
        return objectives_of(self.study)

    @property
    def parameters(self) -> dict[str, dict[str, Any]]:
        """The JSON form of each parameter, by its name."""
        space: dict[str, dict[str, Any]] = self.study["space"]
        return {name: space[name] for name in self.study["parameters"]}

    def given(self, result: Result) -> dict[str, Any]:
        """Return what the trial's objective got: its params, and the study's fidelity by its name."""
        if result.fidelity is None:
            return result.params
        return {**result.params, self.study["fidelity"]["name"]: result.fidelity}

    def logged(self, result: Result) -> list[Logged]:
        """Return what a trial logged itself, in order."""
        return list(logged_values(self.store, result.number)) if result.outcome.logged else []


@dataclass(frozen=True, slots=True)
class Written:
    """What an export came to: what was written where, and the command that opens it."""

    what: str
    where: str
    opens: str


def trial_name(number: int) -> str:
    """Return what a trial is called elsewhere, as its files are here."""
    return f"trial_{number:05d}"


@contextlib.contextmanager
def replacing(store: StudyDir, target: str) -> Iterator[str]:
    """Yield a path to write a file or folder to, which then takes the place of what was exported to ``target`` before.

    Raises:
        InvalidInput: at ``target`` is something that no export of this study wrote.
    """
    target = os.path.abspath(target)
    _check_own(store, target)
    folder, name = os.path.split(target)
    os.makedirs(folder, exist_ok=True)
    temporary = os.path.join(folder, f".{name}.tmp")
    _remove(temporary)  # of an export that was killed
    try:
        yield temporary
        _remember(store, target)
        _remove(target)
        os.replace(temporary, target)
    finally:
        _remove(temporary)


def _check_own(store: StudyDir, target: str) -> None:
    is_free = not os.path.lexists(target) or (os.path.isdir(target) and not os.listdir(target))
    is_ours = os.path.dirname(target) == os.path.abspath(store.export_path("")) or target in _targets(store)
    if not is_free and not is_ours:
        raise InvalidInput(
            f"--to must be a new path, or one that this study was exported to before, got {target!r}, "
            "which is of something else; give another, or remove it"
        )


def _targets(store: StudyDir) -> list[str]:
    try:
        return list(read_record(store.exports_file)["targets"])
    except FileNotFoundError:
        return []


def _remember(store: StudyDir, target: str) -> None:
    with contextlib.closing(store.lock()) as lock, lock.holding(AGGREGATE_LOCK):
        targets = sorted({*_targets(store), target})
        write_atomic(store.exports_file, json_bytes({"targets": targets}, indent=True))


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
