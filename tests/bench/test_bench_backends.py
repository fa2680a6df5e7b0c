"""The contract: every backend of the table is right on this machine, or says why it does not run here."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autotune.bench import backends, gate, masks
from autotune.bench.backends import BACKENDS, candidates, load, target
from autotune.bench.inputs import FILLS, fill, new_inputs
from autotune.bench.isolate import Worker, measure_isolated, probe_isolated, session
from autotune.errors import InvalidInput

pytest.importorskip("torch", reason="attention backends need PyTorch: pip install 'autotune[torch]'")

SHAPES = {
    "square": {},
    "causal": {"causal": True, "seq_q": 127},
    "grouped": {"heads": 4, "kv_heads": 2, "seq_q": 65},
    "decode": {"seq_q": 1, "seq_kv": 129, "causal": True},
    "rectangle": {"seq_q": 33, "seq_kv": 65, "causal": True},
    "window": {"seq_q": 65, "causal": True, "window": 20},
    "window in a rectangle": {"seq_q": 33, "seq_kv": 80, "causal": True, "window": 20},
    "values of another size": {"seq_q": 40, "d_v": 16},
    "heads one after another": {"seq_q": 40, "causal": True, "layout": "bhsd"},
    "more queries than keys": {"seq_q": 60, "seq_kv": 40, "causal": True},
    "nothing to see for some": {"seq_q": 40, "batch": 3, "mask": "padding:0"},
    "padding": {"seq_q": 48, "batch": 3, "mask": "padding"},
    "alibi": {"seq_q": 48, "heads": 4, "kv_heads": 2, "causal": True, "mask": "alibi"},
    "documents": {"seq_q": 60, "batch": 2, "causal": True, "mask": "documents:3"},
    "documents that look both ways": {"seq_q": 60, "mask": "documents:4"},
}


@pytest.mark.parametrize("direction", ["fwd", "bwd", "fwd+bwd"])
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", [name for name in BACKENDS if name != "reference"])
def test_contract(make_case, name, shape, dtype, direction):
    case = make_case(**SHAPES[shape], dtype=dtype, direction=direction)
    backend = load(target(name))
    reason = backend.unsupported(case, "cpu")
    if reason is not None:
        assert reason.strip() == reason != ""
        return
    inputs = new_inputs(case, "cpu")
    call = backend.prepare(case, inputs)

    def run():
        with backend.active():
            return call()

    verdict = gate.check(case, inputs, {name: run})[name]
    assert verdict.passed, verdict
    assert verdict.max_error is not None


def test_what_runs_on_a_cpu():
    """The table above would be green too if every backend refused."""
    assert {"torch", "torch-math", "torch-flash"} <= set(candidates())
    assert "reference" not in candidates()


@pytest.mark.parametrize("shape", SHAPES)
def test_the_reference_is_what_autograd_says(torch, make_case, shape):
    from torch.nn.functional import scaled_dot_product_attention

    case = make_case(**SHAPES[shape], direction="fwd+bwd")
    inputs = new_inputs(case, "cpu")
    for kind, seed in FILLS:
        fill(inputs, kind, seed)
        got = load(target("reference")).prepare(case, inputs)()
        q, k, v = (tensor.detach().double().requires_grad_() for tensor in (inputs.q, inputs.k, inputs.v))
        group = case.heads // case.kv_heads
        mask = masks.dense(replace(case, dtype="fp32"), "cpu")
        mask = mask.double() if mask is not None and mask.dtype != torch.bool else mask
        out = scaled_dot_product_attention(
            q, k.repeat_interleave(group, 1), v.repeat_interleave(group, 1), attn_mask=mask
        )
        want = dict(zip(("dq", "dk", "dv"), torch.autograd.grad(out, (q, k, v), inputs.dout.double()), strict=True))
        want["out"] = out.detach()
        for name, value in want.items():
            torch.testing.assert_close(
                got[name], value, rtol=1e-9, atol=1e-6 if case.mask == "alibi" else 1e-9
            )  # its bias is float32 here


def test_the_reference_in_many_blocks_is_the_same(torch, make_case, monkeypatch):
    from autotune.bench import exact

    case = make_case(seq_q=50, seq_kv=70, causal=True, heads=4, kv_heads=2, direction="fwd+bwd")
    inputs = new_inputs(case, "cpu")
    fill(inputs, "random", 1)
    whole, norms = exact.exact_attention(case, inputs)
    monkeypatch.setattr(exact, "_BLOCK_ELEMENTS", 70 * 2 * 7)
    blocks, block_norms = exact.exact_attention(case, inputs)
    for name in whole:
        torch.testing.assert_close(whole[name], blocks[name], rtol=1e-12, atol=1e-12)
        assert norms[name] == pytest.approx(block_norms[name])


def test_an_unknown_backend_and_one_of_another_package(monkeypatch):
    from importlib.metadata import EntryPoint

    with pytest.raises(InvalidInput, match="did you mean 'torch-flash'"):
        target("torch-flahs")
    point = EntryPoint(name="mine", value="bench_planted:Right", group=backends.ENTRY_POINTS)
    monkeypatch.setattr(backends, "entry_points", lambda group: [point] if group == point.group else [])
    assert target("mine") == "bench_planted:Right"
    assert candidates()[-1] == "mine"


def test_the_probe_keeps_reasons_and_survives_a_crash(make_case, planted):
    reasons = probe_isolated(
        make_case(dtype="bf16"),
        "cpu",
        {
            "first": planted("Right"),
            "crash": planted("Crash"),
            "refuse": planted("Refuse"),
            "missing": "no_such_package:Backend",
            "last": planted("Right"),
        },
    )
    assert list(reasons) == ["first", "crash", "refuse", "missing", "last"]
    assert reasons["first"] is None
    assert reasons["last"] is None
    assert reasons["crash"] == "its process was killed by SIGSEGV"
    assert reasons["refuse"] == "No operator found for this attention"
    assert "No module named 'no_such_package'" in str(reasons["missing"])


def test_every_way_to_go_wrong_is_a_row(make_case, planted):
    names = ("Crash", "Refuse", "FailsAtSize", "Replay", "LateReplay", "WrongDtype", "WrongBeside")
    targets = {"torch": target("torch")} | {name: planted(name) for name in names}
    targets["Missing"] = "no_such_package:Backend"
    rows, conditions = measure_isolated(make_case(seq_q=130, dtype="bf16"), "cpu", targets, budget_s=1.0)
    assert [row.backend for row in rows] == list(targets)
    assert {row.backend: row.state for row in rows} == {
        "torch": "ok",
        "Crash": "failed",
        "Refuse": "unsupported",
        "FailsAtSize": "failed",
        "Replay": "incorrect",
        "LateReplay": "incorrect",
        "WrongDtype": "incorrect",
        "WrongBeside": "incorrect",
        "Missing": "unsupported",
    }
    by_name = {row.backend: row for row in rows}
    assert by_name["Crash"].reason == "its process was killed by SIGSEGV"
    assert by_name["FailsAtSize"].reason == "no kernel image for this size"
    assert by_name["WrongDtype"].reason == "out must be bf16, got torch.float32 (inputs: random)"
    assert by_name["WrongBeside"].reason.startswith("beside it, at B1 H2 S704 D32 bf16 fwd: out has")
    assert by_name["WrongBeside"].times_ms  # what it would gain is known, and it is never chosen
    assert by_name["torch"].samples > 0
    assert conditions["stopped"] in ("budget", "precise", "samples")


def test_a_backend_that_hangs_is_killed(make_case, planted, monkeypatch):
    monkeypatch.setattr("autotune.bench.isolate.SILENT_S", 300.0)
    with session() as worker:
        monkeypatch.setattr(worker, "silent_s", 20.0)
        rows, _ = measure_isolated(
            make_case(), "cpu", {"Hang": planted("Hang"), "torch": target("torch")}, budget_s=0.2
        )
    assert [row.state for row in rows] == ["failed", "ok"]
    assert rows[0].reason == "gave no sign of life for 20 s and was killed"


def test_one_worker_serves_a_session(make_case):
    with session() as worker:
        for seq in (32, 48):
            measure_isolated(make_case(seq_q=seq), "cpu", {"torch": target("torch")}, budget_s=0.1)
        first = worker._process.pid
        measure_isolated(make_case(), "cpu", {"torch": target("torch")}, budget_s=0.1)
        assert worker._process.pid == first
    assert worker._process is None
    assert Worker()._process is None  # nothing runs before the first request
