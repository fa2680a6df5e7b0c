"""``flash2``: ``flash_attn_func`` of the package flash-attn, version 2."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from autotune.bench.case import AttentionCase
from autotune.bench.inputs import Inputs, Outputs, Tensor, in_direction


class Flash2:
    """[B, S, H, D] tensors, fewer kv heads as they are, causal aligned bottom-right by itself."""

    packages: tuple[str, ...] = ("flash-attn",)

    def unsupported(self, case: AttentionCase, device: str) -> str | None:
        if not device.startswith("cuda"):
            return "needs a CUDA device"
        if case.dtype == "fp32":
            return "flash-attn is for fp16 and bf16"
        return f"flash-attn takes d_k up to 256, not {case.d_k}" if case.d_k > 256 else None

    def prepare(self, case: AttentionCase, inputs: Inputs) -> Callable[[], Outputs]:
        from flash_attn import flash_attn_func

        def forward(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            out = flash_attn_func(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), causal=case.masked)
            return out.transpose(1, 2)

        return in_direction(case, inputs, forward)

    def active(self) -> AbstractContextManager[None]:
        return nullcontext()
