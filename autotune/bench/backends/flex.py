"""``flex``: PyTorch's FlexAttention, compiled; masks are functions of the indices, and masked blocks are skipped."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from autotune.bench import masks
from autotune.bench.case import AttentionCase
from autotune.bench.inputs import Forward, Inputs, Outputs, Tensor, in_direction

RECOMPILE_LIMIT = 512  # PyTorch's own is 8; past it FlexAttention silently runs uncompiled, many times slower


class Flex:
    """[B, H, S, D] tensors; compiled for each shape, seconds each."""

    packages: tuple[str, ...] = ("triton",)
    install = "pip install 'autotune[torch]'"
    recompiles = True

    def unsupported(self, case: AttentionCase, device: str) -> str | None:
        if case.dropout:
            return "FlexAttention has no dropout"
        return None if device.startswith("cuda") else "needs a CUDA device"

    def forward(self, case: AttentionCase, device: str) -> Forward:
        import torch
        from torch.nn.attention.flex_attention import create_block_mask, flex_attention

        torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, RECOMPILE_LIMIT)
        options: dict[str, Any] = {"enable_gqa": case.heads != case.kv_heads}
        seen = _mask_of(case, device)
        if seen is not None:
            batch = case.batch if case.padded else None
            options["block_mask"] = create_block_mask(seen, batch, None, case.seq_q, case.seq_kv, device=device)
        if case.mask == "alibi":
            options["score_mod"] = _alibi(case, device)
        compiled = torch.compile(flex_attention, dynamic=False)

        def forward(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return compiled(q, k, v, **options)

        def kept(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            # A backward pass that runs again and again must not have its buffers reused.
            with torch._functorch.config.patch(donated_buffer=False):
                return compiled(q, k, v, **options)

        return kept if case.direction == "bwd" else forward

    def prepare(self, case: AttentionCase, inputs: Inputs) -> Callable[[], Outputs]:
        return in_direction(case, inputs, self.forward(case, str(inputs.q.device)))

    def active(self) -> AbstractContextManager[None]:
        return nullcontext()


def _mask_of(case: AttentionCase, device: str) -> Callable[..., Tensor] | None:
    """Return the mask as a function of batch, head, query and key index, or None where everything is seen."""
    import torch

    offset = case.seq_kv - case.seq_q
    parts: list[Callable[..., Tensor]] = []
    if case.masked:
        parts.append(lambda b, h, i, j: j <= i + offset)
    if case.windowed:
        parts.append(lambda b, h, i, j: j > i + offset - case.window)
    if case.padded:
        lengths = torch.tensor(masks.lengths(case), device=device)
        parts.append(lambda b, h, i, j: j < lengths[b])
    if case.documents:
        bounds = torch.tensor(masks.document_bounds(case)[1:], device=device)
        document = torch.bucketize(torch.arange(case.seq_q, device=device), bounds, right=True)
        parts.append(lambda b, h, i, j: document[i] == document[j])
    if not parts:
        return None
    from torch.nn.attention.flex_attention import and_masks

    both: Callable[..., Tensor] = and_masks(*parts)
    return both


def _alibi(case: AttentionCase, device: str) -> Callable[..., Tensor]:
    import torch

    slopes = torch.tensor(masks.slopes(case), dtype=torch.float32, device=device)
    offset = case.seq_kv - case.seq_q

    def with_bias(score: Tensor, _batch: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        return score - slopes[h] * (i + offset - j).abs()

    return with_bias
