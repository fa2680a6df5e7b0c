"""``flash4``: FlashAttention 4, compiled when it runs (CuTe DSL); the one that pip installs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from autotune.bench import masks
from autotune.bench.case import AttentionCase
from autotune.bench.inputs import Forward, Inputs, Outputs, Tensor, in_direction


class Flash4:
    """[B, S, H, D] tensors; compiles a kind for seconds, which FLASH_ATTENTION_CUTE_DSL_CACHE_ENABLED=1 keeps."""

    packages: tuple[str, ...] = ("flash-attn-4", "nvidia-cutlass-dsl")
    install = "pip install --pre flash-attn-4 'nvidia-cutlass-dsl[cu13]'"
    recompiles = False

    def unsupported(self, case: AttentionCase, device: str) -> str | None:
        if not device.startswith("cuda"):
            return "needs a CUDA device"
        if case.dtype == "fp32":
            return "FlashAttention 4 is for fp16 and bf16"
        if case.dropout:
            return "FlashAttention 4 has no dropout"
        return f"flash4 is not given {case.mask} here" if case.padded or case.mask == "alibi" else None

    def forward(self, case: AttentionCase, device: str) -> Forward:
        from flash_attn.cute import flash_attn_func, flash_attn_varlen_func

        options: dict[str, Any] = {"causal": case.masked}
        if case.windowed:
            options["window_size"] = (case.window - 1, 0)
        if case.documents:
            ends, longest = masks.cumulative(case, device), max(masks.document_lengths(case))
            options |= {"cu_seqlens_q": ends, "cu_seqlens_k": ends, "max_seqlen_q": longest, "max_seqlen_k": longest}

        def forward(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            turned = [tensor.transpose(1, 2) for tensor in (q, k, v)]
            if case.documents:
                turned = [tensor.flatten(0, 1) for tensor in turned]
            out = (flash_attn_varlen_func if case.documents else flash_attn_func)(*turned, **options)
            out = out[0] if isinstance(out, tuple) else out
            return (out.unflatten(0, (case.batch, case.seq_q)) if case.documents else out).transpose(1, 2)

        return forward

    def prepare(self, case: AttentionCase, inputs: Inputs) -> Callable[[], Outputs]:
        return in_direction(case, inputs, self.forward(case, str(inputs.q.device)))

    def active(self) -> AbstractContextManager[None]:
        return nullcontext()
