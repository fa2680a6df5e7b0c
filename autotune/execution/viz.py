"""The package ``viz``, where it is installed: every metric of a trial goes to it as it is measured.

All that is asked of it is ``viz.log_scalar(tag, value, step)``: the tag is ``autotune.<metric>``, the step the trial's
number, as in ``scalars.csv``.
"""

from __future__ import annotations

import functools
from typing import Any

from autotune.records import Result


def log_metrics(result: Result) -> None:
    """Give a trial's metrics to ``viz``; what it raises is said once and harms no trial."""
    log = _log_scalar()
    if log is None:
        return
    try:
        for name, value in result.metrics.items():
            log(f"autotune.{name}", value, result.number)
    except Exception as error:  # noqa: BLE001  # another package's fault must not fail a study
        _say_once(f"viz.log_scalar raised {type(error).__name__}: {error}; the metrics are in scalars.csv all the same")


@functools.cache
def _log_scalar() -> Any:
    try:
        import viz
    except ImportError:
        return None
    return getattr(viz, "log_scalar", None)


@functools.cache
def _say_once(sentence: str) -> None:
    print(sentence, flush=True)
