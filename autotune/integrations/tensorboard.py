"""TensorBoard: a run a trial, with its hyperparameters (HParams plugin), its metrics and what it logged.

The metrics have the tags of ``scalars.csv`` (``autotune.<metric>``, the trial's number as the step), so that one chart
shows all trials; what a trial logged keeps its own tags and steps.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

from autotune.files import canonical
from autotune.integrations import library
from autotune.integrations.snapshot import Snapshot, Written, replacing, trial_name
from autotune.records import COMPLETE, PRUNED, Result

_FILE = "events.out.tfevents.0.autotune"


def export(snapshot: Snapshot, to: str | None) -> Written:
    """Write the event files below the folder ``to``."""
    events = _Events(snapshot)
    target = to or snapshot.store.export_path("tensorboard")
    with replacing(snapshot.store, target) as folder:
        events.write(folder, [events.experiment()])
        for result in snapshot.results:
            events.write(os.path.join(folder, trial_name(result.number)), events.trial(result))
    return Written(f"{len(snapshot.results)} trials as TensorBoard runs", target, f"tensorboard --logdir {target}")


class _Events:
    """Makes TensorBoard's events, with the protocol buffers that the package ``tensorboard`` brings."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._api = library("tensorboard.plugins.hparams.api_pb2", "tensorboard")
        self._data = library("tensorboard.plugins.hparams.plugin_data_pb2", "tensorboard").HParamsPluginData
        self._metadata = library("tensorboard.plugins.hparams.metadata", "tensorboard")
        self._event = library("tensorboard.compat.proto.event_pb2", "tensorboard").Event
        self._summary = library("tensorboard.compat.proto.summary_pb2", "tensorboard").Summary
        self._writer = library("tensorboard.summary.writer.record_writer", "tensorboard").RecordWriter
        values: dict[str, set[type]] = {name: set() for name in snapshot.study["parameters"]}
        for result in snapshot.results:
            for name, value in snapshot.given(result).items():
                values.setdefault(name, set()).add(type(value))
        self._kinds = {name: self._kind(types) for name, types in values.items()}

    def write(self, folder: str, events: Iterable[Any]) -> None:
        """Write one event file; an equal study gives equal bytes."""
        os.makedirs(folder)
        with open(os.path.join(folder, _FILE), "wb") as file:
            writer = self._writer(file)
            writer.write(self._event(wall_time=0, file_version="brain.Event:2").SerializeToString())
            for event in events:
                writer.write(event.SerializeToString())

    def experiment(self) -> Any:
        """Return the event that declares the hyperparameters and the metrics of all runs."""
        api, snapshot = self._api, self._snapshot
        metrics = {name: None for name, _ in snapshot.objectives}
        metrics |= {name: None for result in snapshot.results for name in sorted(result.metrics)}
        return self._plugin_event(
            0,
            self._metadata.EXPERIMENT_TAG,
            experiment=api.Experiment(
                name=snapshot.name,
                hparam_infos=[api.HParamInfo(name=name, type=kind) for name, kind in self._kinds.items()],
                metric_infos=[
                    api.MetricInfo(name=api.MetricName(tag=f"autotune.{name}"), display_name=name) for name in metrics
                ],
            ),
        )

    def trial(self, result: Result) -> Iterator[Any]:
        """Yield the events of one trial."""
        start_s, end_s = result.started_at, result.started_at + result.duration_s
        session = self._data(version=0).session_start_info
        for name, value in self._snapshot.given(result).items():
            self._set(session.hparams[name], self._kinds[name], value)
        session.group_name, session.start_time_secs = trial_name(result.number), start_s
        yield self._plugin_event(start_s, self._metadata.SESSION_START_INFO_TAG, session_start_info=session)
        for logged in self._snapshot.logged(result):
            yield self._scalar(logged.time_s, logged.tag, logged.step, logged.value)
        for name, value in result.metrics.items():
            yield self._scalar(end_s, f"autotune.{name}", result.number, value)
        fine = result.state in (COMPLETE, PRUNED)
        status = self._api.Status.Value("STATUS_SUCCESS" if fine else "STATUS_FAILURE")
        end = {"status": status, "end_time_secs": end_s}
        yield self._plugin_event(end_s, self._metadata.SESSION_END_INFO_TAG, session_end_info=end)

    def _kind(self, types: set[type]) -> Any:
        """Return the plugin's type for the values that a parameter has in the results."""
        word = "BOOL" if types == {bool} else "FLOAT64" if types and types <= {int, float} else "STRING"
        return self._api.DataType.Value(f"DATA_TYPE_{word}")

    def _set(self, field: Any, kind: Any, value: Any) -> None:
        word = self._api.DataType.Name(kind)
        if word == "DATA_TYPE_STRING":
            field.string_value = value if isinstance(value, str) else canonical(value)
        elif word == "DATA_TYPE_BOOL":
            field.bool_value = value
        else:
            field.number_value = value

    def _scalar(self, time_s: float, tag: str, step: int, value: float) -> Any:
        values = [self._summary.Value(tag=tag, simple_value=value)]
        return self._event(wall_time=time_s, step=step, summary=self._summary(value=values))

    def _plugin_event(self, time_s: float, tag: str, **data: Any) -> Any:
        content = self._data(version=0, **data)
        metadata = self._metadata.create_summary_metadata(content)
        metadata.plugin_data.content = content.SerializeToString(deterministic=True)
        values = [self._summary.Value(tag=tag, metadata=metadata)]
        return self._event(wall_time=time_s, summary=self._summary(value=values))
