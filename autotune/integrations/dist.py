"""The knobs of a training on several GPUs as parameters of a trial, turned into an engine for the training loop.

In an objective, on one process or, with ``launcher: torchrun``, on each of a trial's::

    from autotune.integrations import dist

    def objective(params, trial):
        with dist.processes() as me:                        # me.rank, me.world, me.device
            model = Model().to(me.device)                   # returns its loss
            engine = dist.engine(model, lambda weights: torch.optim.AdamW(weights, lr=params["lr"]), params)
            for x, y in batches(me.rank, me.world):         # this process's part of each batch
                loss = engine(x, y)
                engine.backward(loss)
                engine.step()                               # every `grad_accum` calls the weights change
            return me.mean(loss.item())

The three calls of the loop are DeepSpeed's. Where a package ``dist`` has a ``dist.engine.DistributedEngine``, that is
made and returned instead: it is called with ``model``, ``optimizer_factory`` and the five knobs, all as keywords.
"""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any, Protocol, final

from autotune.errors import InvalidInput
from autotune.integrations import library

Module = Any  # torch.nn.Module
OptimizerFactory = Callable[[Any], Any]  # the model's parameters -> torch.optim.Optimizer

PRECISIONS = ("fp32", "bf16", "fp16")
STRATEGIES = ("ddp", "fsdp", "deepspeed")
_DTYPES = {"bf16": "bfloat16", "fp16": "float16"}


class Engine(Protocol):
    """What a training loop calls, in this order, once for each micro-batch."""

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        """Return what the model returns, computed in the knob's precision; the model computes the loss itself."""

    def backward(self, loss: Any) -> Any:
        """Add the gradients of a scalar loss, the mean over the micro-batch, to those since the last update."""

    def step(self) -> Any:
        """Update the weights if this was the last of ``grad_accum`` micro-batches, by the mean of their gradients."""


@dataclass(frozen=True)
class Knobs:
    """What `engine` reads from a trial's parameters; what is not there has its default.

    Attributes:
        precision: of matrix products; the weights themselves stay fp32. ``fp16`` scales the loss, and leaves out
            updates in which a gradient overflows.
        strategy: on several processes ``ddp`` keeps all weights on each, ``fsdp`` a part, gathered block by block,
            ``deepspeed`` all weights, and a part of gradients and optimizer state (ZeRO 2). On one, the first two do
            nothing.
        grad_accum: micro-batches an update is made of.
        activation_checkpointing: whether activations are computed again in the backward pass, instead of kept.
        compile: whether each block is compiled.
    """

    precision: str = "fp32"
    strategy: str = "ddp"
    grad_accum: int = 1
    activation_checkpointing: bool = False
    compile: bool = False

    def __post_init__(self) -> None:
        _one_of("precision", self.precision, PRECISIONS)
        _one_of("strategy", self.strategy, STRATEGIES)
        if type(self.grad_accum) is not int or self.grad_accum < 1:
            raise InvalidInput(f"`grad_accum` must be an integer of at least 1, got {self.grad_accum!r}")

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> Knobs:
        """Return the knobs among a trial's parameters; names may be in capitals (``FSDP``).

        Raises:
            InvalidInput: a knob has a value that it cannot have.
        """
        given: dict[str, Any] = {}
        for name in cls.__dataclass_fields__.keys() & params.keys():
            value = params[name]
            given[name] = value.lower() if isinstance(value, str) else value
        return cls(**given)


