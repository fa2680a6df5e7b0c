"""``flash3``: FlashAttention 3, for Hopper; not on PyPI."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from autotune.bench.case import AttentionCase
from autotune.bench.inputs import Forward, Inputs, Outputs, Tensor, in_direction


class Flash3:
    """[B, S, H, D] tensors; what a build left out (windows, head sizes) it says when it runs.

    In decoding it splits the keys as it sees fit (``num_splits=0``): one query alone fills no GPU. With more queries
    its own rule also splits where that costs (H200, 8 heads of 1024: 23.5 us for 18.9), so it is not asked.
    """

    packages: tuple[str, ...] = ("flash-attn-3",)
    install = "pip install flash-attn-3 --index-url https://download.pytorch.org/whl/cu130  # not on PyPI"
    recompiles = False

    def unsupported(self, case: AttentionCase, device: str) -> str | None:
        if not device.startswith("cuda"):
            return "needs a CUDA device"
        if case.dtype == "fp32":
            return "FlashAttention 3 is for fp16, bf16 and fp8"
        if case.dropout:
            return "FlashAttention 3 has no dropout"
        return None if case.mask == "none" else f"flash_attn_func of FlashAttention 3 has no {case.mask.split(':')[0]}"

    def forward(self, case: AttentionCase, device: str) -> Forward:
        from flash_attn_3.flash_attn_interface import flash_attn_func

        options: dict[str, Any] = {"causal": case.masked}
        if case.windowed:
            options["window_size"] = (case.window - 1, 0)
        if case.seq_q == 1:
            options["num_splits"] = 0

        def forward(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            out = flash_attn_func(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), **options)
            return (out[0] if isinstance(out, tuple) else out).transpose(1, 2)

        return forward

    def prepare(self, case: AttentionCase, inputs: Inputs) -> Callable[[], Outputs]:
        return in_direction(case, inputs, self.forward(case, str(inputs.q.device)))

    def active(self) -> AbstractContextManager[None]:
        return nullcontext()
