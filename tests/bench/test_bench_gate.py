"""Planted wrong backends: each is caught by the gate, and by the part of it that it was planted for."""

from __future__ import annotations

import pytest

from autotune.bench import gate
from autotune.bench.inputs import fill, in_direction, new_inputs

pytest.importorskip("torch", reason="the gate needs PyTorch: pip install 'autotune[torch]'")


@pytest.mark.parametrize("dtype", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("causal", [False, True])
def test_a_right_one_passes(verdict_of, dtype, causal):
    verdict = verdict_of("Right", dtype=dtype, causal=causal, direction="fwd+bwd")
    assert verdict.passed, verdict
    assert 0 < verdict.max_error < 0.02


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("seq", [64, 1024])
def test_a_causal_mask_that_is_off_by_one(verdict_of, dtype, seq):
    verdict = verdict_of("OffByOneCausal", causal=True, dtype=dtype, seq_q=seq)
    assert verdict.wrong.startswith("out is off by ")
    assert verdict.max_error > 0.1


def test_nan_gradients_that_only_adversarial_inputs_show(verdict_of):
    fields = {"dtype": "bf16", "direction": "fwd+bwd"}
    assert verdict_of("NanGradient", fills=[("random", 1), ("random", 2)], **fields).passed
    verdict = verdict_of("NanGradient", **fields)
    assert verdict.wrong == "dq has 1 values that are not finite (inputs: very negative logits)"


@pytest.mark.parametrize(("dtype", "factor"), [("fp32", 1.0005), ("fp16", 1.004), ("bf16", 1.02)])
@pytest.mark.parametrize("name", ["out", "dq", "dk", "dv"])
def test_an_output_that_is_a_little_off(torch, make_case, name, dtype, factor):
    """A scale that is rounded, a softcap left in: no order of magnitude, and yet more than rounding."""
    from autotune.bench import sdpa

    case = make_case(dtype=dtype, direction="fwd+bwd")
    inputs = new_inputs(case, "cpu")
    call = in_direction(case, inputs, sdpa.forward(case, "cpu"))

    def off():
        outputs = call()
        return outputs | {name: outputs[name] * factor}

    verdicts = gate.check(case, inputs, {"right": call, "off": off}, fills=[("random", 1)])
    assert verdicts["right"].passed
    assert verdicts["off"].wrong.startswith(f"{name} is off by ")


def test_an_output_that_is_replayed(verdict_of):
    assert verdict_of("Replay", fills=[("random", 1)]).passed
    assert verdict_of("Replay").wrong.startswith("out is off by ")


def test_a_raised_exception_is_a_verdict(make_case):
    def broken():
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    case = make_case()
    verdict = gate.check(case, new_inputs(case, "cpu"), {"broken": broken})["broken"]
    assert not verdict.passed
    assert "illegal memory access" in str(verdict.raised)


def test_missing_and_misshapen_outputs(torch, make_case):
    case = make_case()
    calls = {"none": dict, "flat": lambda: {"out": torch.zeros(3)}}
    verdicts = gate.check(case, new_inputs(case, "cpu"), calls)
    assert verdicts["none"].wrong == "out is missing (inputs: random)"
    assert verdicts["flat"].wrong == "out must have the shape [1, 2, 64, 32], got [3] (inputs: random)"


def test_one_that_spoils_its_inputs_harms_no_other(make_case):
    from autotune.bench import sdpa

    case = make_case()
    inputs = new_inputs(case, "cpu")
    call = in_direction(case, inputs, sdpa.forward(case, "cpu"))

    def spoil():
        outputs = call()
        inputs.v.zero_()
        return outputs

    verdicts = gate.check(case, inputs, {"spoil": spoil, "after": call})
    assert verdicts["after"].passed, verdicts


def test_the_limit_is_twice_the_math_path_or_the_floor(make_case):
    case = make_case(dtype="fp32")
    inputs = new_inputs(case, "cpu")
    fill(inputs, "very negative logits", 3)
    truth = gate.find_truth(case, inputs)
    math_error = (
        gate._distance(in_direction(case, inputs, gate.sdpa.forward(case, "cpu"))()["out"], truth.exact["out"])
        / truth.norms["out"]
    )
    assert truth.limits["out"] == pytest.approx(2 * math_error, rel=0.5)
    fill(inputs, "random", 1)
    assert gate.find_truth(case, inputs).limits["out"] == gate.FLOORS["fp32"][0]


def test_the_math_path_in_parts_is_the_same(make_case, monkeypatch):
    case = make_case(batch=2, heads=4, kv_heads=2, direction="fwd+bwd")
    inputs = new_inputs(case, "cpu")
    fill(inputs, "very negative logits", 1)
    whole = gate.find_truth(case, inputs)
    monkeypatch.setattr(gate, "_MATH_ELEMENTS", 1)
    parts = gate.find_truth(case, inputs)
    for name in whole.limits:
        assert parts.limits[name] == pytest.approx(whole.limits[name], rel=0.1)
