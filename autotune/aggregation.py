"""From results to what a user reads: counts, the best trial, ``best.json``, ``trials.csv`` and ``scalars.csv``."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotune.errors import InvalidStudy
from autotune.files import json_bytes, write_if_changed
from autotune.objectives import best_trial, constraints_of
from autotune.records import COMPLETE, FAILED, INFEASIBLE, STATES, Result
from autotune.storage import AGGREGATE_LOCK, Results, StudyDir

SCALAR_COLUMNS = ["step", "tag", "value", "time"]


@dataclass(frozen=True, slots=True)
class Logged:
    """A value that a trial logged itself: when (seconds since 1970), under which tag, at which step."""

    time_s: float
    tag: str
    step: int
    value: float


@dataclass
class Summary:
    """Where a study stands.

    ``failed`` are the trials that failed, whether they run again or not; ``groups`` says of what, the most frequent
    first: (state, reason, error) -> trial numbers.
    """

    study: dict[str, Any]
    trials: int
    counts: dict[str, int]
    missing: int
    running: list[int]
    unsettled: int  # missing, or failed and to run again
    best: Result | None
    groups: dict[tuple[str, str, str], list[int]]
    unreadable: dict[int, str]

    @property
    def failed(self) -> int:
        """Trials that failed."""
        return self.counts[FAILED]

    @property
    def done(self) -> int:
        """Trials that need no further execution."""
        return self.trials - self.unsettled

    def to_dict(self) -> dict[str, Any]:
        """Return the summary for scripts, as ``autotune status --json`` prints it."""
        return {
            "trials": self.trials,
            "counts": {**self.counts, "missing": self.missing, "running": len(self.running)},
            "done": self.done,
            "unsettled": self.unsettled,
            "best": best_record(self.study, self.best),
            "failures": [
                {"state": state, "reason": reason, "error": error, "trials": numbers}
                for (state, reason, error), numbers in self.groups.items()
            ],
            "unreadable": {str(number): error for number, error in self.unreadable.items()},
        }


def summarize(store: StudyDir, study: dict[str, Any], results: Results) -> Summary:
    """Say where a study stands; reads results that are new since the last call with the same ``results``."""
    results.refresh()
    known = planned_results(study, results)
    missing = [number for number in range(study["trials"]) if number not in known]
    open_ = [result for result in known.values() if not result.settles(study["on_failure"], study["attempts"])]
    states = [result.state for result in known.values()]
    return Summary(
        study=study,
        trials=study["trials"],
        counts={state: states.count(state) for state in STATES},
        missing=len(missing),
        running=store.running([*missing, *(result.number for result in open_)]),
        unsettled=len(missing) + len(open_),
        best=best_of(study, list(known.values())),
        groups=_groups(known.values()),
        unreadable=results.unreadable,
    )


def planned_results(study: dict[str, Any], results: Results) -> dict[int, Result]:
    """Return the results of the trials that the plan holds, by number, in order."""
    there = results.by_number
    return {number: there[number] for number in sorted(there) if number < study["trials"]}


def best_of(study: dict[str, Any], results: Sequence[Result]) -> Result | None:
    """Return the best trial by the first metric; of repeated ones the first, with the means of all as its metrics."""
    if not study.get("repeats"):
        return best_trial(study, results)
    from autotune.repeats import best_group

    return best_group(study, results)


def best_record(study: dict[str, Any], best: Result | None, results: Sequence[Result] = ()) -> dict[str, Any]:
    """Return the content of ``best.json``; its ``params`` are None while no trial has completed.

    With several metrics, ``pareto`` holds those of ``results`` that no other one beats, the best in the first metric
    first. With repeats, the metrics are means, and ``ties`` holds the points that cannot be told apart from the best
    at 95 %, the chosen one first, each with its mean and the interval of it.
    """
    record = {
        "metric": study["metric"],
        "mode": study["mode"],
        "number": None if best is None else best.number,
        "id": None if best is None else best.id,
        "params": None if best is None else best.params,
        "value": None if best is None else best.metrics[study["metric"]],
        "metrics": None if best is None else best.metrics,
    }
    if study.get("fidelity"):
        record["fidelity"] = None if best is None else best.fidelity
    if study.get("repeats"):
        from autotune.repeats import tie_records

        record["ties"] = tie_records(study, results)
    if study.get("metrics"):
        from autotune.pareto import front

        fields = ("number", "id", "params", "metrics")
        record["pareto"] = [{name: getattr(item, name) for name in fields} for item in front(study, results)]
    return record


def write_best(store: StudyDir, study: dict[str, Any], best: Result | None, results: Sequence[Result] = ()) -> None:
    """Write ``best.json``, and its copy where the study asks for one; the caller holds the aggregate's lock."""
    record = best_record(study, best, results)
    write_if_changed(store.best_file, json_bytes(record, indent=True))
    copy = study["write_best_to"]
    if copy and os.path.abspath(copy) != os.path.abspath(store.best_file):
        try:
            os.makedirs(os.path.dirname(os.path.abspath(copy)), exist_ok=True)
            write_if_changed(copy, _copy_bytes(record, copy))
        except OSError as error:
            raise InvalidStudy(
                f"`write_best_to` must be a file that can be written, got {copy!r} ({error.strerror}); "
                f"the best is in {store.best_file}"
            ) from None


