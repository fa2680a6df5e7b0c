"""Results of equal work from elsewhere: studies that were set aside, studies that are named, a shared cache.

Equal work is an equal id: objective (or command), params, seed, fidelity and, where one is declared, ``version``. What
the user set aside or named is taken over even where the objective's source has changed since, and that is said; from a
cache, whose results nobody chose, only what has the same source, or the same declared version. Where a metric is a
time, the hardware has to be the same too, but for the study's own results.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from autotune.cache import Cache
from autotune.errors import InvalidStudy
from autotune.files import digest
from autotune.objectives import with_all_metrics
from autotune.origin import Origin, is_timed, origin_of, source_digest, source_files
from autotune.records import COMPLETE, Result
from autotune.storage import Results, StudyDir

WORK = ("objective", "command", "version", "seed")  # of a study: what makes its trials' ids, beside what each trial has


@dataclass
class Taken:
    """What was taken over: trial number -> where from, and notes for the user."""

    origins: dict[int, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A result elsewhere, and the study it is of (WORK); ``is_chosen``: of a study that the user set aside or named."""

    result: Result
    where: str
    work: Mapping[str, Any]
    is_chosen: bool = True


def take_over(
    store: StudyDir, study: Mapping[str, Any], ids: Iterable[tuple[int, str]], *, write: bool = True
) -> Taken:
    """Give trials without a result the one of a trial of equal id elsewhere.

    Args:
        store: the study directory.
        study: the content of its ``study.json``.
        ids: number and id of each trial.
        write: False only says what would be taken over.
    """
    taken, archived, named = Taken(), list(store.archived()), sources(store, study)
    if not archived and not named and not study.get("cache"):
        return taken
    open_: dict[str, int] = {}
    for number, id_ in ids:
        if not os.path.exists(store.result_file(number)):
            open_.setdefault(id_, number)
    here = origin_of(study) if open_ else Origin()
    for old in archived if open_ else ():
        found = [result for result in Results(old).refresh().by_number.values() if result.id in open_]
        _take(store, study, old, [(open_.pop(one.id), one) for one in _first(found)], here, taken, write=write)
    for other in named if open_ else ():
        results = Results(other).refresh().by_number.values()
        found = [result for result in results if result.id in open_ and not obstacles(study, result, here)]
        _take(store, study, other, [(open_.pop(one.id), one) for one in _first(found)], here, taken, write=write)
    shared = Shared.of(store, study, here)
    if shared is not None:
        found = [result for result in (shared.find(number, id_) for id_, number in open_.items()) if result is not None]
        taken.origins |= {result.number: result.reused_from or "" for result in found}
        for result in found if write else ():
            store.write_result(result)
        taken.notes += [f"results taken over from the cache {study['cache']}: {len(found)}"] if found else []
    return taken


def _first(results: Iterable[Result]) -> list[Result]:
    """Return the first result of each id."""
    return list({result.id: result for result in reversed(list(results))}.values())[::-1]


def _take(
    store: StudyDir,
    study: Mapping[str, Any],
    other: StudyDir,
    pairs: list[tuple[int, Result]],
    here: Origin,
    taken: Taken,
    *,
    write: bool,
) -> None:
    is_named = any(other.root == path for path in study.get("reuse", ()))
    for number, result in pairs:
        taken.origins[number] = result.reused_from or f"{other.root}, trial {result.number}"
        if write:
            _take_folder(store, other, number, result, study, is_named=is_named)
            store.write_result(replace(result, number=number, reused_from=taken.origins[number]))
    note = source_note(study, [result.source for _, result in pairs], here.source)
    if pairs and (is_named or note):
        taken.notes.append(f"results taken over from {other.root}: {len(pairs)}" + (f"; {note}" if note else ""))


def _take_folder(
    store: StudyDir, other: StudyDir, number: int, result: Result, study: Mapping[str, Any], *, is_named: bool
) -> None:
    """Move a trial's folder from what was set aside; of another study copy what its scalars and later rungs need."""
    old, new = other.work_dir(result.number), store.work_dir(number)
    if not os.path.isdir(old) or os.path.exists(new):
        return
    os.makedirs(os.path.dirname(new), exist_ok=True)
    if not is_named:
        os.rename(old, new)
    elif study.get("fidelity"):  # trials go on from the checkpoints of others
        import shutil

        shutil.copytree(old, new)
    elif result.outcome.logged and os.path.exists(other.logged_file(result.number)):
        os.makedirs(new)
        import shutil

        shutil.copyfile(other.logged_file(result.number), store.logged_file(number))


