"""Print a study's best trial beside the defaults: ``python -m examples.lm.compare [LOG_DIR]``.

Both are trained anew with seeds that the search has not seen, and judged by text that it has not seen either; with
``torchrun --nproc-per-node=2 -m examples.lm.compare`` on two GPUs.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import mean
from typing import Any

from autotune.integrations import dist
from examples.lm.objective import DEFAULTS, train

SEEDS = (1, 2, 3)
SIZES = ("context", "width", "depth", "heads", "seconds")


def shown(value: object) -> str:
    """Return a parameter's value with as many digits as a reader wants."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def row(me: dist.Processes, name: str, params: dict[str, Any]) -> str:
    """Return a line of the table: parameters, mean loss on unseen text, characters a second."""
    runs = [train(me, params, seed) for seed in SEEDS]
    losses = [run["test_loss"] for run in runs]
    words = ", ".join(f"{key} {shown(value)}" for key, value in params.items() if key not in SIZES)
    spread = f"{mean(losses):.3f} ({min(losses):.3f} to {max(losses):.3f})"
    return f"| {name} | {spread} | {mean(run['tokens_per_s'] for run in runs):,.0f} | {words} |"


def main(log_dir: str = ".autotune-lm") -> int:
    """Print the table; exit with 1 where there is no best trial to compare."""
    path = Path(log_dir) / "best.json"
    best = json.loads(path.read_text()) if path.exists() else {"params": None}
    if best["params"] is None:
        print(f"{path} must have a best trial; run `autotune study examples/lm/study.yaml` first", file=sys.stderr)
        return 1
    sizes = {name: best["params"].get(name, DEFAULTS[name]) for name in SIZES}
    start = {name: DEFAULTS[name] for name in ("lr", "batch_size", "attn_backend")}
    with dist.processes() as me:
        rows = [
            row(me, "defaults", {**start, "precision": "fp32", "compile": False, **sizes}),
            row(me, f"best (trial {best['number']})", best["params"]),
        ]
        if me.rank == 0:
            print("| | test loss, mean of 3 seeds | tokens/s | |", "|---|---|---|---|", *rows, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
