"""The lengths that kernels break on, beside the one that is asked for: 1, 64 and 127 past a multiple of 128.

A model that trains on a length meets others too, and a kernel that returns NaN there is not one to choose. Small
cases of the same kind, so they cost milliseconds; each backend is checked once a kind and process.
"""

from __future__ import annotations

from dataclasses import replace

from autotune.bench.case import AttentionCase

LENGTHS = (129, 255, 704)  # 704: cuDNN 9.19 returned NaN gradients there with a mask tensor (pytorch#196678)
FILLS = (("random", 11), ("very negative logits", 12))
_KV_HEADS = 2


def neighbours(case: AttentionCase) -> list[AttentionCase]:
    """Return small cases of the same kind (dtype, sizes, head ratio, mask, direction) at the awkward lengths."""
    kv_heads = min(case.kv_heads, _KV_HEADS)
    heads = kv_heads * (case.heads // case.kv_heads)
    return [_at(replace(case, batch=min(case.batch, 2), kv_heads=kv_heads, heads=heads), n) for n in LENGTHS]


def kind(case: AttentionCase) -> str:
    """Return what cases have in common whose neighbours are the same."""
    return " ".join(str(one) for one in neighbours(case))


def _at(case: AttentionCase, length: int) -> AttentionCase:
    rectangle = 1 if case.seq_q == 1 else max(2, length // 3)
    seq_q = length if case.seq_q == case.seq_kv else rectangle
    mask = f"documents:{min(case.documents, 3)}" if case.documents else case.mask
    return replace(case, seq_q=seq_q, seq_kv=length, window=min(case.window, length // 2), mask=mask)
