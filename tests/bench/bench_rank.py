"""A rank of a distributed job that chooses a backend and writes down what it got.

torchrun --nproc-per-node 2 tests/bench/bench_rank.py cuda FOLDER
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch
from torch import distributed as dist

from autotune.bench.attn import select_fastest_backend
from autotune.errors import InvalidInput


def main() -> None:
    place, folder, rank = sys.argv[1], Path(sys.argv[2]), int(os.environ["LOCAL_RANK"])
    os.environ["AUTOTUNE_CACHE"] = str(folder / f"cache-{rank}")  # of its own: they must not agree through the disk
    if place == "cuda":
        torch.cuda.set_device(rank)
    dist.init_process_group("nccl" if place == "cuda" else "gloo")
    dtype, few = ("bf16", None) if place == "cuda" else ("fp32", ["torch", "torch-math"])
    choice = select_fastest_backend(128, 4, 64, dtype, device=place, backends=few, budget_s=0.5)
    try:
        select_fastest_backend(128, 4, 64, dtype, device="abacus")
        refused = ""
    except InvalidInput as error:
        refused = str(error)
    times_ms = {row.backend: row.median_ms for row in choice.rows}
    found = {"rank": rank, "choice": choice, "ties": choice.ties, "times_ms": times_ms, "refused": refused}
    (folder / f"{rank}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
