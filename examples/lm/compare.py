"""Train a study's best trial and the defaults anew: ``python -m examples.lm.compare [LOG_DIR]``.

Both are trained with seeds that the search has not seen, and judged by text that it has not seen either. On two GPUs,
with ``torchrun --nproc-per-node=2 -m examples.lm.compare LOG_DIR``, the best of the trials that had two is taken.
``LOG_DIR/compare.json`` gets each training; what is in it already is not done again.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import torch

from autotune.files import write_atomic
from autotune.integrations import dist
from autotune.records import COMPLETE
from autotune.storage import Results, StudyDir
from examples.lm import table
from examples.lm.objective import DEFAULTS, train

SEEDS = (1, 2, 3)
SIZES = ("context", "width", "depth", "heads", "seconds")


def contenders(log_dir: str, world: int) -> dict[str, dict[str, Any]]:
    """Return name and parameters of defaults and best trial on that many processes; nothing where no trial is best."""
    results = Results(StudyDir(log_dir)).refresh().by_number.values()
    complete = [result for result in results if result.state == COMPLETE]
    fitting = [result for result in complete if result.params.get("gpus", world) == world]
    best = min(fitting, key=lambda result: result.metrics["val_loss"], default=None)
    if best is None:
        return {}
    sizes = {name: best.params.get(name, DEFAULTS[name]) for name in SIZES}
    start = {name: DEFAULTS[name] for name in ("lr", "batch_size", "attn_backend")}
    strategy = {"strategy": "ddp"} if world > 1 else {}
    defaults = {**start, "precision": "fp32", "compile": False, **strategy, **sizes}
    return {"defaults": defaults, f"best (trial {best.number})": best.params}


def main(log_dir: str = ".autotune-lm") -> int:
    """Train what is not in compare.json and print the table; exit with 1 where there is no best trial."""
    runs = table.runs_of(log_dir)
    with dist.processes() as me:
        to_train = contenders(log_dir, me.world)
        if not to_train:
            print(f"{log_dir} must have a complete trial on {me.world} processes; run its study first", file=sys.stderr)
            return 1
        on = f"{me.world} {torch.cuda.get_device_name(me.device) if me.device.type == 'cuda' else 'CPU'}"
        for seed in SEEDS:
            for name, params in to_train.items():
                key = {"name": name, "on": on, "params": params, "seed": seed}
                if any(key.items() <= run.items() for run in runs):
                    continue
                runs.append({**key, "torch": torch.__version__, "metrics": train(me, params, seed)})
                if me.rank == 0:
                    write_atomic(str(table.compare_file(log_dir)), json.dumps(runs, indent=1).encode())
        if me.rank == 0:
            print(*table.HEAD, *table.rows(runs), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
