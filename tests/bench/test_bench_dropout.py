"""Dropout: what is wrong with one is found without knowing its mask; the calls without it pass the ordinary gate."""

from __future__ import annotations

import importlib

import pytest

from autotune.bench.backends import load, target
from autotune.bench.dropout import wrong_dropout
from autotune.bench.isolate import measure_isolated
from autotune.errors import InvalidInput

pytest.importorskip("torch", reason="the gate needs PyTorch: pip install 'autotune[torch]'")


@pytest.fixture
def wrong(make_case, planted):
    def found(name, **changes):
        module, _, attribute = planted(name).partition(":")
        case = make_case(**{"dropout": 0.2, "direction": "fwd+bwd"} | changes)
        return wrong_dropout(case, "cpu", getattr(importlib.import_module(module), attribute)())

    return found


@pytest.mark.parametrize("dtype", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("share", [0.1, 0.5])
def test_a_right_one_passes(wrong, dtype, share):
    assert wrong("Dropping", dtype=dtype, dropout=share) is None


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("DropsNothing", "dropout drops 0.0000 of the weights, asked for 0.2"),
        ("DropsTheSame", "dropout drops the same weights at every call"),
        ("DropsHalfAsMuch", "dropout drops 0.1.* of the weights, asked for 0.2"),
        ("ScalesNothing", "with dropout out is off by 2.*e-01 from what its mask makes"),
        ("OtherMaskBackwards", "with dropout d[qkv] is off by .* from what its mask makes"),
    ],
)
def test_a_wrong_one_is_found(wrong, name, words):
    import re

    assert re.match(words, str(wrong(name, dropout=0.2)))


@pytest.mark.parametrize(
    "shape",
    [
        {"causal": True},
        {"heads": 4, "kv_heads": 2},
        {"seq_q": 1, "seq_kv": 64},
        {"causal": True, "window": 20},
        {"batch": 2, "mask": "padding"},
        {"direction": "bwd", "dtype": "bf16"},
        {"direction": "fwd", "layout": "bhsd"},
    ],
)
@pytest.mark.parametrize("name", ["torch", "torch-math"])
def test_pytorchs_own_pass(make_case, name, shape):
    case = make_case(**{"dropout": 0.1, "direction": "fwd+bwd"} | shape)
    backend = load(target(name))
    assert backend.unsupported(case, "cpu") is None
    assert wrong_dropout(case, "cpu", backend) is None


def test_the_random_state_of_the_caller_stays(torch, make_case):
    state = torch.random.get_rng_state()
    wrong_dropout(make_case(dropout=0.5), "cpu", load(target("torch-math")))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_case_with_dropout_is_timed_with_it_and_refused_with_reasons(make_case, planted):
    targets = {name: target(name) for name in ("torch", "torch-flash", "flash3", "flash4", "flex")}
    targets |= {name: planted(name) for name in ("Dropping", "DropsNothing", "Replay")}
    case = make_case(dropout=0.1, direction="fwd+bwd")
    rows, _ = measure_isolated(case, "cpu", targets, budget_s=0.5)
    by_name = {row.backend: row for row in rows}
    assert {name: row.state for name, row in by_name.items()} == {
        "torch": "ok",
        "torch-flash": "unsupported",
        "flash3": "unsupported",
        "flash4": "unsupported",
        "flex": "unsupported",
        "Dropping": "ok",
        "DropsNothing": "incorrect",
        "Replay": "incorrect",
    }
    assert by_name["torch-flash"].reason == "PyTorch's flash kernel for CPUs has no dropout"
    assert by_name["flex"].reason == "FlexAttention has no dropout"
    assert str(case).endswith("fwd+bwd")
    assert "dropout 0.1" in str(case)


@pytest.mark.parametrize("share", [-0.1, 1, 1.5, True, "0.1", None])
def test_a_share_that_is_none_is_refused(make_case, share):
    with pytest.raises(InvalidInput, match="dropout must be at least 0 and below 1"):
        make_case(dropout=share)
