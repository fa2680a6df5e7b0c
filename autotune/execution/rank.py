"""One process of a Python objective that torchrun starts: ``python -m autotune.execution.rank``.

Every rank calls the objective with the trial. What rank 0 returns counts, and what it logs; any rank may say that the
parameters are infeasible, or run out of memory.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from autotune.errors import Infeasible
from autotune.execution.objective import load_objective
from autotune.execution.outcome import is_out_of_memory, read_metrics
from autotune.execution.trial import Trial
from autotune.files import write_atomic
from autotune.storage import StudyDir


def main() -> int:
    """Run the objective; return the exit status, which is not 0 where the other ranks must be ended."""
    store = StudyDir(os.environ["AUTOTUNE_LOG_DIR"])
    study = store.read_study()
    config = store.read_config(int(os.environ["AUTOTUNE_TRIAL"]))
    is_first = os.environ.get("RANK", "0") == "0"
    trial = Trial(config, int(os.environ["AUTOTUNE_ATTEMPT"]), store, study, own_process=True)
    if not is_first:
        trial.mute()
    objective = load_objective({**study, "launcher": "none"})
    try:
        metrics = read_metrics(objective(dict(trial.params), trial), study["metric"])
    except Exception as error:
        if isinstance(error, Infeasible):
            _write({"infeasible": str(error) or "declared infeasible"})
        elif is_out_of_memory(error):
            _write({"infeasible": f"{type(error).__name__}: {error}", "reason": "oom"})
        else:
            raise
        return 1
    if is_first:
        _write(metrics)
    return 0


def _write(record: dict[str, Any]) -> None:
    write_atomic(os.environ["AUTOTUNE_RESULT"], json.dumps(record).encode())


if __name__ == "__main__":
    sys.exit(main())