def _copy_bytes(record: dict[str, Any], path: str) -> bytes:
    """Return the content of ``best.json`` as YAML where the copy's name says so, else as it is."""
    data = json_bytes(record, indent=True)
    if not path.endswith((".yaml", ".yml")):
        return data
    import yaml

    return str(yaml.safe_dump(json.loads(data))).encode()


def aggregate(store: StudyDir) -> Summary:
    """Write ``best.json``, ``trials.csv`` and ``scalars.csv`` from all results there are, also while trials run.

    A result that is not whole is named in the summary, and its batch is put back to work.
    """
    study = store.read_study()
    results = Results(store)
    with contextlib.closing(store.lock()) as lock, lock.holding(AGGREGATE_LOCK):
        summary = summarize(store, study, results)
        known = list(planned_results(study, results).values())
        write_if_changed(store.trials_file, csv_bytes(trial_rows(known, study), trial_columns(study, known)))
        write_if_changed(store.scalars_file, csv_bytes(scalar_rows(store, known, study), SCALAR_COLUMNS))
        write_best(store, study, summary.best, known)
    if results.unreadable:
        _put_back(store, results.unreadable)
    return summary


def _put_back(store: StudyDir, numbers: Iterable[int]) -> None:
    damaged = set(numbers)
    for batch in store.batches():
        if not damaged.isdisjoint(batch.numbers):
            store.forget_batch(batch)


def _groups(results: Iterable[Result]) -> dict[tuple[str, str, str], list[int]]:
    groups: dict[tuple[str, str, str], list[int]] = {}
    for result in results:
        if result.state in (FAILED, INFEASIBLE):
            outcome = result.outcome
            groups.setdefault((result.state, outcome.reason or "", outcome.error or ""), []).append(result.number)
    return dict(sorted(groups.items(), key=lambda group: (-len(group[1]), group[1])))


# Tables


def csv_bytes(rows: Iterator[dict[str, Any]], columns: list[str]) -> bytes:
    """Return a table as the bytes of a CSV file."""
    import pandas as pd

    # dtype=object: a column with gaps would turn its integers into floats, and where PyArrow is installed a name with
    # half of a surrogate pair would be refused.
    table = pd.DataFrame(rows, columns=pd.Index(columns, dtype=object), dtype=object)
    return bytes(table.to_csv(index=False).encode("utf-8", "backslashreplace"))


