"""``torch-cudnn``: the attention of cuDNN, through PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from autotune.bench import sdpa
from autotune.bench.case import AttentionCase
from autotune.bench.inputs import Inputs, Outputs


class TorchCudnn:
    """SDPA that may use the cuDNN kernel and no other."""

    packages: tuple[str, ...] = ()

    def unsupported(self, case: AttentionCase, device: str) -> str | None:
        if not device.startswith("cuda"):
            return "needs a CUDA device"
        return "cuDNN attention is for fp16 and bf16" if case.dtype == "fp32" else None

    def prepare(self, case: AttentionCase, inputs: Inputs) -> Callable[[], Outputs]:
        return sdpa.prepare(case, inputs)

    def active(self) -> AbstractContextManager[None]:
        return sdpa.only("CUDNN_ATTENTION")
