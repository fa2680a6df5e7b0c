"""Train the language model for a fixed time; return its loss on text that it has not read, and how fast it read.

With a fixed time, speed is worth what it brings: a faster kernel, a lower precision or a larger batch wins only where
the loss is lower for it. PyTorch and its compiler are imported at the top, once a job, not once a trial.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
import torch._dynamo

from autotune import Infeasible
from autotune.bench.apply import apply
from autotune.integrations import dist
from examples.lm.model import LanguageModel
from examples.lm.text import load_splits

# What is not tuned unless a study says so: the sizes of the model, the budget, and what most people would start from.
DEFAULTS: dict[str, Any] = {
    "context": 256,
    "width": 384,
    "depth": 6,
    "heads": 6,
    "seconds": 3.0,
    "lr": 3e-4,
    "batch_size": 32,
    "grad_accum": 1,
    "attn_backend": "torch",
}
WARM_UP = 3  # updates before the clock starts: kernels are compiled and chosen then
LOG_EVERY = 10  # updates
EVALUATED_AT_ONCE = 64  # sequences

CHARACTERS, SPLITS = load_splits()


def objective(params: dict[str, Any], trial: Any) -> dict[str, float]:
    """Return ``val_loss`` (nats a character) after ``seconds`` of training, and ``tokens_per_s`` of all processes."""
    with dist.processes() as me:
        return train(me, params, trial.seed, trial.log)


def train(
    me: dist.Processes, params: dict[str, Any], seed: int, log: Callable[..., None] = lambda *line: None
) -> dict[str, float]:
    """Train and return the metrics; ``log`` gets the training loss now and then."""
    given = {**DEFAULTS, **params}
    # PyTorch keeps compiled graphs by what they compute, not by the attention kernel that is in them: start without.
    torch.compiler.reset()
    torch._functorch.config.enable_autograd_cache = False
    undo = apply(given["attn_backend"])
    try:
        torch.manual_seed(seed)
        sizes = {name: given[name] for name in ("context", "width", "depth", "heads")}
        model = LanguageModel(CHARACTERS, **sizes).to(me.device)
        engine = dist.engine(model, lambda weights: torch.optim.AdamW(weights, lr=given["lr"]), params)
        updates, seconds = _train(engine, _Reader(me, given, seed), me, given, log)
        return {
            "val_loss": _loss(engine, me, given["context"], "valid"),
            "test_loss": _loss(engine, me, given["context"], "test"),
            "tokens_per_s": updates * given["batch_size"] * given["context"] / seconds,
            "updates": updates,
        }
    finally:
        undo()


class _Reader:
    """Draws micro-batches from the text: this process's part of each, by its own random numbers."""

    def __init__(self, me: dist.Processes, given: dict[str, Any], seed: int) -> None:
        self._rows, rest = divmod(given["batch_size"], me.world * given["grad_accum"])
        if rest or not self._rows:
            raise Infeasible(f"batch_size must be a multiple of {me.world * given['grad_accum']}, its micro-batches")
        self._text, self._context = SPLITS["train"].to(me.device), given["context"]
        self._random = torch.Generator(me.device).manual_seed((seed * me.world + me.rank) % 2**63)

    def draw(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return text and what follows, ``[rows, context]`` each."""
        device, last = self._text.device, len(self._text) - self._context - 1
        starts = torch.randint(last, (self._rows, 1), generator=self._random, device=device)
        at = starts + torch.arange(self._context, device=device)
        return self._text[at], self._text[at + 1]


def _train(
    engine: dist.Engine, reader: _Reader, me: dist.Processes, given: dict[str, Any], log: Callable[..., None]
) -> tuple[int, float]:
    """Train until the time is over; return the updates that were timed, and their seconds (the mean over processes)."""
    started_at, update = 0.0, 0
    while True:
        update += 1
        for _ in range(given["grad_accum"]):
            loss = engine(*reader.draw())
            engine.backward(loss)
            engine.step()
        if update == WARM_UP:
            loss.item()  # waits for the GPU
            started_at = time.perf_counter()
        elif (update - WARM_UP) % LOG_EVERY == 0:
            log("train_loss", loss.item(), update)
            seconds = me.mean(time.perf_counter() - started_at)  # the same on all processes, so that all end together
            if seconds >= given["seconds"]:
                return update - WARM_UP, seconds


def _loss(engine: dist.Engine, me: dist.Processes, context: int, split: str) -> float:
    """Return the mean loss over a split, in order and without overlap."""
    text = SPLITS[split].to(me.device)
    rows = (len(text) - 1) // context
    whole = text[: rows * context].view(rows, context), text[1 : rows * context + 1].view(rows, context)
    total = 0.0
    with torch.no_grad(), torch.compiler.set_stance("force_eager"):  # other shapes are not worth compiling for
        for one, following in zip(*(part.split(EVALUATED_AT_ONCE) for part in whole)):
            total += engine(one, following).item() * len(one)
    return total / rows
