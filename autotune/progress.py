"""A line that says how far a study is: a bar on a terminal, now and then a plain line elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

from autotune.aggregation import Summary

_PLAIN_EVERY_S = 30.0
_SHOW_AFTER_S = 1.0


class Progress:
    """Shows trials done of total, the best so far and the time left, on standard error; use it as a context manager."""

    def __init__(self, total: int, done: int, *, plain: bool = False) -> None:
        self._total, self._started, self._done_before = total, time.monotonic(), done
        self._bar: Any = None
        self._task: Any = None
        self._is_terminal = sys.stderr.isatty()
        self._plain, self._said = plain, time.monotonic()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, summary: Summary) -> None:
        """Show where the study stands."""
        now = time.monotonic()
        if self._is_terminal:
            if now - self._started >= _SHOW_AFTER_S:
                self._show_bar(summary)
        elif self._plain and now - self._said >= _PLAIN_EVERY_S:
            self._said = now
            print(f"{summary.done} of {summary.trials} trials done, {_best(summary)}", file=sys.stderr, flush=True)

    def say(self, sentence: str) -> None:
        """Print a line beside the bar."""
        if self._bar is not None:
            self._bar.console.print(sentence, markup=False, highlight=False)
        else:
            print(sentence, file=sys.stderr, flush=True)

    def _show_bar(self, summary: Summary) -> None:
        if self._bar is None:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (
                *(TextColumn("trials"), BarColumn(bar_width=16), MofNCompleteColumn(), TimeRemainingColumn()),
                *(TextColumn("left"), TextColumn("{task.fields[best]}")),
            )
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task("", total=self._total, completed=self._done_before, best="")
            self._bar.start()
        self._bar.update(self._task, completed=summary.done, best=_best(summary) + _failed(summary))


def _best(summary: Summary) -> str:
    if summary.best is None:
        return "no best yet"
    metric = summary.study["metric"]
    return f"best {metric} {summary.best.metrics[metric]:.6g} (trial {summary.best.number})"


def _failed(summary: Summary) -> str:
    return f", {summary.failed} failed" if summary.failed else ""
