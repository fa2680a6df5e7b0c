"""``torch-efficient``: the memory-efficient (CUTLASS) kernel that PyTorch carries."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from autotune.bench import sdpa
from autotune.bench.case import AttentionCase
from autotune.bench.inputs import Inputs, Outputs


class TorchEfficient:
    """SDPA that may use the memory-efficient kernel and no other."""

    packages: tuple[str, ...] = ()

    def unsupported(self, case: AttentionCase, device: str) -> str | None:
        return None if device.startswith("cuda") else "needs a CUDA device"

    def prepare(self, case: AttentionCase, inputs: Inputs) -> Callable[[], Outputs]:
        return sdpa.prepare(case, inputs)

    def active(self) -> AbstractContextManager[None]:
        return sdpa.only("EFFICIENT_ATTENTION")
