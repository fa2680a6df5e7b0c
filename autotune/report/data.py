"""A study as the figures need it: who may be best, and every parameter as an axis with numbers on it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from autotune.aggregation import Summary, planned_results, summarize
from autotune.files import canonical
from autotune.integrations.snapshot import Snapshot
from autotune.objectives import directed_values, eligible
from autotune.records import Result
from autotune.report.model import Axis
from autotune.storage import Results, StudyDir

T = TypeVar("T")

MOST_POINTS = 20_000  # in one panel; of more trials an even selection is drawn
_WIDEST = 1000.0  # ratio of values above which an axis is logarithmic
_LONGEST_LABEL = 32


@dataclass(frozen=True, slots=True)
class Data:
    """A study, its results in order of number, and those that may be best."""

    snapshot: Snapshot
    summary: Summary
    candidates: list[Result]

    @classmethod
    def of(cls, store: StudyDir) -> Data:
        """Read a study.

        Raises:
            InvalidStudy: there is no plan.
        """
        study, results = store.read_study(), Results(store)
        summary = summarize(store, study, results)
        snapshot = Snapshot(store, study, list(planned_results(study, results).values()))
        return cls(snapshot, summary, eligible(study, snapshot.results))

    @property
    def study(self) -> dict[str, Any]:
        """The content of ``study.json``."""
        return self.snapshot.study

    @property
    def metric(self) -> str:
        """The metric that the study is named by."""
        return str(self.study["metric"])

    @property
    def drawn(self) -> list[Result]:
        """The candidates that are drawn."""
        return thinned(self.candidates)

    @property
    def axis(self) -> Axis:
        """The axis of the metric."""
        return value_axis(self.metric, values(self.candidates, self.metric))

    @property
    def ranked(self) -> list[Result]:
        """The candidates, the best by the metric first."""
        return sorted(self.candidates, key=self._key)

    def shade(self, results: Sequence[Result]) -> list[float]:
        """Return the metric of candidates as colours: its rank, from 0 for the worst to 1 for the best.

        A rank, because one diverged trial would leave all others one colour.
        """
        keys = [self._key(result) for result in results]
        places = {key: place for place, key in enumerate(sorted(set(keys), reverse=True))}
        return [places[key] / max(1, len(places) - 1) for key in keys]

    def _key(self, result: Result) -> float:
        return (directed_values(self.study, result.metrics) or (math.inf,))[0]

    def parameters(self) -> list[str]:
        """Return the parameters that have more than one value among the candidates."""
        names = self.snapshot.parameters
        return [name for name in names if len({canonical(result.params.get(name)) for result in self.candidates}) > 1]

    def encoded(self, name: str, results: Sequence[Result]) -> tuple[Axis, list[float | None]]:
        """Return a parameter's axis, and its place on it for each result, None where it is inactive."""
        spec = self.snapshot.parameters[name]
        given = [result.params[name] for result in self.candidates if name in result.params]
        if "options" not in spec and all(_is_number(value) for value in given):
            log = bool(spec.get("log")) or str(spec.get("type")).startswith("log")
            axis = Axis(name, log and min(given, default=0) > 0)
            return axis, [result.params.get(name) for result in results]
        known = {canonical(value): value for value in [*spec.get("options", []), *given]}
        places = {key: float(place) for place, key in enumerate(known)}
        axis = Axis(name, labels=tuple(label(value) for value in known.values()))
        return axis, [places[canonical(result.params[name])] if name in result.params else None for result in results]


def values(results: Iterable[Result], metric: str) -> list[float]:
    """Return a metric of the results that have it."""
    return [result.metrics[metric] for result in results if metric in result.metrics]


def value_axis(title: str, found: Sequence[float]) -> Axis:
    """Return an axis for measured values: logarithmic where they are positive and of very different size."""
    low, high = min(found, default=0.0), max(found, default=0.0)
    return Axis(title, log=low > 0 and high / low > _WIDEST)


def thinned(items: list[T], most: int = MOST_POINTS) -> list[T]:
    """Return an even selection of at most ``most`` items."""
    if len(items) <= most:
        return items
    return [items[place * len(items) // most] for place in range(most)]


def label(value: Any, longest: int = _LONGEST_LABEL) -> str:
    """Return a parameter's value as a short text."""
    text = value if isinstance(value, str) else canonical(value)
    text = "".join(letter if letter.isprintable() else "?" for letter in text)  # an SVG may not hold all letters
    return text if len(text) <= longest else text[: longest - 3] + "..."


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
