"""Optuna: a study in a journal file, which ``optuna-dashboard`` and ``optuna.load_study`` open.

Trials without a result are there too, so that the numbers agree: running, or waiting.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from autotune.algorithms.optuna_samplers import quiet
from autotune.integrations import library
from autotune.integrations.snapshot import Snapshot, Written, replacing
from autotune.records import COMPLETE, PRUNED, Result

_LONGEST_ERROR = 2000
_STATES = {COMPLETE: "COMPLETE", PRUNED: "PRUNED"}  # all else: FAIL; the attribute autotune_state has our own word


def export(snapshot: Snapshot, to: str | None) -> Written:
    """Write the journal file ``to``."""
    optuna = library("optuna", "optuna")
    target = to or snapshot.store.export_path("optuna.log")
    with replacing(snapshot.store, target) as path, quiet():
        storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(path))
        study = optuna.create_study(
            storage=storage,
            study_name=snapshot.name,
            directions=["minimize" if mode == "min" else "maximize" for _, mode in snapshot.objectives],
        )
        study.set_metric_names([name for name, _ in snapshot.objectives])
        study.set_user_attr("autotune_study", snapshot.folder)
        trials = list(_Trials(optuna, snapshot))
        study.add_trials(trials)
    return Written(f"{len(trials)} trials as the Optuna study {snapshot.name!r}", target, f"optuna-dashboard {target}")


class _Trials:
    """Makes Optuna's trials, in the order of their numbers."""

    def __init__(self, optuna: Any, snapshot: Snapshot) -> None:
        store = snapshot.store
        self._optuna, self._snapshot = optuna, snapshot
        self._results = {result.number: result for result in snapshot.results}
        self._open = {
            number: store.read_config(number)
            for number in sorted(store.config_sizes().keys() - self._results.keys())
            if number < snapshot.study["trials"]
        }
        self._running = set(store.running(self._open))
        self._params = {number: trial.params for number, trial in (self._open | self._results).items()}
        self._distributions = self._all_distributions()

    def __iter__(self) -> Iterator[Any]:
        for number in sorted(self._params):
            result = self._results.get(number)
            yield self._waiting(number) if result is None else self._finished(result)

    def _finished(self, result: Result) -> Any:
        outcome, metrics = result.outcome, result.metrics
        optimized = [name for name, _ in self._snapshot.objectives]
        has_values = result.state in (COMPLETE, PRUNED) and metrics.keys() >= {*optimized}
        facts = {**result.to_dict(), "error": outcome.error and outcome.error[:_LONGEST_ERROR]}
        names = ("id", "state", "reason", "error", "attempt", "duration_s", "host", "gpus", "fidelity", "repeat")
        attributes = {f"autotune_{name}": facts[name] for name in names if facts.get(name) is not None}
        others = {name: value for name, value in metrics.items() if name not in optimized}
        return self._trial(
            result.number,
            _STATES.get(result.state, "FAIL"),
            values=[metrics[name] for name in optimized] if has_values else None,
            user_attrs=attributes | others,
            intermediate_values=self._curve(result),
            datetime_start=_datetime(result.started_at),
            datetime_complete=_datetime(result.started_at + result.duration_s),
        )

    def _waiting(self, number: int) -> Any:
        """Return a trial without a result: it runs, or it waits, in Optuna's words "enqueued"."""
        if number in self._running:
            return self._trial(number, "RUNNING", datetime_start=datetime.now(UTC))
        return self._trial(number, "WAITING", system_attrs={"fixed_params": self._params[number]})

    def _trial(self, number: int, state: str, **fields: Any) -> Any:
        """Return Optuna's trial; one that waits has no params yet, in Optuna's way."""
        params = {} if state == "WAITING" else self._params[number]
        given = {
            "value": None,
            "user_attrs": {},
            "system_attrs": {},
            "intermediate_values": {},
            "datetime_start": None,
            "datetime_complete": None,
            **fields,
        }
        return self._optuna.trial.FrozenTrial(
            number=number,
            trial_id=number,
            state=self._optuna.trial.TrialState[state],
            params=params,
            distributions={name: self._distributions[name] for name in params},
            **given,
        )

    def _curve(self, result: Result) -> dict[int, float]:
        """Return what the trial reported of the first metric, by step."""
        metric = self._snapshot.objectives[0][0]
        return {logged.step: logged.value for logged in self._snapshot.logged(result) if logged.tag == metric}

    def _all_distributions(self) -> dict[str, Any]:
        found = {}
        for name, spec in self._snapshot.parameters.items():
            values = [params[name] for params in self._params.values() if name in params]
            if values:
                found[name] = distribution_of(self._optuna.distributions, spec, values)
        return found


def distribution_of(known: Any, spec: Mapping[str, Any], values: Sequence[Any]) -> Any:
    """Return Optuna's distribution of a parameter; it has no normal, so that is one as wide as the values there are."""
    if "options" in spec:
        return known.CategoricalDistribution(spec["options"])
    step = spec.get("step")
    if spec["type"] == "int":
        log = bool(spec.get("log"))
        last = spec["low"] + (spec["high"] - 1 - spec["low"]) // (step or 1) * (step or 1)
        return known.IntDistribution(spec["low"], last, log=log, step=1 if log else step or 1)
    low, high = spec.get("low"), spec.get("high")
    low, high = min(values) if low is None else low, max(values) if high is None else high
    log = spec["type"] in ("loguniform", "lognormal")
    return known.FloatDistribution(low, high, log=log, step=None if log else step)


def _datetime(time_s: float) -> datetime:
    return datetime.fromtimestamp(time_s, UTC)
