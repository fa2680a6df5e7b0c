"""Attention and its gradients in float64, by the textbook, in blocks of rows: what every backend is held against."""

from __future__ import annotations

import math

from autotune.bench import masks
from autotune.bench.case import AttentionCase
from autotune.bench.inputs import Inputs, Outputs, Tensor

_BLOCK_ELEMENTS = 1 << 24  # elements of one block of the score matrix; 128 MiB in float64


def exact_attention(
    case: AttentionCase, inputs: Inputs, kept: Tensor | None = None
) -> tuple[Outputs, dict[str, float]]:
    """Return the outputs in float64, and for each the Frobenius norm of the terms that it is a sum of.

    The second matters where a sum cancels: with equal keys dq is zero, and a kernel that rounds the summands to its
    dtype is off by their size, not by the size of zero. For random inputs that norm is the output's own. A query that
    sees no key has zeros. ``kept`` [B, H, Sq, Skv] says which weights the case's dropout left; None is all of them.
    """
    import torch

    q, k, v = inputs.q.detach(), inputs.k.detach(), inputs.v.detach()
    shape = (*q.shape[:-1], case.d_v)
    outputs = {"out": torch.empty(shape, dtype=torch.float64, device=q.device)}
    if inputs.dout is not None:
        for name, like in (("dq", q), ("dk", k), ("dv", v)):
            outputs[name] = torch.zeros(like.shape, dtype=torch.float64, device=q.device)
    squares = dict.fromkeys(outputs, 0.0)
    rows = max(1, _BLOCK_ELEMENTS // case.seq_kv // (case.heads // case.kv_heads))
    with torch.no_grad():
        for b in range(case.batch):
            for h in range(case.kv_heads):
                for start in range(0, case.seq_q, rows):
                    for name, square in _block(case, inputs, outputs, (b, h, start, rows), kept).items():
                        squares[name] += square
    return outputs, {name: math.sqrt(square) for name, square in squares.items()}


def _block(
    case: AttentionCase, inputs: Inputs, outputs: Outputs, at: tuple[int, int, int, int], kept: Tensor | None
) -> dict[str, float]:
    """Fill in the rows of one block, for the G query heads of one kv head; return its sums of squared terms."""
    b, h, start, rows = at
    group = case.heads // case.kv_heads
    block = (b, slice(h * group, (h + 1) * group), slice(start, start + rows))
    q = inputs.q.detach()[block].double()  # [G, R, D]
    k, v = inputs.k.detach()[b, h].double(), inputs.v.detach()[b, h].double()  # [Skv, D]
    scale = 1 / math.sqrt(case.d_k)
    p = _probabilities(case, q @ k.T * scale, at)  # [G, R, Skv]
    left = 1.0 if kept is None else kept[block].double() / (1 - case.dropout)
    w = p * left  # the weights after dropout
    out = w @ v
    outputs["out"][block] = out
    squares = {"out": _total(w**2 * (v**2).sum(-1))}
    if inputs.dout is None:
        return squares
    dout = inputs.dout[block].double()
    ds = p * (left * (dout @ v.T) - (dout * out).sum(-1, keepdim=True))
    outputs["dq"][block] = scale * (ds @ k)
    outputs["dk"][b, h] += scale * (ds.mT @ q).sum(0)
    outputs["dv"][b, h] += (w.mT @ dout).sum(0)
    # A kernel takes rowsum(dout * out) from its own rounded output: one error a row, which all its keys share.
    row = ((dout * out) ** 2).sum(-1, keepdim=True)  # [G, R, 1]
    squares["dq"] = scale**2 * (_total(ds**2 * (k**2).sum(-1)) + _total(row * (p @ k) ** 2))
    squares["dk"] = scale**2 * _total((ds**2 + p**2 * row) * (q**2).sum(-1, keepdim=True))
    squares["dv"] = _total(w**2 * (dout**2).sum(-1, keepdim=True))
    return squares


def _probabilities(case: AttentionCase, scores: Tensor, at: tuple[int, int, int, int]) -> Tensor:
    """Return the softmax of scores [G, R, Skv] whose first row is query ``start``, with the case's mask and bias."""
    b, h, start, rows = at
    group = case.heads // case.kv_heads
    added = masks.bias(case, slice(h * group, (h + 1) * group), start, rows, scores.device)
    if added is not None:
        scores = scores + added
    seen = masks.visible(case, b, start, rows, scores.device)
    if seen is None:
        return scores.softmax(-1)
    p = scores.masked_fill(~seen, -math.inf).softmax(-1)
    return p.masked_fill(~seen.any(-1, keepdim=True), 0.0)  # a query that sees nothing


def _total(tensor: Tensor) -> float:
    return float(tensor.sum())