def changed_since(study: Mapping[str, Any], made_by: Mapping[str, int]) -> str:
    """Return what to say of a study's own results by the sources (-> how many) of its objective; empty if nothing."""
    others = Counter(made_by)
    note = source_note(study, others.elements(), source_digest(study)) if others else ""
    return f"the study has {others.total()} results, {note}" if note else ""


def source_note(study: Mapping[str, Any], sources: Iterable[str | None], now: str | None) -> str:
    """Return what to say of results whose objective had another source than now; empty where there are none."""
    changed = sum(source not in (None, now) for source in sources)
    if now is None or not changed:
        return ""
    files = ", ".join(os.path.relpath(path) for path in source_files(study))
    return (
        f"{changed} of which were made before the objective's source ({files}) changed, and are kept; if what it "
        f"computes has changed too, declare another `version` (now {study.get('version') or 'none'}) and give --fresh"
    )


def sources(store: StudyDir, study: Mapping[str, Any]) -> list[StudyDir]:
    """Return the studies that `reuse` names.

    Raises:
        InvalidStudy: one of them is no study, or this one.
    """
    named = [StudyDir(path) for path in study.get("reuse", ())]
    for other in named:
        if not os.path.exists(other.study_file) or os.path.realpath(other.root) == os.path.realpath(store.root):
            raise InvalidStudy(
                f"`reuse` must list directories of other studies, got {other.root!r}, which "
                f"{'is this one' if os.path.exists(other.study_file) else 'has no study.json'}; "
                "for example ../other/.autotune"
            )
    return named


def obstacles(study: Mapping[str, Any], result: Result, here: Origin) -> dict[str, tuple[Any, Any]]:
    """Return why a result of equal id of another study does not count here: field -> (here, there)."""
    found: dict[str, tuple[Any, Any]] = {}
    outcome = with_all_metrics(study, result.outcome)
    if result.state != COMPLETE or result.retry:
        found["state"] = (COMPLETE, "to run again" if result.retry else result.state)
    elif outcome.state != COMPLETE:
        found["metrics"] = (study["metric"], ", ".join(sorted(result.metrics)))
    if is_timed(study) and result.hardware != here.hardware:
        found["hardware"] = (here.hardware, result.hardware)
    return found


class Shared:
    """The cache as one study uses it."""

    def __init__(self, store: StudyDir, study: Mapping[str, Any], here: Origin) -> None:
        self._cache, self._study, self._here = Cache(study["cache"]), study, here
        self._root = os.path.abspath(store.root)
        # The id holds a declared version; a source whose file was not found may be any.
        source = None if study.get("version") else here.source
        self.key = digest([source, here.hardware]) if source or study.get("version") else None

    @classmethod
    def of(cls, store: StudyDir, study: Mapping[str, Any], here: Origin) -> Shared | None:
        """Return the study's cache, if it has one."""
        return cls(store, study, here) if study.get("cache") else None

    def find(self, number: int, id_: str) -> Result | None:
        """Return the result of a trial that another study has kept."""
        record = self._cache.find(id_, self.key) if self.key else None
        if record is None:
            return None
        result = replace(_cached(record).result, number=number, reused_from=record["where"])
        return result if result.id == id_ and not obstacles(self._study, result, self._here) else None

    def keep(self, result: Result) -> None:
        """Keep a complete result for others; what the trial logged stays with its study."""
        if result.state != COMPLETE or self.key is None:
            return
        record = {
            "result": replace(result, outcome=replace(result.outcome, logged=False)).to_dict(),
            "where": result.reused_from or f"{self._root}, trial {result.number}",
            "work": {name: self._study.get(name) for name in WORK},
        }
        self._cache.keep(result.id, self.key, record)

    def candidates(self) -> Iterator[Candidate]:
        """Yield all that the cache holds."""
        yield from map(_cached, self._cache.records())


def _cached(record: dict[str, Any]) -> Candidate:
    return Candidate(Result.from_dict(record["result"]), record["where"], record["work"], is_chosen=False)


def candidates(store: StudyDir, study: Mapping[str, Any]) -> Iterator[Candidate]:
    """Yield all results elsewhere that a trial may be compared with."""
    for other in (*store.archived(), *sources(store, study)):
        work = other.read_study()
        for result in Results(other).refresh().by_number.values():
            yield Candidate(result, f"{other.root}, trial {result.number}", work)
    shared = Shared.of(store, study, Origin())
    if shared is not None:
        yield from shared.candidates()
