"""The tensors of a case, and what they are filled with: random numbers, and what breaks kernels that pass on those.

Tensors are [B, H, S, D] views of [B, S, H, D] memory, the layout in which a model's projections leave them; so the
packages that want [B, S, H, D] get contiguous memory by ``transpose(1, 2)``, and PyTorch takes the view as it is.
With the layout ``bhsd`` the memory is [B, H, S, D], and it is the other way round.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from autotune.bench.case import DTYPES, AttentionCase

Tensor = Any  # torch.Tensor; torch is imported where it is used
Outputs = dict[str, Tensor]  # out [B, H, Sq, Dv], and with a backward pass dq, dk, dv in the shapes of q, k, v
Forward = Callable[[Tensor, Tensor, Tensor], Tensor]  # (q, k, v) -> out

# A backend must be right on all of them. Random numbers come twice: a replayed output fits only the first time.
FILLS: tuple[tuple[str, int], ...] = (
    ("random", 1),
    ("random", 2),
    ("very negative logits", 3),
    ("one huge logit", 4),
    ("equal keys", 5),
)


@dataclass(frozen=True, slots=True)
class Inputs:
    """q [B, H, Sq, D], k [B, Hkv, Skv, D], v [B, Hkv, Skv, Dv], and dout [B, H, Sq, Dv] if there is a backward pass."""

    q: Tensor
    k: Tensor
    v: Tensor
    dout: Tensor | None


def torch_dtype(case: AttentionCase) -> Any:
    """Return the ``torch.dtype`` of a case."""
    import torch

    return getattr(torch, DTYPES[case.dtype])


def new_inputs(case: AttentionCase, device: str) -> Inputs:
    """Allocate the tensors of a case, without content; ``fill`` gives them some."""
    import torch

    def tensor(heads: int, seq: int, dim: int, leaf: bool) -> Tensor:
        kind: dict[str, Any] = {"device": device, "dtype": torch_dtype(case)}
        if case.layout == "bhsd":
            return torch.empty(case.batch, heads, seq, dim, **kind).requires_grad_(leaf)
        return torch.empty(case.batch, seq, heads, dim, **kind).transpose(1, 2).requires_grad_(leaf)

    return Inputs(
        q=tensor(case.heads, case.seq_q, case.d_k, case.backward),
        k=tensor(case.kv_heads, case.seq_kv, case.d_k, case.backward),
        v=tensor(case.kv_heads, case.seq_kv, case.d_v, case.backward),
        dout=tensor(case.heads, case.seq_q, case.d_v, False) if case.backward else None,
    )


def fill(inputs: Inputs, kind: str, seed: int) -> None:
    """Overwrite the tensors in place; the same kind and seed give the same numbers on one device.

    In place, so that a backend that was prepared on these tensors must read them again at each call.
    """
    import torch

    generator = torch.Generator(device=inputs.q.device).manual_seed(seed)
    with torch.no_grad():
        for tensor in (inputs.q, inputs.k, inputs.v, inputs.dout):
            if tensor is not None:
                tensor.copy_(torch.randn(tensor.shape, generator=generator, device=tensor.device))
        _shape_logits(inputs.q, inputs.k, kind)


def _shape_logits(q: Tensor, k: Tensor, kind: str) -> None:
    """Turn random q and k into the kind that is asked for."""
    root_d = math.sqrt(q.shape[-1])
    if kind == "very negative logits":  # all near -120, by one dimension; kernels have returned NaN gradients for it
        q[..., 0] = math.sqrt(120 * root_d)
        k[..., 0] = -math.sqrt(120 * root_d)
    elif kind == "one huge logit":  # the middle key points along the last query: a logit near 100
        k[:, :, k.shape[2] // 2] = q[:, :: q.shape[1] // k.shape[1], -1] * (100 / root_d)
    elif kind == "equal keys":  # every row's softmax is flat, and dq cancels to nothing
        k.copy_(k[:, :, :1].clone().expand_as(k))
    elif kind != "random":
        raise ValueError(f"unknown kind of inputs: {kind}")


def in_direction(case: AttentionCase, inputs: Inputs, forward: Forward) -> Callable[[], Outputs]:
    """Return a call that runs ``forward(q, k, v) -> out``, and its gradients where the case asks for them.

    With ``bwd`` the forward pass runs only after the inputs have changed: what is timed again and again is the
    backward pass alone.
    """
    q, k, v, dout = inputs.q, inputs.k, inputs.v, inputs.dout
    if case.direction == "fwd":
        return lambda: {"out": forward(q, k, v)}
    from torch.autograd import grad

    kept: dict[str, Any] = {}

    def backward() -> Outputs:
        if kept.get("version") != q._version:
            kept.update(out=forward(q, k, v), version=q._version)
        dq, dk, dv = grad(kept["out"], (q, k, v), dout, retain_graph=True)
        return {"out": kept["out"], "dq": dq, "dk": dk, "dv": dv}

    def forward_backward() -> Outputs:
        out = forward(q, k, v)
        dq, dk, dv = grad(out, (q, k, v), dout)
        return {"out": out, "dq": dq, "dk": dk, "dv": dv}

    return backward if case.direction == "bwd" else forward_backward
