"""PyTorch's ``scaled_dot_product_attention`` as the torch backends call it, and the switch that forces a kernel."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from autotune.bench.case import AttentionCase
from autotune.bench.inputs import Inputs, Outputs, Tensor, in_direction


def needs_mask_tensor(case: AttentionCase) -> bool:
    """Whether causal must be given as a mask: PyTorch's ``is_causal`` is aligned top-left, a case bottom-right."""
    return case.masked and case.seq_q != case.seq_kv


def prepare(case: AttentionCase, inputs: Inputs) -> Callable[[], Outputs]:
    """Return the call of a case; which kernel it reaches depends on what is switched on while it runs."""
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    options: dict[str, Any] = {"is_causal": case.masked}
    if needs_mask_tensor(case):
        ones = torch.ones(case.seq_q, case.seq_kv, dtype=torch.bool, device=inputs.q.device)
        options = {"attn_mask": ones.tril(case.seq_kv - case.seq_q)}
    if case.heads != case.kv_heads:
        options["enable_gqa"] = True

    def forward(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return scaled_dot_product_attention(q, k, v, **options)

    return in_direction(case, inputs, forward)


def only(kernel: str) -> AbstractContextManager[None]:
    """Allow one kernel of ``torch.nn.attention.SDPBackend`` and no other: it runs, or the call raises.

    Entering costs about 35 us of host time, so it belongs around the timed region and never into it.
    """
    from torch.nn.attention import SDPBackend, sdpa_kernel

    context: AbstractContextManager[None] = sdpa_kernel([getattr(SDPBackend, kernel)])
    return context
