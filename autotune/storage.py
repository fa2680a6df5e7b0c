"""The study directory: the only module that knows its file names.

Readers need no lock, since every file is whole or absent. Writers hold one, a byte of ``lock`` each: a trial's for its
result, a batch's for its output, and one each for planning and aggregating.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from autotune.batch import BATCH_NAME, Batch
from autotune.errors import InvalidStudy, UnreadableFile
from autotune.files import LockFile, digest, json_bytes, parse_record, read_bytes, read_record, write_atomic
from autotune.records import Result, TrialConfig

PLAN_LOCK = 1 << 60
AGGREGATE_LOCK = PLAN_LOCK + 1
CONTROLLER_LOCK = PLAN_LOCK + 2  # held by the one `autotune study` that runs a study on SLURM
BUDGET_LOCK = PLAN_LOCK + 3
_BATCH_LOCKS = 1 << 61  # trial numbers are locked at their own number, batches at this plus their first trial's


class StudyDir:
    """The files of one study, below ``root`` (its ``log_dir``)."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = os.fspath(root)
        self.study_file = self._path("study.json")
        self.index_file = self._path("batches", "index.json")
        self.scalars_file = self._path("scalars.csv")
        self.trials_file = self._path("trials.csv")
        self.best_file = self._path("best.json")
        self.report_file = self._path("report.html")
        self.lock_file = self._path("lock")
        self.cancel_file = self._path("cancel")  # `autotune cancel` asks a running `autotune study` to end
        self.snakemake_log = self._path("logs", "snakemake.log")
        self.spent_file = self._path("spent.json")  # what a study with a budget has spent
        self.exports_file = self._path("exports.json")  # where `autotune export` wrote, so that it replaces only that
        self._configs = self._path("configs")
        self._trials = self._path("trials")
        self._work = self._path("work")

    def _path(self, *parts: str) -> str:
        return os.path.join(self.root, *parts)

    # Names of one trial's and one batch's files

    def config_file(self, number: int) -> str:
        """``configs/trial_00000.json``: what was planned."""
        return f"{self._configs}/trial_{number:05d}.json"

    def result_file(self, number: int) -> str:
        """``trials/trial_00000.json``: what came of it."""
        return f"{self._trials}/trial_{number:05d}.json"

    def work_dir(self, number: int) -> str:
        """``work/trial_00000``: the trial's own folder, made when it is needed."""
        return f"{self._work}/trial_{number:05d}"

    def stdout_file(self, number: int) -> str:
        """``work/trial_00000/stdout.log``: what the trial printed."""
        return f"{self._work}/trial_{number:05d}/stdout.log"

    def logged_file(self, number: int) -> str:
        """``work/trial_00000/scalars.jsonl``: what the trial logged, ``[time, tag, step, value]`` a line."""
        return f"{self._work}/trial_{number:05d}/scalars.jsonl"

    def begun_file(self, name: str) -> str:
        """``running/00000-00049-1a2b3c4d.jsonl``: what the jobs of a batch have begun, while it is not settled.

        ``[number, attempt, started_at, host, gpus]`` a line.
        """
        return self._path("running", f"{name}.jsonl")

    def forget_begun(self, name: str) -> None:
        """Remove what says which trials of a batch have begun."""
        with contextlib.suppress(OSError):
            os.unlink(self.begun_file(name))

    def begun_files(self) -> list[str]:
        """Return the paths of all files that say what was begun."""
        with contextlib.suppress(FileNotFoundError):
            return [self._path("running", name) for name in os.listdir(self._path("running"))]
        return []

    def logged_files(self) -> Iterator[tuple[int, str]]:
        """Yield number and file of every trial that may have logged something."""
        with contextlib.suppress(FileNotFoundError), os.scandir(self._work) as entries:
            for entry in entries:
                if entry.name[:6] == "trial_" and entry.name[6:].isdigit():
                    yield int(entry.name[6:]), f"{entry.path}/scalars.jsonl"

    def pruner_file(self, number: int) -> str:
        """``work/trial_00000/pruner.jsonl``: what the trial's pruner saw and said, a line each time it was asked."""
        return f"{self._work}/trial_{number:05d}/pruner.jsonl"

    def batch_file(self, batch: Batch) -> str:
        """``batches/00000-00049-1a2b3c4d.json``: the declared output of the batch's Snakemake job."""
        return self._path("batches", f"{batch.name}.json")

    def batch_log(self, batch: Batch) -> str:
        """``logs/00000-00049-1a2b3c4d.log``: what the batch's Snakemake job printed."""
        return self._path("logs", f"{batch.name}.log")

    def round_file(self, round_: int) -> str:
        """``rounds/round_00001.json``: what a round of an adaptive study knew, and the trials that it proposed."""
        return self._path("rounds", f"round_{round_:05d}.json")

    def round_stamp(self, round_: int) -> str:
        """``batches/round_00001.json``: the declared output of the Snakemake job that plans the round."""
        return self._path("batches", f"round_{round_:05d}.json")

    def export_path(self, name: str) -> str:
        """``export/<name>``: where ``autotune export`` writes unless it is told where."""
        return self._path("export", name)

    def figure_file(self, name: str) -> str:
        """``report/<name>``: a figure of the report as a file of its own."""
        return self._path("report", name)

    # Writing

    def make(self) -> None:
        """Make the folders; raise InvalidStudy where that cannot be done."""
        try:
            for folder in ("configs", "rounds", "batches", "trials", "running", "logs"):
                os.makedirs(self._path(folder), exist_ok=True)
            if not os.access(self.root, os.W_OK):
                raise PermissionError(13, "Permission denied")
        except (OSError, ValueError) as error:  # ValueError: a NUL byte
            why = getattr(error, "strerror", None) or str(error)
            raise InvalidStudy(
                f"log_dir must be a folder that can be written, got {self.root!r} ({why}); give another with --log-dir"
            ) from None

    def lock(self) -> LockFile:
        """Open the locks of this study for a writer."""
        return LockFile(self.lock_file)

    def write_result(self, result: Result) -> None:
        """Write the result of a trial; the caller holds the trial's lock."""
        write_atomic(self.result_file(result.number), json_bytes(result.to_dict()))

    def write_batch(self, batch: Batch, record: dict[str, Any]) -> None:
        """Write a batch's output: all its trials are settled."""
        with contextlib.closing(self.lock()) as lock, lock.holding(_BATCH_LOCKS + batch.numbers.start):
            write_atomic(self.batch_file(batch), json_bytes(record))

    def write_round(self, round_: int, record: dict[str, Any]) -> None:
        """Write what a round knew and proposed, once and for all; the caller holds the plan's lock."""
        write_atomic(self.round_file(round_), json_bytes(record))

    def forget_batch(self, batch: Batch) -> None:
        """Remove a batch's output, so that Snakemake runs its job again."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.batch_file(batch))

    def remove_strays(self, lock: LockFile) -> None:
        """Remove what killed writers left of batches: of two, the second may be done before the first dies."""
        for name in os.listdir(self._path("batches")):
            batch_name = name.removeprefix(".").removesuffix(".json.tmp")
            if name == f".{batch_name}.json.tmp" and BATCH_NAME.fullmatch(batch_name):
                byte = _BATCH_LOCKS + Batch(batch_name).numbers.start
                if lock.acquire(byte):  # else it is being written at this moment
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(self._path("batches", name))
                    lock.release(byte)

    # Reading

    def read_study(self) -> dict[str, Any]:
        """Read ``study.json``.

        Raises:
            InvalidStudy: there is no plan yet.
            UnreadableFile: it is not whole, or of another version.
        """
        try:
            study = read_record(self.study_file)
        except FileNotFoundError:
            raise InvalidStudy(
                f"there must be a plan in {self.root!r}, but {self.study_file} is not there; run `autotune plan` first"
            ) from None
        except UnreadableFile as error:
            raise UnreadableFile(f"{error}; plan again with --fresh (results that recur are kept)") from None
        if study.get("digest") != study_digest(study):
            raise UnreadableFile(
                f"{self.study_file} must be as `autotune plan` wrote it, but it was edited; plan again with --fresh"
            )
        return study

    def read_config(self, number: int) -> TrialConfig:
        """Read what was planned for a trial."""
        path = self.config_file(number)
        try:
            return TrialConfig.from_dict(parse_record(read_bytes(path), path))
        except FileNotFoundError:
            raise UnreadableFile(
                f"{path} must be there, but is not; run `autotune plan` again, which writes it anew"
            ) from None
        except KeyError as error:
            raise UnreadableFile(f"{path} must have the key {error}; run `autotune plan` again") from None
        except UnreadableFile as error:
            raise UnreadableFile(f"{error}; run `autotune plan` again, which writes it anew") from None

    def read_result(self, number: int) -> Result | None:
        """Read the result of a trial; None if it has none.

        Raises:
            UnreadableFile: it is not whole (cut off by hand, say), or of another version.
        """
        path = self.result_file(number)
        try:
            data = read_bytes(path)
        except FileNotFoundError:
            return None
        return parse_result(data, path)

    def read_round(self, round_: int) -> dict[str, Any] | None:
        """Read what a round knew and proposed; None if it is not planned yet."""
        path = self.round_file(round_)
        try:
            return read_record(path)
        except FileNotFoundError:
            return None
        except UnreadableFile as error:
            raise UnreadableFile(f"{error}; remove it, and the round is proposed again from the same results") from None

    def read_index(self) -> dict[str, Any]:
        """Read ``batches/index.json``: the list of batches."""
        try:
            index = read_record(self.index_file)
        except FileNotFoundError:
            raise InvalidStudy(f"there must be a plan in {self.root!r}; run `autotune plan` first") from None
        except UnreadableFile as error:
            raise UnreadableFile(f"{error}; run `autotune plan` again, which writes it anew") from None
        if not isinstance(index.get("batches"), list):
            raise UnreadableFile(f"{self.index_file} must list the batches; run `autotune plan` again")
        return index

    def batches(self) -> list[Batch]:
        """Return all batches of the plan."""
        return [Batch(name) for name in self.read_index()["batches"]]

    def result_sizes(self) -> dict[int, tuple[int, int]]:
        """Return number -> (bytes, modification time in ns) of every result, in one pass over the folder."""
        return _sizes(self._trials)

    def changed_ns(self) -> list[int]:
        """Return what differs whenever the plan or a result has been written, without a look into their folder."""
        with contextlib.suppress(FileNotFoundError):
            return [os.stat(path).st_mtime_ns for path in (self.study_file, self._trials)]
        return []

    def config_sizes(self) -> dict[int, tuple[int, int]]:
        """Return number -> (bytes, modification time in ns) of every config."""
        return _sizes(self._configs)

    def batch_records(self) -> dict[str, dict[str, Any]]:
        """Return name -> record of every batch whose output is there; an empty record where it is not whole."""
        records = {}
        with contextlib.suppress(FileNotFoundError), os.scandir(self._path("batches")) as entries:
            for entry in entries:
                name = entry.name.removesuffix(".json")
                if BATCH_NAME.fullmatch(name):
                    try:
                        records[name] = read_record(entry.path)
                    except FileNotFoundError:
                        continue
                    except UnreadableFile:
                        records[name] = {}
        return records

    def running(self, numbers: Iterable[int]) -> list[int]:
        """Return those of the trials that some process has locked, that is, runs now; on a network file system too."""
        wanted = set(numbers)
        try:
            lock = LockFile(self.lock_file, read_only=True)
        except OSError:
            return []
        with contextlib.closing(lock):
            return sorted(wanted.intersection(lock.held(range(max(wanted, default=-1) + 1))))

    # Setting aside

    def archive(self) -> Path | None:
        """Move all of the study to ``archive/001`` (or the next free number); return that folder."""
        names = [name for name in os.listdir(self.root) if name not in ("archive", "lock")]
        if not names:
            return None
        taken = [int(name) for name in self._archived() if name.isdigit()]
        folder = Path(self._path("archive", f"{max(taken, default=0) + 1:03d}"))
        folder.mkdir(parents=True)
        # study.json goes first: from then on there is no plan here, whatever happens next.
        for name in sorted(names, key=lambda name: name != "study.json"):
            os.rename(self._path(name), folder / name)
        return folder

    def archived(self) -> Iterator[StudyDir]:
        """Yield the studies that were set aside, the latest first."""
        for name in sorted(self._archived(), reverse=True):
            yield StudyDir(self._path("archive", name))

    def _archived(self) -> list[str]:
        try:
            return os.listdir(self._path("archive"))
        except FileNotFoundError:
            return []


class Results:
    """All results of a study, read again only where a file has changed."""

    def __init__(self, store: StudyDir) -> None:
        self._store = store
        self._seen: dict[int, tuple[int, int]] = {}
        self.by_number: dict[int, Result] = {}
        self.unreadable: dict[int, str] = {}

    def refresh(self) -> Results:
        """Read what is new; raise OtherVersion where a result is of another version."""
        sizes = self._store.result_sizes()
        for number in self._seen.keys() - sizes.keys():
            self.by_number.pop(number, None)
            self.unreadable.pop(number, None)
        for number, stamp in sizes.items():
            if self._seen.get(number) != stamp:
                self._read(number)
        self._seen = sizes
        return self

    def _read(self, number: int) -> None:
        self.by_number.pop(number, None)
        self.unreadable.pop(number, None)
        try:
            result = self._store.read_result(number)
            if result is not None:
                self.by_number[number] = result
        except UnreadableFile as error:
            self.unreadable[number] = str(error)


def study_digest(study: dict[str, Any]) -> str:
    """Return the digest of all else that is in ``study.json``."""
    return digest({key: item for key, item in study.items() if key not in ("digest", "schema_version")})


def parse_result(data: bytes, path: str) -> Result:
    """Parse the bytes of a result file; UnreadableFile if they are not one."""
    record = parse_record(data, path)
    try:
        return Result.from_dict(record)
    except (KeyError, TypeError, ValueError) as error:
        raise UnreadableFile(f"{path} must hold the result of a trial, but does not: {error}") from None


def _sizes(folder: str) -> dict[int, tuple[int, int]]:
    sizes = {}
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            if name.startswith("trial_") and name.endswith(".json") and name[6:-5].isdigit():
                with contextlib.suppress(FileNotFoundError):
                    status = entry.stat()
                    sizes[int(name[6:-5])] = (status.st_size, status.st_mtime_ns)
    return sizes
