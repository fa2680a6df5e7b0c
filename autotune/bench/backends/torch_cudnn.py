"""``torch-cudnn``: the attention of cuDNN, through PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from autotune.bench import sdpa
from autotune.bench.case import AttentionCase
from autotune.bench.inputs import Forward, Inputs, Outputs, in_direction


class TorchCudnn:
    """SDPA that may use the cuDNN kernel and no other; a causal rectangle can only reach it as a mask tensor."""

    packages: tuple[str, ...] = ()
    install = "pip install 'autotune[torch]'"
    recompiles = False

    def unsupported(self, case: AttentionCase, device: str) -> str | None:
        if not device.startswith("cuda"):
            return "needs a CUDA device"
        return "cuDNN attention is for fp16 and bf16" if case.dtype == "fp32" else None

    def forward(self, case: AttentionCase, device: str) -> Forward:
        return sdpa.forward(case, device, dense=True)

    def prepare(self, case: AttentionCase, inputs: Inputs) -> Callable[[], Outputs]:
        return in_direction(case, inputs, self.forward(case, str(inputs.q.device)))

    def active(self) -> AbstractContextManager[None]:
        return sdpa.only("CUDNN_ATTENTION")
