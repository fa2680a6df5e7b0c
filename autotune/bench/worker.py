"""The process that attention is measured in: takes a request a line, writes an event a line, dies alone if it must."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any, TextIO

from autotune.bench.attempt import attempt, small, why
from autotune.bench.case import AttentionCase
from autotune.bench.check import Poisoned, Task
from autotune.bench.measure import measure_case

POISONED = 70  # exit status: the CUDA context of this process was left unusable


def main() -> int:
    """Serve requests from standard input until it closes."""
    # What libraries print must not get between the events.
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        sys.path.extend(path for path in request.get("path", ()) if path not in sys.path)
        try:
            answer = _measure(request, events) if request["do"] == "measure" else _probe(request, events)
        except Poisoned as poisoned:
            _send(events, {"poisoned": poisoned.backend, "reason": str(poisoned)})
            os._exit(POISONED)  # an orderly end would talk to the broken context
        except Exception as error:  # noqa: BLE001 - of ours, not of a backend; the parent says it
            answer = {"broken": why(error)}
        _send(events, answer)
    return 0


def _send(events: TextIO, event: dict[str, Any]) -> None:
    print(json.dumps(event), file=events, flush=True)


def _teller(events: TextIO, key: str) -> Callable[[str], None]:
    """Return a function that reports a word, but not the one that it reported last."""
    last = ""

    def tell(word: str) -> None:
        nonlocal last
        if word != last:
            _send(events, {key: word})
            last = word

    return tell


def _measure(request: dict[str, Any], events: TextIO) -> dict[str, Any]:
    task = Task(
        case=AttentionCase.from_json(request["case"]),
        device=request["device"],
        targets=request["targets"],
        budget_s=request["budget_s"],
        margin=request["margin"],
        by=request["by"],
        profile=request["profile"],
        fixed=request.get("fixed", False),
        say=_teller(events, "say"),
        at=_teller(events, "at"),
        done=lambda row: _send(events, {"row": row.to_json()}),
    )
    return {"conditions": measure_case(task).conditions}


def _probe(request: dict[str, Any], events: TextIO) -> dict[str, Any]:
    """Try each backend once on a small case of the kind."""
    case = small(AttentionCase.from_json(request["case"]))
    for name, target in request["targets"].items():
        _send(events, {"at": name})
        _send(events, {"answer": name, "reason": attempt(target, case, request["device"])})
    return {"conditions": {}}


if __name__ == "__main__":
    sys.exit(main())
