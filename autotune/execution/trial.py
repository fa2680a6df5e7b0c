"""The trial that an objective is handed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotune.records import Result, TrialConfig
from autotune.storage import StudyDir

if TYPE_CHECKING:
    from autotune.execution.pruners import Curves


class Trial:
    """One trial: what an objective needs to know of it, and where it logs.

    Attributes:
        number: place in the plan, from 0.
        id: digest of objective, params and seed: equal ids are the same work.
        params: the parameters, as the objective gets them; the study's fidelity is one of them, by its name.
        fidelity: what this trial is given of the study's fidelity (the epochs to train to, say); None without one.
        seed: the study's seed, for every source of randomness that the objective has.
        attempt: 1 for the first execution.
        result: what came of it; None while it runs. Callbacks see it.
    """

    def __init__(
        self,
        config: TrialConfig,
        attempt: int,
        store: StudyDir,
        study: Mapping[str, Any],
        result: Result | None = None,
        *,
        own_process: bool = False,
    ) -> None:
        self.number = config.number
        self.id = config.id
        self.fidelity = config.fidelity
        given = {} if config.fidelity is None else {study["fidelity"]["name"]: config.fidelity}
        self.params: dict[str, Any] = {**config.params, **given}
        self.seed = config.seed
        self.attempt = attempt
        self.result = result
        self._study, self._metric = study, study["metric"]
        self._parent_folder = None if config.parent is None else store.work_dir(config.parent)
        self._folder, self._log_file = store.work_dir(config.number), store.logged_file(config.number)
        self.own_process = own_process  # whether this process runs nothing else, so that it may end with the trial
        self._stop_callbacks: list[Callable[[], None]] = []
        self._log: int | None = None
        self._log_is_shared = False
        self._counts: dict[str, int] = {}
        self._reported: tuple[int, float] | None = None
        self._store = store
        self._curves: Curves | None = None
        self.is_pruned = False  # whether it was told to stop

    @property
    def dir(self) -> Path:
        """The trial's own folder, for checkpoints and artifacts; the next attempt finds it as this one left it."""
        os.makedirs(self._folder, exist_ok=True)
        return Path(self._folder)

    @property
    def checkpoint_from(self) -> Path | None:
        """The folder of the trial that this one goes on from, with less fidelity and equal parameters, if it has one.

        What that trial saved in its ``trial.dir`` can be loaded from here, so that no epoch is paid for twice.
        """
        folder = self._parent_folder
        return Path(folder) if folder is not None and os.path.isdir(folder) else None

    @property
    def state(self) -> str | None:
        """``complete``, ``pruned``, ``infeasible`` or ``failed``; None while the trial runs."""
        return None if self.result is None else self.result.state

    @property
    def metrics(self) -> Mapping[str, float]:
        """Metric name to value; empty while the trial runs and where it did not complete."""
        return {} if self.result is None else self.result.metrics

    @property
    def value(self) -> float | None:
        """The value of the study's metric, where the trial completed."""
        return self.metrics.get(self._metric)

    def log(self, tag: str, value: float, step: int | None = None) -> None:
        """Log a number under a tag; it is on disk when this returns, and becomes a row of ``scalars.csv``.

        Args:
            tag: for example ``"train/loss"``; the row's tag is ``trial_00007/train/loss``.
            value: a number; NaN and infinities are allowed.
            step: for example the epoch; without it, the tag's values are counted from 0.

        Raises:
            TypeError: the tag is no string, or the value or step no number.
        """
        if not tag or type(tag) is not str:
            raise TypeError(f"trial.log: the tag must be a non-empty string, got {tag!r}")
        if step is None:
            step = self._counts.get(tag, 0)
        if not isinstance(step, int):
            raise TypeError(f"trial.log: the step must be an integer, got {step!r}")
        self._counts[tag] = step + 1
        line = json.dumps([time.time(), tag, step, as_float(value, f"trial.log: the value of {tag!r}")]) + "\n"
        os.write(self._opened(), line.encode())

    def report(self, step: int, value: float) -> None:
        """Report the study's metric at a step of the training, for learning curves and pruners."""
        self.log(self._metric, value, step)
        self._reported = (step, as_float(value, "trial.report: the value"))

    def should_prune(self) -> bool:
        """Return whether the study's `pruner` says that the trial should stop, by what was reported so far.

        Then raise ``autotune.Pruned`` or return: the trial's state is ``pruned``, its metric the value reported last.
        What the pruner saw is in the trial's ``pruner.jsonl``. Without a pruner, and before the first report, it says
        no. Of several ranks, only rank 0 should ask, and tell the others.
        """
        if not self._study.get("pruner") or self._reported is None:
            return False
        from autotune.execution.pruners import Curves, judge

        self._curves = self._curves or Curves(self._store, self._study)
        curves = dict(self._curves.refresh())
        verdict = judge(self._study["pruner"], curves.pop(self.number), curves)
        with open(self._store.pruner_file(self.number), "a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(verdict)) + "\n")
        self.is_pruned = self.is_pruned or verdict.prune
        return verdict.prune

    @property
    def last_reported(self) -> float | None:
        """The value that was reported last in this attempt."""
        return None if self._reported is None else self._reported[1]

    def on_stop(self, callback: Callable[[], None]) -> None:
        """Have a function called when the trial is told to end early: preemption, time limit, Ctrl-C.

        It has the study's ``stop_grace`` (seconds) to save what it wants to, best to ``trial.dir``: the next start of
        the trial gets the same folder. Nothing is recorded of a trial that was stopped; it runs again.
        """
        if not self._stop_callbacks and self.own_process:
            signal.signal(signal.SIGTERM, self._end)
        self._stop_callbacks.append(callback)

    def stop(self) -> None:
        """Call what was given to ``on_stop``, the latest first."""
        while self._stop_callbacks:
            self._stop_callbacks.pop()()

    def _end(self, number: int, _frame: object) -> None:
        try:
            self.stop()
        finally:
            os._exit(128 + number)

    def mute(self) -> None:
        """Log nowhere from now on: another process of the same trial does."""
        self._log = os.open(os.devnull, os.O_WRONLY)

    def share_log(self) -> str:
        """Begin a new log that other processes of this trial append to; return its path."""
        os.makedirs(self._folder, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._log_file)
        self._log_is_shared = True
        return self._log_file

    @property
    def has_logged(self) -> bool:
        """Whether anything was logged in this attempt."""
        return self._log is not None or (self._log_is_shared and os.path.exists(self._log_file))

    def close(self) -> None:
        """End logging; a second call does nothing."""
        if self._log is not None:
            with contextlib.suppress(OSError):  # the objective may have closed all files
                os.close(self._log)
            self._log = None

    def _opened(self) -> int:
        if self._log is None:
            # A new attempt begins a new log.
            os.makedirs(self._folder, exist_ok=True)
            self._log = os.open(self._log_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        return self._log


def as_float(value: Any, what: str) -> float:
    """Return a number as a float: Python's own, or whatever holds exactly one (NumPy and PyTorch scalars).

    Raises:
        TypeError: it is none; the sentence begins with ``what``.
    """
    if isinstance(value, bool | int | float):
        return float(value)
    kind = type(value).__name__
    if isinstance(value, str | bytes) or value is None:
        shown = f"{value!r:.60}"
        raise TypeError(f"{what} must be a number, got {shown if value is None else f'the {kind} {shown}'}")
    shape = getattr(value, "shape", None)
    try:
        return float(value.item()) if shape is not None else float(value)
    except Exception:  # noqa: BLE001  # whatever the object's own conversion raises
        of_shape = "" if shape is None else f" of shape {tuple(shape)}"
        raise TypeError(f"{what} must be one number, got a {kind}{of_shape}; return for example its mean") from None
