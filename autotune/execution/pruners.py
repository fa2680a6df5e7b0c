"""Whether a trial should stop early, by the curves that the other trials have reported so far.

The curves are read from the study directory, so that any executor will do and no server is needed. A curve counts at a
step once it has got there; then its best value up to that step counts. What a pruner saw is recorded with the trial.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from autotune.storage import StudyDir

Curve = Sequence[tuple[int, float]]  # step and value, less being better, in the order of the reports


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether to stop at a step, by which bound, and the values of the other trials that it follows from."""

    step: int
    prune: bool
    value: float
    bound: float | None
    others: dict[int, float]


def judge(pruner: Mapping[str, Any], own: Curve, curves: Mapping[int, Curve]) -> Verdict:
    """Return what a pruner says of a trial at the last step of its curve.

    ``median`` stops what is worse than the median of the others at the same step (Golovin et al. 2017, "Google
    Vizier"), ``percentile`` what is not among the best so many per cent of them. ``halving`` decides only at the steps
    ``min_step * eta^k``, and lets the best ``1 / eta`` of all that got there go on (Li et al. 2020, "A System for
    Massively Parallel Hyperparameter Tuning", arXiv:1810.05934).

    Args:
        pruner: the study's `pruner`, every option filled in.
        own: the trial's own curve, not empty.
        curves: those of the other trials, by number.
    """
    step, value = own[-1][0], _best_until(own, own[-1][0])
    others = {number: _best_until(curve, step) for number, curve in curves.items() if _reaches(curve, step)}
    bound = _bound(pruner, step, value, sorted(others.values()))
    return Verdict(step, bound is not None and value > bound, value, bound, others)


def _bound(pruner: Mapping[str, Any], step: int, value: float, others: Sequence[float]) -> float | None:
    """Return the value that must be reached, or None where nothing is decided."""
    if pruner["type"] == "halving":
        rungs = (pruner["min_step"] * pruner["eta"] ** k for k in range(64))
        if not others or step not in rungs:
            return None
        everyone = sorted([*others, value])
        return everyone[max(1, len(everyone) // int(pruner["eta"])) - 1]
    if len(others) < max(1, pruner["startup_trials"]) or step < pruner["warmup_steps"]:
        return None
    share = 50.0 if pruner["type"] == "median" else float(pruner["percentile"])
    place = share / 100 * (len(others) - 1)  # between two values: linear, as numpy.percentile has it
    low = math.floor(place)
    high = min(low + 1, len(others) - 1)
    return others[low] + (place - low) * (others[high] - others[low])


def _reaches(curve: Curve, step: int) -> bool:
    return any(at >= step for at, _ in curve)


def _best_until(curve: Curve, step: int) -> float:
    return min((value for at, value in curve if at <= step), default=math.inf)


@final
class Curves:
    """What all trials of a study have reported of its metric; only what is new is read again."""

    def __init__(self, store: StudyDir, study: Mapping[str, Any]) -> None:
        self._store, self._metric = store, study["metric"]
        self._sign = 1.0 if study["mode"] == "min" else -1.0
        self._read: dict[int, int] = {}
        self._curves: dict[int, list[tuple[int, float]]] = {}

    def refresh(self) -> dict[int, list[tuple[int, float]]]:
        """Return the curves by trial, each value turned so that less is better."""
        for number, path in self._store.logged_files():
            with contextlib.suppress(OSError):
                if os.stat(path).st_size != self._read.get(number, 0):
                    self._read_new(number, path)
        return self._curves

    def _read_new(self, number: int, path: str) -> None:
        with open(path, "rb") as file:
            at = self._read.get(number, 0)
            if at > os.fstat(file.fileno()).st_size:  # a new attempt has begun a new log
                self._curves.pop(number, None)
                at = 0
            file.seek(at)
            whole = file.read().rpartition(b"\n")[0]  # a line may be in the midst of being written
        self._read[number] = at + len(whole) + 1 if whole else at
        for line in whole.splitlines():
            with contextlib.suppress(ValueError, TypeError):  # a program may have written it
                _, tag, step, value = json.loads(line)
                if tag == self._metric and math.isfinite(value):
                    self._curves.setdefault(number, []).append((int(step), self._sign * value))
