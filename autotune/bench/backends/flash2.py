"""``flash2``: the package flash-attn, version 2."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from autotune.bench import masks
from autotune.bench.case import AttentionCase
from autotune.bench.inputs import Forward, Inputs, Outputs, Tensor, in_direction


class Flash2:
    """[B, S, H, D] tensors; fewer kv heads, bottom-right causal, windows, ALiBi and packed documents as they are."""

    packages: tuple[str, ...] = ("flash-attn",)
    install = "pip install ninja packaging && pip install flash-attn --no-build-isolation  # compiles for about an hour"
    recompiles = False

    def unsupported(self, case: AttentionCase, device: str) -> str | None:
        if not device.startswith("cuda"):
            return "needs a CUDA device"
        if case.dtype == "fp32":
            return "flash-attn is for fp16 and bf16"
        if case.d_v != case.d_k:
            return "flash-attn 2 wants d_v as d_k"
        if case.padded:
            return "flash-attn takes padding only as packed documents"
        return f"flash-attn takes d_k up to 256, not {case.d_k}" if case.d_k > 256 else None

    def forward(self, case: AttentionCase, device: str) -> Forward:
        from flash_attn import flash_attn_func, flash_attn_varlen_func

        options: dict[str, Any] = {"causal": case.masked, "dropout_p": case.dropout}
        if case.windowed:
            options["window_size"] = (case.window - 1, 0)
        if case.mask == "alibi":
            import torch

            options["alibi_slopes"] = torch.tensor(masks.slopes(case), dtype=torch.float32, device=device)
        if case.documents:
            ends, longest = masks.cumulative(case, device), max(masks.document_lengths(case))

            def packed(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
                flat = (tensor.transpose(1, 2).flatten(0, 1) for tensor in (q, k, v))
                out = flash_attn_varlen_func(*flat, ends, ends, longest, longest, **options)
                return out.unflatten(0, (case.batch, case.seq_q)).transpose(1, 2)

            return packed

        def forward(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return flash_attn_func(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), **options).transpose(1, 2)

        return forward

    def prepare(self, case: AttentionCase, inputs: Inputs) -> Callable[[], Outputs]:
        return in_direction(case, inputs, self.forward(case, str(inputs.q.device)))

    def active(self) -> AbstractContextManager[None]:
        return nullcontext()
