"""PyTorch's ``scaled_dot_product_attention`` as the torch backends call it, and the switch that forces a kernel."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from autotune.bench import masks
from autotune.bench.case import AttentionCase
from autotune.bench.inputs import Forward, Tensor


def needs_mask_tensor(case: AttentionCase) -> bool:
    """Whether the mask can only be given as a tensor; PyTorch warns of NaN where its class for causal leaves no key."""
    return not case.plain or case.blind


def rectangular(case: AttentionCase) -> bool:
    """Whether causal is not ``is_causal``: that one is aligned top-left, a case bottom-right."""
    return case.masked and case.seq_q != case.seq_kv


def options(case: AttentionCase, device: Any, *, dense: bool = False) -> dict[str, Any]:
    """Return the keywords of the call; ``dense`` gives a causal rectangle as a tensor, not as PyTorch's own mask class.

    That class (``causal_lower_right``) lets the flash and the efficient kernel skip what is masked.
    """
    found: dict[str, Any] = {}
    if needs_mask_tensor(case) or (rectangular(case) and dense):
        found["attn_mask"] = masks.dense(case, device)
    elif rectangular(case):
        from torch.nn.attention.bias import causal_lower_right

        found["attn_mask"] = causal_lower_right(case.seq_q, case.seq_kv)
    elif case.masked:
        found["is_causal"] = True
    if case.heads != case.kv_heads:
        found["enable_gqa"] = True
    if case.dropout:
        found["dropout_p"] = case.dropout
    return found


def call_with(keywords: dict[str, Any]) -> Forward:
    """Return SDPA with these keywords; which kernel it reaches depends on what is switched on while it runs."""
    from torch.nn.functional import scaled_dot_product_attention

    keywords = dict(keywords)

    def forward(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return scaled_dot_product_attention(q, k, v, **keywords)

    return forward


def forward(case: AttentionCase, device: str, *, dense: bool = False) -> Forward:
    """Return the call of a case."""
    return call_with(options(case, device, dense=dense))


def only(kernel: str) -> AbstractContextManager[None]:
    """Allow one kernel of ``torch.nn.attention.SDPBackend`` and no other: it runs, or the call raises.

    Entering costs about 35 us of host time, so it belongs around the timed region and never into it.
    """
    from torch.nn.attention import SDPBackend, sdpa_kernel

    context: AbstractContextManager[None] = sdpa_kernel([getattr(SDPBackend, kernel)])
    return context
