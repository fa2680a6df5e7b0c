"""Adversarial cases of the gate, each with a planted backend that only this one catches."""

from __future__ import annotations

import pytest

from autotune.bench import gate, sdpa
from autotune.bench.inputs import FILLS, in_direction, new_inputs
from autotune.bench.isolate import measure_isolated
from autotune.bench.neighbours import LENGTHS, neighbours, relatives

pytest.importorskip("torch", reason="the gate needs PyTorch: pip install 'autotune[torch]'")


def test_the_lengths_are_those_that_kernels_break_on(make_case):
    assert [length % 128 for length in LENGTHS] == [1, 127, 64]
    assert [one.seq_kv for one in neighbours(make_case())] == list(LENGTHS)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Overflow", "one huge logit"),
        ("FirstKeyWins", "equal keys"),
        ("NanGradient", "very negative logits"),
    ],
)
def test_each_kind_of_inputs_catches_what_the_others_do_not(verdict_of, name, kind):
    fields = {"dtype": "bf16", "direction": "fwd+bwd"}
    assert verdict_of(name, [fill for fill in FILLS if fill[0] != kind], **fields).passed
    assert f"(inputs: {kind})" in str(verdict_of(name, **fields).wrong)


@pytest.mark.parametrize("changes", [{"causal": True, "seq_q": 80, "seq_kv": 64}, {"batch": 3, "mask": "padding:0"}])
def test_queries_that_see_no_key_have_zeros(torch, make_case, verdict_of, changes):
    from autotune.bench.backends import load, target

    fields = {"dtype": "fp32", "direction": "fwd+bwd"} | changes
    case = make_case(**fields)
    assert case.blind
    assert sdpa.needs_mask_tensor(case)
    exact = load(target("reference")).prepare(case, inputs := new_inputs(case, "cpu"))
    gate.fill(inputs, "random", 1)
    outputs = exact()
    blind = outputs["out"][:, :, :16] if case.causal else outputs["out"][2]
    assert not blind.any()
    assert all(value.isfinite().all() for value in outputs.values())
    for name in ("torch", "torch-math"):  # PyTorch's own gives zeros as well
        call = load(target(name)).prepare(case, inputs)
        assert gate.check(case, inputs, {name: call})[name].passed
    assert verdict_of("NanWhereBlind", **fields).wrong.startswith("out has ")
    assert verdict_of("NanGradientWhereBlind", **fields).wrong.startswith("dq has ")

    def ones_where_blind():
        found = in_direction(case, inputs, load(target("torch-math")).forward(case, "cpu"))()
        (found["out"][:, :, :16] if case.causal else found["out"][2]).add_(1.0)
        return found

    assert gate.check(case, inputs, {"mean": ones_where_blind})["mean"].wrong.startswith("out is off by ")


def test_what_is_wrong_at_a_neighbour_counts(make_case, planted):
    names = ("WrongAt129", "WrongAt255", "WrongBeside", "NanWhereBlind", "NanGradientWhereBlind", "Right")
    case = make_case(batch=2, mask="padding", direction="fwd+bwd")
    rows, _ = measure_isolated(case, "cpu", {name: planted(name) for name in names}, budget_s=0.5)
    assert {row.backend: row.state for row in rows} == dict.fromkeys(names[:5], "incorrect") | {"Right": "ok"}
    by_name = {row.backend: row for row in rows}
    for name, place in zip(names, ("S129 ", "S255 ", "S704 ", "padding:0", "padding:0"), strict=False):
        assert place in by_name[name].reason
        assert by_name[name].times_ms


def test_what_is_wrong_in_another_form_is_told(make_case, planted):
    names = ("TopLeftCausal", "NanWhereBlind", "Right")
    targets = {name: planted(name) for name in names}
    rows, _ = measure_isolated(make_case(causal=True), "cpu", targets, budget_s=0.5)
    assert [row.state for row in rows] == ["ok", "ok", "ok"]
    assert (
        rows[0].notes[0].startswith("right here, but not in another form: beside it, at B1 H2 S85x255 D32 fp32 causal")
    )
    assert "at B1 H2 S255x200 D32 fp32 causal fwd: out has" in rows[1].notes[0]
    assert rows[2].notes == ()
    rows, _ = measure_isolated(make_case(causal=True, seq_q=40), "cpu", targets, budget_s=0.5)
    assert rows[0].notes  # remembered: it is the same kind
    rows, _ = measure_isolated(make_case(causal=True, seq_q=40, seq_kv=64), "cpu", targets, budget_s=0.5)
    assert [row.state for row in rows] == ["incorrect", "ok", "ok"]


def test_forms(make_case):
    assert [(one.seq_q, one.seq_kv) for one in relatives(make_case())] == [(85, 255), (255, 200)]
    assert [(one.seq_q, one.seq_kv) for one in relatives(make_case(seq_kv=80))] == [(255, 200)]
    assert relatives(make_case(seq_q=1, seq_kv=80)) == relatives(make_case(mask="documents:3")) == []
    assert relatives(make_case(causal=True))[1].blind
    assert not any(one.dropout for one in [*relatives(make_case(dropout=0.1)), *neighbours(make_case(dropout=0.1))])
    for mask in ("padding:50", "documents:9", "alibi"):
        for one in neighbours(make_case(mask=mask)):
            assert one.mask.partition(":")[0] == mask.partition(":")[0]
