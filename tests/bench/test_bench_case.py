from __future__ import annotations

import subprocess
import sys

import pytest

from autotune.bench.case import AttentionCase, short_dtype
from autotune.bench.measure import no_graph
from autotune.errors import InvalidInput


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"heads": 0}, "heads must be a whole number of at least 1, got 0"),
        ({"seq_q": 2.5}, "seq_q must be a whole number"),
        ({"d_k": True}, "d_k must be a whole number"),
        ({"heads": 6, "kv_heads": 4}, "heads must be a multiple of kv_heads, got 6 and 4"),
        ({"dtype": "int8"}, "dtype must be one of bf16, fp16, fp32, got 'int8'"),
        ({"direction": "back"}, "direction must be one of fwd, bwd, fwd[+]bwd, got 'back'"),
        ({"window": 5}, "the case must be causal as well"),
        (
            {"mask": "documents:65"},
            "mask must be one of none, padding, padding:<least keys>, alibi, documents:<number>",
        ),
        ({"mask": "documents:2", "seq_kv": 65}, "documents are packed along one sequence"),
        ({"mask": "padding", "causal": True}, "padding is for cases that are not causal"),
        ({"mask": "padding:65"}, "mask must be one of none"),
        ({"layout": "sbhd"}, "layout must be one of bshd, bhsd, got 'sbhd'"),
    ],
)
def test_an_impossible_case_is_refused_in_a_sentence(make_case, changes, words):
    with pytest.raises(InvalidInput, match=words):
        make_case(**changes)


def test_flops_follow_the_flash_attention_rule(make_case):
    full = make_case(batch=2, heads=16, seq_q=512, d_k=64)
    assert full.flops() == 4 * 2 * 16 * 512 * 512 * 64
    assert make_case(batch=2, heads=16, seq_q=512, d_k=64, causal=True).flops() == full.flops() / 2
    assert make_case(batch=2, heads=16, seq_q=512, d_k=64, direction="fwd+bwd").flops() == full.flops() * 3.5
    assert make_case(heads=8, kv_heads=2).flops() == make_case(heads=8).flops()
    assert make_case(direction="bwd").flops() == make_case().flops() * 2.5
    assert make_case(d_k=32, d_v=64).flops() == make_case(d_k=32).flops() * 1.5
    # A window of 16: the first 15 queries see 1 to 15 keys, the other 49 see 16.
    assert make_case(causal=True, window=16, d_k=1).flops() == 2 * 2 * 2 * (15 * 16 / 2 + 49 * 16)
    assert make_case(mask="documents:4").flops() < make_case().flops() / 2
    # More queries than keys: the first ones see nothing.
    assert make_case(causal=True, seq_q=80, seq_kv=64).flops() == make_case(causal=True).flops()
    # Decoding: the one query sees every key, causal or not.
    assert make_case(seq_q=1, seq_kv=512, causal=True).flops() == make_case(seq_q=1, seq_kv=512).flops()


def test_json_round_trip_and_id(make_case):
    case = make_case(causal=True, direction="fwd+bwd")
    assert AttentionCase.from_json(case.to_json()) == case
    assert AttentionCase.from_json(case.to_json()).id == case.id
    assert make_case().id != case.id
    assert len(case.id) == 16
    with pytest.raises(InvalidInput, match="must have fields out of"):
        AttentionCase.from_json({"heads": 1})


@pytest.mark.parametrize(
    ("name", "short"), [("bf16", "bf16"), ("bfloat16", "bf16"), ("float16", "fp16"), ("half", "fp16")]
)
def test_long_dtype_names(name, short):
    assert short_dtype(name) == short


def test_an_unknown_dtype_gets_the_nearest(make_case):
    with pytest.raises(InvalidInput, match="did you mean 'bfloat16'"):
        short_dtype("bfloat17")


def test_importing_is_free():
    code = (
        "import sys; import autotune.bench.attn, autotune.cli.bench_attn, autotune.bench.measure, autotune.cli.doctor;"
        "heavy = {'torch', 'numpy', 'pandas', 'scipy', 'rich'} & set(sys.modules); sys.exit(str(heavy) if heavy else 0)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr


def test_a_backward_alone_with_dropout_goes_into_no_graph(make_case):
    """Its forward leaves the seed on the host; the replay would read it on the GPU: an illegal access."""
    assert "seed" in no_graph(make_case(direction="bwd", dropout=0.1))
    assert not no_graph(make_case(direction="bwd"))
    assert not no_graph(make_case(direction="fwd+bwd", dropout=0.1))
