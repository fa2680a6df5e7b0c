"""``torch-efficient``: the memory-efficient (CUTLASS) kernel that PyTorch carries."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from autotune.bench import sdpa
from autotune.bench.case import AttentionCase
from autotune.bench.inputs import Forward, Inputs, Outputs, in_direction


class TorchEfficient:
    """SDPA that may use the memory-efficient kernel and no other."""

    packages: tuple[str, ...] = ()
    install = "pip install 'autotune[torch]'"
    recompiles = False

    def unsupported(self, case: AttentionCase, device: str) -> str | None:
        return None if device.startswith("cuda") else "needs a CUDA device"

    def forward(self, case: AttentionCase, device: str) -> Forward:
        return sdpa.forward(case, device)

    def prepare(self, case: AttentionCase, inputs: Inputs) -> Callable[[], Outputs]:
        return in_direction(case, inputs, self.forward(case, str(inputs.q.device)))

    def active(self) -> AbstractContextManager[None]:
        return sdpa.only("EFFICIENT_ATTENTION")
