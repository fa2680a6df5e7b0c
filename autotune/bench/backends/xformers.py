"""``xformers``: ``memory_efficient_attention`` of the package xformers, with the operator that it picks itself."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from autotune.bench.case import AttentionCase
from autotune.bench.inputs import Inputs, Outputs, Tensor, in_direction


class Xformers:
    """[B, S, H, D] tensors; with fewer kv heads [B, S, Hkv, G, D], k and v expanded without a copy."""

    packages: tuple[str, ...] = ("xformers",)

    def unsupported(self, case: AttentionCase, device: str) -> str | None:
        return None if device.startswith("cuda") else "needs a CUDA device"

    def prepare(self, case: AttentionCase, inputs: Inputs) -> Callable[[], Outputs]:
        from xformers.ops import memory_efficient_attention
        from xformers.ops.fmha.attn_bias import LowerTriangularFromBottomRightMask

        bias = LowerTriangularFromBottomRightMask() if case.masked else None
        group = case.heads // case.kv_heads

        def grouped(x: Tensor) -> Tensor:  # [B, S, Hkv, D] -> [B, S, Hkv, G, D]
            return x.unsqueeze(3).expand(-1, -1, -1, group, -1)

        def forward(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
            if group > 1:
                q, k, v = q.unflatten(2, (case.kv_heads, group)), grouped(k), grouped(v)
            out = memory_efficient_attention(q, k, v, attn_bias=bias)
            return (out.flatten(2, 3) if group > 1 else out).transpose(1, 2)

        return in_direction(case, inputs, forward)

    def active(self) -> AbstractContextManager[None]:
        return nullcontext()
