"""What masks mean: which keys a query sees and what is added to its logits, as numbers and as tensors.

A backend that has a native form of a mask takes the numbers (lengths, bounds, slopes); the others get the tensor.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

from autotune.bench.case import AttentionCase

Tensor = Any  # torch.Tensor; torch is imported where it is used


def lengths(case: AttentionCase) -> list[int]:
    """Return how many keys each batch entry has: with padding from all of them down to about a quarter, or to N."""
    if not case.padded:
        return [case.seq_kv] * case.batch
    if ":" in case.mask:
        missing = case.seq_kv - int(case.mask.partition(":")[2])
        return [case.seq_kv - missing * b // max(1, case.batch - 1) for b in range(case.batch)]
    return [max(1, case.seq_kv - (3 * case.seq_kv * b) // (4 * case.batch) - (b > 0)) for b in range(case.batch)]


def document_bounds(case: AttentionCase) -> list[int]:
    """Return 0, the ends of the documents of one batch entry, and so Sq last; their lengths vary fivefold."""
    number = max(1, case.documents)
    weights = [1 + (7 * i + 3) % 5 for i in range(number)]
    total, bounds = sum(weights), [0]
    for i in range(1, number):
        exact = case.seq_q * sum(weights[:i]) // total
        bounds.append(min(max(exact, bounds[-1] + 1), case.seq_q - (number - i)))
    return [*bounds, case.seq_q]


def slopes(case: AttentionCase) -> list[float]:
    """Return ALiBi's slope of each query head: a geometric sequence that ends at 1/256."""
    return [2.0 ** (-8.0 * (h + 1) / case.heads) for h in range(case.heads)]


def pairs(case: AttentionCase) -> float:
    """Return how many (query, key) pairs count in one head, over the whole batch."""
    if case.documents:
        bounds = document_bounds(case)
        return case.batch * sum(_span(b - a, b - a, case) for a, b in itertools.pairwise(bounds))
    return sum(_span(case.seq_q, length, case) for length in lengths(case))


def _span(seq_q: int, seq_kv: int, case: AttentionCase) -> float:
    """Return the pairs of one sequence; causal by the rule that takes away Sq²/2, a window by its rows."""
    if case.masked:
        seq_q = min(seq_q, seq_kv)  # earlier queries see nothing
    if case.windowed:
        full = seq_kv - seq_q  # what the first query sees beside itself
        short = max(0, min(seq_q, case.window - full - 1))  # rows that see fewer keys than the window holds
        return short * full + short * (short + 1) / 2 + (seq_q - short) * case.window
    return seq_q * seq_kv - (seq_q**2 / 2 if case.masked else 0)


def visible(case: AttentionCase, b: int, start: int, rows: int, device: Any) -> Tensor | None:
    """Return which keys the queries start, start + 1, ... of batch entry b see, bool [R, Skv]; None is all."""
    import torch

    row = torch.arange(start, min(start + rows, case.seq_q), device=device)[:, None]
    key = torch.arange(case.seq_kv, device=device)
    at = row + case.seq_kv - case.seq_q
    seen = key <= at if case.masked else None
    if case.windowed:
        near = key > at - case.window
        seen = near if seen is None else seen & near
    if case.padded:
        seen = (key < lengths(case)[b]).expand(row.shape[0], -1)
    if case.documents:
        ends = torch.tensor(document_bounds(case)[1:], device=device)
        same = torch.bucketize(row, ends, right=True) == torch.bucketize(key, ends, right=True)
        seen = same if seen is None else seen & same
    return seen


def bias(case: AttentionCase, heads: slice, start: int, rows: int, device: Any) -> Tensor | None:
    """Return what is added to the logits of these heads, float64 [G, R, Skv]; None is nothing."""
    import torch

    if case.mask != "alibi":
        return None
    row = torch.arange(start, min(start + rows, case.seq_q), device=device)[:, None] + case.seq_kv - case.seq_q
    distance = (row - torch.arange(case.seq_kv, device=device)).abs().double()
    slope = torch.tensor(slopes(case)[heads], dtype=torch.float64, device=device)
    return -slope[:, None, None] * distance


def dense(case: AttentionCase, device: Any) -> Tensor | None:
    """Return the mask as one tensor: bool [B or 1, 1, Sq, Skv], or a bias [1, H, Sq, Skv]; None is no mask."""
    import torch

    from autotune.bench.inputs import torch_dtype

    if case.mask == "alibi":
        parts = [_biased(case, h, device).to(torch_dtype(case)) for h in range(case.heads)]
        return torch.stack(parts)[None]
    entries = range(case.batch) if case.padded else range(1)
    seen = [visible(case, b, 0, case.seq_q, device) for b in entries]
    return None if seen[0] is None else torch.stack([part for part in seen if part is not None])[:, None]


def _biased(case: AttentionCase, head: int, device: Any) -> Tensor:
    """Return the bias of one head [Sq, Skv], minus infinity where nothing is seen."""
    added = bias(case, slice(head, head + 1), 0, case.seq_q, device)
    seen = visible(case, 0, 0, case.seq_q, device)
    if added is None:
        raise ValueError(f"{case.mask} has no bias")
    return added[0] if seen is None else added[0].masked_fill(~seen, -math.inf)


def document_lengths(case: AttentionCase) -> list[int]:
    """Return the lengths of all documents of all batch entries, one after another."""
    bounds = document_bounds(case)
    return [b - a for a, b in itertools.pairwise(bounds)] * case.batch


def cumulative(case: AttentionCase, device: Any) -> Tensor:
    """Return 0 and the ends of all documents of the flattened batch, int32, as varlen kernels want them."""
    import torch

    total = [0]
    for length in document_lengths(case):
        total.append(total[-1] + length)
    return torch.tensor(total, dtype=torch.int32, device=device)