@dataclass(frozen=True)
class Processes:
    """This process among those of the trial: ``rank`` of ``world``, and the device that it trains on."""

    rank: int
    world: int
    device: Any

    def mean(self, value: float) -> float:
        """Return the mean of a number over all processes, the same on each; all of them have to call it."""
        if self.world == 1:
            return value
        import torch

        total = torch.tensor(value, dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(total)
        return float(total) / self.world


@contextmanager
def processes() -> Iterator[Processes]:
    """Join the processes that torchrun started (NCCL on GPUs, gloo without), or be one alone.

    A process that fails does not wait for the others before it ends: torchrun ends them.
    """
    import torch

    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    group = torch.distributed
    joins = int(os.environ.get("WORLD_SIZE", "1")) > 1 and not _has_group()
    if joins:
        group.init_process_group("nccl" if device.type == "cuda" else "gloo")
    shared = _has_group()
    yield Processes(group.get_rank() if shared else 0, group.get_world_size() if shared else 1, device)
    if joins:
        group.destroy_process_group()


def engine(model: Module, optimizer_factory: OptimizerFactory, params: Mapping[str, Any]) -> Engine:
    """Return what a training loop calls, made by the knobs in a trial's parameters (see `Knobs`).

    Blocks, which are checkpointed, compiled and sharded each by itself, are the members of the model's ``ModuleList``;
    a model without one is a single block. Compiling takes the time of one block where all are alike.

    Args:
        model: on its device already; FSDP wants it equal on all processes (the same seed), the others see to that.
        optimizer_factory: called with the parameters that are to be trained, which FSDP exchanges for its own.
        params: a trial's parameters.

    Raises:
        InvalidInput: a knob has a value that it cannot have, or DeepSpeed is not installed.
    """
    knobs = Knobs.of(params)
    theirs = _their_engine()
    if theirs is not None:
        made: Engine = theirs(model=model, optimizer_factory=optimizer_factory, **asdict(knobs))
        return made
    for block in _blocks(model):
        block.forward = _forward(block.forward, knobs)
    if knobs.strategy == "deepspeed":
        return _deepspeed(model, optimizer_factory, knobs)
    wrapped = _distributed(model, knobs)
    return TorchEngine(wrapped, optimizer_factory(wrapped.parameters()), knobs)


@final
class TorchEngine:
    """An `Engine` of plain PyTorch; ``model`` and ``optimizer`` are as they were wrapped and made."""

    def __init__(self, model: Module, optimizer: Any, knobs: Knobs) -> None:
        import torch

        self.model, self.optimizer = model, optimizer
        self._grad_accum, self._micro_batch = knobs.grad_accum, 0
        self._device_type = next(model.parameters()).device.type
        self._dtype = getattr(torch, _DTYPES[knobs.precision]) if knobs.precision in _DTYPES else None
        self._scaler = torch.amp.GradScaler(self._device_type, enabled=knobs.precision == "fp16")

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        """Return what the model returns; gradients of the last micro-batch alone are exchanged between processes."""
        with _exchange(self.model, self._micro_batch + 1 == self._grad_accum), self._autocast():
            return self.model(*inputs, **named)

    def backward(self, loss: Any) -> None:
        """Add the gradients of a scalar loss to those since the last update."""
        self._scaler.scale(loss / self._grad_accum).backward()

    def step(self) -> None:
        """Update the weights if this was the last of ``grad_accum`` micro-batches."""
        self._micro_batch = (self._micro_batch + 1) % self._grad_accum
        if self._micro_batch == 0:
            self._scaler.step(self.optimizer)
            self._scaler.update()
            self.optimizer.zero_grad()

    def _autocast(self) -> AbstractContextManager[Any]:
        import torch

        return torch.autocast(self._device_type, self._dtype) if self._dtype else nullcontext()


def _exchange(model: Module, wanted: bool) -> AbstractContextManager[Any]:
    """Return a context for the forward pass, after whose backward pass gradients are exchanged or only added up."""
    if not _has_group():
        return nullcontext()
    from torch.distributed.fsdp import FSDPModule
    from torch.nn.parallel import DistributedDataParallel

    if isinstance(model, FSDPModule):
        model.set_requires_gradient_sync(wanted)
    elif isinstance(model, DistributedDataParallel) and not wanted:
        return model.no_sync()  # type: ignore[no-any-return]  # torch is not looked into
    return nullcontext()


def _blocks(model: Module) -> list[Module]:
    from torch.nn import ModuleList

    lists = [module for module in model.modules() if isinstance(module, ModuleList)]
    inner = {id(below) for one in lists for below in one.modules() if below is not one}
    return [block for one in lists if id(one) not in inner for block in one] or [model]


def _forward(forward: Callable[..., Any], knobs: Knobs) -> Callable[..., Any]:
    """Return the forward function of a block as the knobs want it: FSDP's hooks stay outside of what is compiled."""
    import torch
    from torch.utils.checkpoint import checkpoint

    if knobs.compile:
        forward = torch.compile(forward)
    if knobs.activation_checkpointing:
        forward = functools.partial(checkpoint, forward, use_reentrant=False)
    return forward


def _distributed(model: Module, knobs: Knobs) -> Module:
    """Return the model for several processes; on one it is the model itself."""
    import torch

    if not _has_group():
        return model
    if knobs.strategy == "ddp":
        on_gpu = next(model.parameters()).is_cuda
        return torch.nn.parallel.DistributedDataParallel(model, [torch.cuda.current_device()] if on_gpu else None)
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    dtype = getattr(torch, _DTYPES[knobs.precision]) if knobs.precision in _DTYPES else None
    # Weights travel in the knob's precision, gradients in fp32: a sum over many processes loses digits.
    policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32)
    for module in dict.fromkeys([*_blocks(model), model]):
        fully_shard(module, mp_policy=policy)
    return model


def _has_group() -> bool:
    import torch

    return bool(torch.distributed.is_available() and torch.distributed.is_initialized())


def _deepspeed(model: Module, optimizer_factory: OptimizerFactory, knobs: Knobs) -> Engine:
    deepspeed = library("deepspeed", "deepspeed")
    config = {
        "train_micro_batch_size_per_gpu": 1,  # has to be there, and only sizes a data loader that it does not make
        "gradient_accumulation_steps": knobs.grad_accum,
        "zero_optimization": {"stage": 2},
        "zero_allow_untested_optimizer": True,
        "gradient_clipping": 0.0,  # it would clip at 1, and the other strategies do not
        "torch_autocast": {"enabled": knobs.precision in _DTYPES, "dtype": _DTYPES.get(knobs.precision, "bfloat16")},
    }
    made: Engine = deepspeed.initialize(model=model, optimizer=optimizer_factory(model.parameters()), config=config)[0]
    return made


def _their_engine() -> Any:
    """Return ``dist.engine.DistributedEngine``, or None where there is no such module; its own faults are its own."""
    try:
        return importlib.import_module("dist.engine").DistributedEngine
    except ModuleNotFoundError as error:
        if error.name in ("dist", "dist.engine"):  # a folder that is called dist is no such package
            return None
        raise


def _one_of(name: str, value: object, options: tuple[str, ...]) -> None:
    if value not in options:
        raise InvalidInput(f"`{name}` must be one of {', '.join(options)}, got {value!r}")
