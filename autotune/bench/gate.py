"""The correctness gate: a backend is held against float64 before it is timed, and a wrong one is never chosen.

The error of an output is ||got - exact|| / max(||exact||, ||terms of its sums||) in Frobenius norms. It may be at
most twice that of PyTorch's plain math path in the same dtype, or the dtype's floor where that is larger. A value
that is not finite never passes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from autotune.bench import sdpa
from autotune.bench.case import AttentionCase
from autotune.bench.exact import exact_attention
from autotune.bench.inputs import FILLS, Inputs, Outputs, Tensor, fill, in_direction, torch_dtype

# Below these it is rounding: of the output, and of the gradients. PyTorch's math path computes in fp32 and rounds once,
# at the end; a fused kernel also rounds its weights and their gradients (PyTorch's own for CPUs comes to 3.4 times the
# math path, dk in bf16: 5.8e-3), and it computes the logits anew for the backward pass, where those near 120 are
# rounded differently (fp32: 1.6e-5). A single wrong row of 16,000 is above all of them.
FLOORS = {"bf16": (2.0**-9, 2.0**-7), "fp16": (2.0**-12, 2.0**-10), "fp32": (2.0**-18, 2.0**-14)}
TIMES_MATH = 2.0

_MATH_ELEMENTS = 1 << 26  # score-matrix elements that one call of the math path may make

Calls = Mapping[str, Callable[[], Outputs]]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate found for one backend: its largest error, and why it did not pass, if it did not."""

    max_error: float | None = None
    wrong: str | None = None
    raised: Exception | None = None

    @property
    def passed(self) -> bool:
        return self.wrong is None and self.raised is None


@dataclass(frozen=True, slots=True)
class Truth:
    """The exact outputs of one filling, the norm that an error counts against, and the largest error that passes."""

    exact: Outputs
    norms: dict[str, float]
    limits: dict[str, float]


def check(
    case: AttentionCase,
    inputs: Inputs,
    calls: Calls,
    *,
    fills: Iterable[tuple[str, int]] = FILLS,
    on_step: Callable[[str], None] = lambda text: None,
    at: Callable[[str], None] = lambda name: None,
) -> dict[str, Verdict]:
    """Run every prepared call on every filling of the inputs and return a verdict for each name.

    ``at`` is told each name before its call, which may take the process with it.
    The tensors are overwritten in place between the calls, so an output kept from an earlier call does not fit.
    """
    verdicts = {name: Verdict() for name in calls}
    for kind, seed in fills:
        fill(inputs, kind, seed)
        truth = find_truth(case, inputs)
        for name, call in calls.items():
            if verdicts[name].passed:
                on_step(f"checking {name} on {kind}" if kind != "random" else f"checking {name}")
                at(name)
                fill(inputs, kind, seed)  # again for each: the one before might have written into its inputs
                verdicts[name] = _judge(case, call, truth, kind, verdicts[name])
    return verdicts


def _judge(case: AttentionCase, call: Callable[[], Outputs], truth: Truth, kind: str, before: Verdict) -> Verdict:
    try:
        errors = dict(relative_errors(case, call(), truth))
    except WrongOutput as wrong:
        return Verdict(before.max_error, f"{wrong} (inputs: {kind})")
    except Exception as raised:  # noqa: BLE001 - a backend may raise anything: its row, not the end of the others
        return Verdict(before.max_error, raised=raised)
    worst = max([*errors.values(), before.max_error or 0.0])
    for name, error in errors.items():
        if not error <= truth.limits[name]:  # also where it is NaN
            return Verdict(
                worst, f"{name} is off by {error:.1e}, at most {truth.limits[name]:.1e} passes (inputs: {kind})"
            )
    return Verdict(worst)


class WrongOutput(Exception):
    """An output that has no error figure: missing, misshapen or not finite."""


def relative_errors(case: AttentionCase, got: Outputs, truth: Truth) -> Iterator[tuple[str, float]]:
    """Yield the relative error of each output."""
    for name, exact in truth.exact.items():
        if name not in got:
            raise WrongOutput(f"{name} is missing")
        value = got[name].detach()
        if value.shape != exact.shape:
            raise WrongOutput(f"{name} must have the shape {list(exact.shape)}, got {list(value.shape)}")
        if value.dtype != torch_dtype(case):
            raise WrongOutput(f"{name} must be {case.dtype}, got {value.dtype}")
        bad = int((~value.isfinite()).sum())
        if bad:
            raise WrongOutput(f"{name} has {bad} values that are not finite")
        yield name, _distance(value, exact) / truth.norms[name]


def find_truth(case: AttentionCase, inputs: Inputs) -> Truth:
    """Compute the exact outputs of what the inputs hold now, and the limits that follow from the math path."""
    exact, terms = exact_attention(case, inputs)
    norms = {name: max(float(exact[name].norm()), terms[name]) or 1.0 for name in exact}
    squares = dict.fromkeys(exact, 0.0)
    for part, got in _math_path(case, inputs):
        for name, value in got.items():
            squares[name] += _distance(value.detach(), _part(exact, name, part)) ** 2
    limits = {}
    for name, square in squares.items():
        error = TIMES_MATH * math.sqrt(square) / norms[name]
        floor = FLOORS[case.dtype][name != "out"]
        limits[name] = max(floor, error if math.isfinite(error) else 0.0)
    return Truth(exact, norms, limits)


Part = tuple[slice, slice, slice]  # of the batch, the query heads, the kv heads


def _math_path(case: AttentionCase, inputs: Inputs) -> Iterator[tuple[Part, Outputs]]:
    """Run the same dtype's math path a few heads at a time: for all at once its score matrix may not fit."""
    group = case.heads // case.kv_heads
    step = max(1, min(case.kv_heads, _MATH_ELEMENTS // (group * case.seq_q * case.seq_kv)))
    options = sdpa.options(case, inputs.q.device, dense=True)
    mask = options.get("attn_mask")
    for b in range(case.batch):
        for h in range(0, case.kv_heads, step):
            part = (slice(b, b + 1), slice(h * group, (h + step) * group), slice(h, h + step))
            if mask is not None:
                options["attn_mask"] = mask[part[0] if len(mask) > 1 else slice(None)]
                options["attn_mask"] = options["attn_mask"][:, part[1] if mask.shape[1] > 1 else slice(None)]
            call = in_direction(case, _some_heads(inputs, part), sdpa.call_with(options))
            with sdpa.only("MATH"):
                yield part, call()


def _some_heads(inputs: Inputs, part: Part) -> Inputs:
    batch, heads, kv_heads = part

    def cut(tensor: Tensor, which: slice) -> Tensor:
        return tensor.detach()[batch, which].requires_grad_(tensor.requires_grad)

    dout = None if inputs.dout is None else inputs.dout[batch, heads]
    return Inputs(cut(inputs.q, heads), cut(inputs.k, kv_heads), cut(inputs.v, kv_heads), dout)


def _part(outputs: Outputs, name: str, part: Part) -> Tensor:
    batch, heads, kv_heads = part
    return outputs[name][batch, kv_heads if name in ("dk", "dv") else heads]


def _distance(got: Tensor, exact: Tensor) -> float:
    return float((got.double() - exact).norm())