def trial_columns(study: dict[str, Any], results: list[Result]) -> list[str]:
    """Return the columns of ``trials.csv``."""
    metrics = sorted({name for result in results for name in result.metrics} - {study["metric"]})
    return [
        *("number", "state", "reason", *judged_columns(study)),
        *(f"params.{name}" for name in study["parameters"]),
        *(f"metrics.{name}" for name in [study["metric"], *metrics]),
        *("duration_s", "attempt", "host", "gpus", "started_at", "id", "error"),
    ]


def judged_columns(study: dict[str, Any]) -> list[str]:
    """Return the columns that only some studies have."""
    asked = {"fidelity": "fidelity", "repeat": "repeats", "feasible": "constraints", "rank": "metrics"}
    reuses = bool(study.get("reuse") or study.get("cache"))
    return [column for column, option in asked.items() if study.get(option)] + ["reused_from"] * reuses


def _judged(study: dict[str, Any], results: list[Result]) -> Iterator[dict[str, Any]]:
    """Yield what is in a trial's columns that only some studies have: feasible and rank depend on all trials."""
    ranked: dict[int, int] = {}
    if study.get("metrics"):
        from autotune.pareto import ranks

        ranked = ranks(study, results)
    constraints = constraints_of(study)
    for result in results:
        is_complete = result.state == COMPLETE
        yield {
            "fidelity": result.fidelity,
            "repeat": result.repeat or 0,
            "feasible": all(item.violation(result.metrics) <= 0 for item in constraints) if is_complete else None,
            "rank": ranked.get(result.number),
            "reused_from": result.reused_from,
        }


def trial_rows(results: list[Result], study: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the rows of ``trials.csv``: one a trial; a key may be missing."""
    for result, judged in zip(results, _judged(study, results), strict=True):
        row: dict[str, Any] = {
            "number": result.number,
            "state": result.state,
            "reason": result.outcome.reason,
            "duration_s": result.duration_s,
            "attempt": result.attempt,
            "host": result.host,
            "gpus": result.gpus,
            "started_at": result.started_at,
            "id": result.id,
            "error": result.outcome.error,
            **judged,
        }
        row |= {f"params.{name}": value for name, value in result.params.items()}
        row |= {f"metrics.{name}": value for name, value in result.metrics.items()}
        yield row


def scalar_rows(store: StudyDir, results: list[Result], study: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the rows of ``scalars.csv``: each round's hypervolume, each trial's metrics and what it logged."""
    yield from _hypervolume_rows(study, results)
    for result in results:
        time = round(result.started_at + result.duration_s, 3)
        for name, value in result.metrics.items():
            yield {"step": result.number, "tag": f"autotune.{name}", "value": value, "time": time}
        if result.outcome.logged:
            for logged in logged_values(store, result.number):
                tag = f"trial_{result.number:05d}/{logged.tag}"
                yield {"step": logged.step, "tag": tag, "value": logged.value, "time": round(logged.time_s, 3)}


def _hypervolume_rows(study: dict[str, Any], results: list[Result]) -> Iterator[dict[str, Any]]:
    if not study.get("metrics"):
        return
    from autotune.pareto import hypervolumes

    ended = max((item.started_at + item.duration_s for item in results), default=0.0)
    for round_, volume in enumerate(hypervolumes(study, results, study.get("round_sizes", [study["trials"]]))):
        yield {"step": round_, "tag": "autotune.hypervolume", "value": volume, "time": round(ended, 3)}


def logged_values(store: StudyDir, number: int) -> Iterator[Logged]:
    """Yield what a trial logged itself; a last line that a kill cut off is not there."""
    with contextlib.suppress(FileNotFoundError):
        for line in Path(store.logged_file(number)).read_bytes().splitlines():
            with contextlib.suppress(ValueError, TypeError):  # a program may have written it
                time_s, tag, step, value = json.loads(line)
                yield Logged(float(time_s), str(tag), int(step), float(value))
