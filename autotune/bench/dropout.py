"""Whether a backend's dropout is one, found out by making its mask visible.

Which weights it drops is its own affair, so no output can be foretold. But ``torch.manual_seed`` makes a call drop the
same weights again: with unit vectors as values the outputs are the weights themselves, and what is zero was dropped.
With that mask the outputs and gradients on any other values are known exactly. A mask must also drop the share that is
asked for, and another one at the next call.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from autotune.bench.backends import Backend
from autotune.bench.case import AttentionCase
from autotune.bench.exact import exact_attention
from autotune.bench.gate import FLOORS, TIMES_MATH, Truth, WrongOutput, relative_errors
from autotune.bench.inputs import Inputs, Outputs, Tensor, fill, new_inputs
from autotune.bench.neighbours import neighbours

_SEED = 20
_SIGMAS = 5.0
_ROUNDED = 1 / 256  # kernels compare a random byte with the share, so they drop up to so much more or less
_CERTAIN = 20.0  # as many weights dropped on average, and two masks are not the same by chance
_FAINT = 2.0**-20  # a weight below this may be zero by rounding


def wrong_dropout(case: AttentionCase, device: str, backend: Backend) -> str | None:
    """Return what is wrong with a backend's dropout on a small case of this kind, or None.

    Raises:
        Exception: whatever the backend raises.
    """
    import torch

    # The backward pass alone would keep the forward pass of the first call, and its mask.
    small = replace(neighbours(case)[1], dropout=case.dropout, direction="fwd+bwd" if case.backward else "fwd")
    inputs = new_inputs(small, device)
    fill(inputs, "random", _SEED)
    gpus = [torch.device(device)] if device.startswith("cuda") else []
    with torch.random.fork_rng(devices=gpus):
        call = backend.prepare(small, inputs)

        def run() -> Outputs:
            with backend.active():
                return call()

        kept = _kept(small, inputs, run, _SEED)
        exact, terms = exact_attention(small, inputs, kept)
        limits = {name: 2 * TIMES_MATH * FLOORS[small.dtype][name != "out"] for name in exact}
        norms = {name: max(float(exact[name].norm()), terms[name]) or 1.0 for name in exact}
        torch.manual_seed(_SEED)
        found = run()
        again = run()  # not seeded anew: as the next step of a training
        wrong = _wrong_share(small, inputs, kept)
        if wrong is None and small.dropout * kept.numel() > _CERTAIN and torch.equal(found["out"], again["out"]):
            wrong = "dropout drops the same weights at every call"
        return wrong or _wrong_values(small, found, Truth(exact, norms, limits))


def _wrong_values(case: AttentionCase, found: Outputs, truth: Truth) -> str | None:
    """Return which output is not what its mask makes, or None."""
    try:
        for name, error in relative_errors(case, found, truth):
            if not error <= truth.limits[name]:
                return (
                    f"with dropout {name} is off by {error:.1e} from what its mask makes, or its seed repeats no mask"
                )
    except WrongOutput as wrong:
        return f"with dropout {wrong}"
    return None


def _kept(case: AttentionCase, inputs: Inputs, run: Callable[[], Outputs], seed: int) -> Tensor:
    """Return which weights a seed keeps, bool [B, H, Sq, Skv], by as many calls as the values have not room for."""
    import torch

    values = inputs.v.detach().clone()
    parts = []
    for start in range(0, case.seq_kv, case.d_v):
        size = min(case.d_v, case.seq_kv - start)
        with torch.no_grad():
            inputs.v.zero_()
            inputs.v[:, :, start : start + size, :size] = torch.eye(size, device=values.device, dtype=values.dtype)
        torch.manual_seed(seed)
        parts.append(run()["out"].detach()[..., :size] != 0)
    with torch.no_grad():
        inputs.v.copy_(values)
    return torch.cat(parts, dim=-1)


def _wrong_share(case: AttentionCase, inputs: Inputs, kept: Tensor) -> str | None:
    """Return what is wrong with the share of weights that were dropped, among those that are not faint."""
    import torch

    unit = replace(case, d_v=case.seq_kv, direction="fwd", dropout=0.0)
    eye = torch.eye(case.seq_kv, device=inputs.q.device, dtype=inputs.q.dtype)
    values = eye.expand(case.batch, case.kv_heads, -1, -1)
    weights = exact_attention(unit, Inputs(inputs.q, inputs.k, values, None))[0]["out"]
    visible = weights > _FAINT
    number = int(visible.sum())
    share = 1 - float((kept & visible).sum()) / number
    spread = math.sqrt(case.dropout * (1 - case.dropout) / number)
    if abs(share - case.dropout) <= _SIGMAS * spread + _ROUNDED:
        return None
    return f"dropout drops {share:.4f} of the weights, asked for {case.dropout:g}"
