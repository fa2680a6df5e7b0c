"""MLflow: a run a trial, in an experiment that is named as the study: in a SQLite file, a folder or on a server.

A store may hold other runs, of other studies too: those of this one have its directory in the tag
``autotune.study``, and no other is touched. A run whose trial has not changed stays as it is.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from autotune.files import canonical, digest
from autotune.integrations import library
from autotune.integrations.snapshot import Snapshot, Written, trial_name
from autotune.records import COMPLETE, PRUNED, Result

_MOST_METRICS, _MOST_PARAMS = 1000, 100  # of one call
_LONGEST_VALUE = 5000
_ALLOW_FILES = "MLFLOW_ALLOW_FILE_STORE"
_STATUS = {COMPLETE: "FINISHED", PRUNED: "KILLED"}  # all else: FAILED; the tag autotune.state has our own word


def export(snapshot: Snapshot, to: str | None) -> Written:
    """Write the runs to the tracking URI ``to``, or to the SQLite file or folder (``mlruns/``) of that path."""
    uri = _uri(to or snapshot.store.export_path("mlflow.db"))
    allow = ""
    if uri.startswith("file:"):  # MLflow 3 refuses its store of plain files unless it is told that it is wanted
        os.environ[_ALLOW_FILES] = "true"
        allow = f"{_ALLOW_FILES}=true "
    runs = _Runs(uri, snapshot)
    kept = runs.remove_outdated()
    for result in snapshot.results:
        if _stamp(result) not in kept:
            runs.write(result)
    opens = f"{allow}mlflow ui --backend-store-uri {uri}"
    return Written(f"{len(snapshot.results)} trials as MLflow runs of the experiment {snapshot.name!r}", uri, opens)


def _uri(to: str) -> str:
    if "://" in to or to.startswith("file:"):
        return to
    path = os.path.abspath(to)
    if to.endswith("/") or os.path.isdir(path) or os.path.basename(path) == "mlruns":
        return Path(path).as_uri()
    os.makedirs(os.path.dirname(path), exist_ok=True)
    return f"sqlite:///{path}"


def _stamp(result: Result) -> str:
    return digest(result.to_dict())


class _Runs:
    """The study's runs in one MLflow store."""

    def __init__(self, uri: str, snapshot: Snapshot) -> None:
        entities = library("mlflow.entities", "mlflow")
        self._metric, self._param, self._tag = entities.Metric, entities.Param, entities.RunTag
        if uri.startswith("sqlite:"):
            library("sqlalchemy", "mlflow")
            library("alembic", "mlflow")
        self._client = library("mlflow.tracking", "mlflow").MlflowClient(tracking_uri=uri)
        self._snapshot = snapshot
        found = self._client.get_experiment_by_name(snapshot.name)
        self._experiment = self._client.create_experiment(snapshot.name) if found is None else found.experiment_id

    def remove_outdated(self) -> set[str]:
        """Delete the study's runs whose trials have changed; return the stamps of the others."""
        wanted = {_stamp(result) for result in self._snapshot.results}
        kept: set[str] = set()
        for run in self._own():
            stamp = run.data.tags.get("autotune.stamp", "")
            if stamp in wanted and stamp not in kept and run.info.status != "RUNNING":
                kept.add(stamp)
            else:  # the trial has a newer result, or an export was killed while it wrote the run
                self._client.delete_run(run.info.run_id)
        return kept

    def _own(self) -> list[Any]:
        own = f"tags.`autotune.study` = '{self._snapshot.folder}'"
        runs: list[Any] = []
        token = None
        while True:
            page = self._client.search_runs([self._experiment], filter_string=own, max_results=1000, page_token=token)
            runs += page
            token = page.token
            if not token:
                return runs

    def write(self, result: Result) -> None:
        """Write the run of one trial."""
        start_ms, end_ms = int(result.started_at * 1000), int((result.started_at + result.duration_s) * 1000)
        run_id = self._client.create_run(
            self._experiment, start_time=start_ms, run_name=trial_name(result.number), tags=self._tags(result)
        ).info.run_id
        params = [self._param(_key(name), _text(value)) for name, value in self._snapshot.given(result).items()]
        metrics = list(self._metrics(result, end_ms))
        for first in range(0, len(params), _MOST_PARAMS):
            self._client.log_batch(run_id, params=params[first : first + _MOST_PARAMS])
        for first in range(0, len(metrics), _MOST_METRICS):
            self._client.log_batch(run_id, metrics=metrics[first : first + _MOST_METRICS])
        self._client.set_terminated(run_id, _STATUS.get(result.state, "FAILED"), end_time=end_ms)

    def _tags(self, result: Result) -> dict[str, str]:
        outcome = result.outcome
        tags = {
            "study": self._snapshot.folder,
            "stamp": _stamp(result),
            "number": result.number,
            "id": result.id,
            "state": result.state,
            "reason": outcome.reason,
            "error": outcome.error,
            "attempt": result.attempt,
            "host": result.host,
            "repeat": result.repeat,
        }
        return {f"autotune.{name}": _text(value) for name, value in tags.items() if value is not None}

    def _metrics(self, result: Result, end_ms: int) -> Iterator[Any]:
        """Yield the curves, then the final metrics: the latest at the last step of the curve of their name."""
        last: dict[str, tuple[int, int]] = {}  # step and time
        for logged in self._snapshot.logged(result):
            step, time_ms = logged.step, int(logged.time_s * 1000)
            last[logged.tag] = max((step, time_ms), last.get(logged.tag, (step, time_ms)))
            yield self._metric(_key(logged.tag), logged.value, time_ms, step)
        for name, value in {**result.metrics, "duration_s": result.duration_s}.items():
            step, time_ms = last.get(name, (0, 0))
            yield self._metric(_key(name), value, max(end_ms, time_ms + 1), step)


def _key(name: str) -> str:
    """Return a name with the characters that MLflow takes."""
    return re.sub(r"[^\w\-. /]", "_", name)


def _text(value: Any) -> str:
    return (value if isinstance(value, str) else canonical(value))[:_LONGEST_VALUE]
