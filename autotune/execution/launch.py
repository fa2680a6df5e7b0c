"""Starting a trial as several processes with torchrun: ranks, world size and rendezvous, on one node or more."""

from __future__ import annotations

import os
import sys
from typing import Any

from autotune.execution.trial import Trial


def torchrun(resources: dict[str, Any], words: list[str], trial: Trial) -> list[str]:
    """Return the command line that starts a program once for each GPU of the trial (without GPUs: for each CPU).

    Args:
        resources: what the trial has: ``gpus`` and ``cpus`` in all, on ``nodes``.
        words: the program, for example ``["python", "train.py", "--lr", "0.1"]`` or ``["python", "-m", "train"]``.
        trial: its id names the rendezvous, so that trials on one machine never meet.
    """
    nodes = int(resources.get("nodes", 1))
    processes = max(1, int(resources["gpus"] or resources["cpus"]) // nodes)
    start = [sys.executable, "-m", "torch.distributed.run", f"--nnodes={nodes}", f"--nproc-per-node={processes}"]
    if nodes == 1:
        # torchrun would have the ranks meet at the machine's own name, which need not resolve: they would wait for
        # minutes, and fail.
        return [*start, "--standalone", "--local-addr=127.0.0.1", *_program(words)]
    # A batch runs on the first node of its allocation; the port only has to be another one for another trial there.
    port = 20_000 + int(trial.id, 16) % 20_000
    rendezvous = [
        "--rdzv-backend=c10d",
        f"--rdzv-endpoint={os.uname().nodename}:{port}",
        f"--rdzv-id={trial.id}-{trial.attempt}",
    ]
    # --overlap: the batch itself is a step of the same allocation, and holds its resources.
    on_each_node = ["srun", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1", "--overlap"]
    return [*on_each_node, *start, *rendezvous, *_program(words)]


def _program(words: list[str]) -> list[str]:
    """Return the program as torchrun wants it: without the interpreter, which it starts itself."""
    return words[1:] if os.path.basename(words[0]).startswith("python") else ["--no-python", *words]
