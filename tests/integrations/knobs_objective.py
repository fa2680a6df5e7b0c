"""An objective that trains one small model by many settings of the knobs, and returns the loss that each came to.

A test starts it, by torchrun, on one process and on two: with equal batches the losses must be equal. Each process
prints what it sees; one that hangs says where.
"""

from __future__ import annotations

import faulthandler
import time
from collections.abc import Mapping
from typing import Any

import torch
from torch.nn import functional

from autotune.integrations import dist

ROWS, STEPS = 16, 4
HANGS_S = 80.0  # all of it takes 5
SETTINGS: dict[str, dict[str, Any]] = {
    "ddp": {},
    "ddp_accum": {"grad_accum": 2},
    "ddp_checkpointed": {"activation_checkpointing": True},
    "ddp_bf16": {"precision": "bf16"},
    "ddp_fp16": {"precision": "fp16"},
    "fsdp": {"strategy": "FSDP"},
    "fsdp_accum": {"strategy": "fsdp", "grad_accum": 2},
    "fsdp_checkpointed": {"strategy": "fsdp", "activation_checkpointing": True},
    "fsdp_bf16": {"strategy": "fsdp", "precision": "bf16"},
    "fsdp_fp16": {"strategy": "fsdp", "precision": "fp16"},
}


class Block(torch.nn.Module):
    """A residual block of 8 numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = torch.nn.Linear(8, 64), torch.nn.Linear(64, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.down(functional.gelu(self.up(x)))


class Model(torch.nn.Module):
    """Three blocks, and a weight of four numbers whose last one has any slope that a test wants."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = torch.nn.ModuleList(Block() for _ in range(3))
        self.odd = torch.nn.Parameter(torch.zeros(4))

    def forward(self, x: torch.Tensor, y: torch.Tensor, slope: float = 0.0) -> torch.Tensor:
        for block in self.blocks:
            x = block(x)
        # In fp32: the scaled gradient of the sum itself is too large for fp16.
        return functional.cross_entropy(x, y) + slope * self.odd.float()[-1]


def start(me: dist.Processes, knobs: Mapping[str, Any]) -> Any:
    torch.manual_seed(3)
    return dist.engine(Model().to(me.device), lambda weights: torch.optim.SGD(weights, lr=0.5), knobs)


def train(me: dist.Processes, knobs: Mapping[str, Any]) -> float:
    """Return the mean loss of the last batch; each process has its part of every batch."""
    engine = start(me, knobs)
    data = torch.Generator().manual_seed(5)
    parts = knobs.get("grad_accum", 1)
    mine = slice(me.rank * ROWS // me.world, (me.rank + 1) * ROWS // me.world)
    for _ in range(STEPS):
        x, y = torch.randn(ROWS, 8, generator=data), torch.randint(8, (ROWS,), generator=data)
        losses = []
        for some_x, some_y in zip(x[mine].chunk(parts), y[mine].chunk(parts)):
            losses.append(engine(some_x.to(me.device), some_y.to(me.device)))
            engine.backward(losses[-1])
            engine.step()
    return me.mean(sum(loss.item() for loss in losses) / parts)


def moved(me: dist.Processes, strategy: str, slope: float) -> float:
    """Return how far the weights move with fp16 in one step; the slope of the last weight may overflow there.

    With FSDP only one process has that weight.
    """
    engine = start(me, {"precision": "fp16", "strategy": strategy})
    before = [whole(weight).clone() for weight in engine.model.parameters()]
    x, y = torch.full((2, 8), 0.1, device=me.device), torch.ones(2, dtype=torch.long, device=me.device)
    engine.backward(engine(x, y, slope))
    engine.step()
    after = [whole(weight) for weight in engine.model.parameters()]
    return me.mean(max(float((new - old).abs().max()) for new, old in zip(after, before)))


def whole(weight: Any) -> torch.Tensor:
    return (weight.full_tensor() if isinstance(weight, torch.distributed.tensor.DTensor) else weight).detach()


def objective(params: dict[str, Any], trial: Any) -> dict[str, float]:
    started = time.monotonic()
    faulthandler.dump_traceback_later(HANGS_S)
    with dist.processes() as me:
        found = {}
        for name, knobs in SETTINGS.items():
            found[name] = train(me, knobs)
            print(f"rank {me.rank}/{me.world} {time.monotonic() - started:5.1f} s {name} {found[name]!r}", flush=True)
        for strategy in ("ddp", "fsdp"):
            found[f"{strategy}_moved"] = moved(me, strategy, slope=0.1)
            found[f"{strategy}_moved_by_overflow"] = moved(me, strategy, slope=1e38)
        print(f"rank {me.rank}/{me.world} {time.monotonic() - started:5.1f} s on {hardware(me)}", flush=True)
        metrics = {"loss": found["ddp"], "world": me.world, "on_gpu": float(me.device.type == "cuda"), **found}
    faulthandler.cancel_dump_traceback_later()
    return metrics


def hardware(me: dist.Processes) -> str:
    if me.device.type == "cpu":
        return f"cpu, PyTorch {torch.__version__}"
    nccl = ".".join(map(str, torch.cuda.nccl.version()))
    return f"{me.device}, {torch.cuda.get_device_name(me.device)}, PyTorch {torch.__version__}, NCCL {nccl}"


def deepspeed_objective(params: dict[str, Any], trial: Any) -> dict[str, float]:
    with dist.processes() as me:
        return {"loss": train(me, {"strategy": "deepspeed", **params}), "world": me.world}
