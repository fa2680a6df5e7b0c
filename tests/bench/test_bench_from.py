"""Recording: real programs in processes of their own, unchanged; then what the recorded shapes would gain."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from autotune.bench import gain, profile
from autotune.bench.case import AttentionCase
from autotune.bench.harvest import record
from autotune.bench.preload.recorder import meaning
from autotune.bench.profile import Call, Profile
from autotune.bench.rows import Measurement, Row
from autotune.errors import InvalidInput, UnreadableFile

# A training program as users write them: torch is imported late, attention by name, the model is compiled whole.
TRAIN = """
def main():
    import torch
    from torch import nn
    from torch.nn.functional import scaled_dot_product_attention as attend

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.q, self.kv = nn.Linear(64, 64), nn.Linear(64, 32)
            self.mha = nn.MultiheadAttention(64, 4, batch_first=True)

        def forward(self, x):
            b, s, _ = x.shape
            q = self.q(x).view(b, s, 4, 16).transpose(1, 2)
            k, v = (t.view(b, s, 1, 16).transpose(1, 2) for t in self.kv(x).chunk(2, -1))
            y = attend(q, k, v, is_causal=True, enable_gqa=True)
            x = x + y.transpose(1, 2).reshape(b, s, 64)
            return x + self.mha(x, x, x, need_weights=False)[0]

    torch.manual_seed(0)
    net = torch.compile(Net(), fullgraph=True)
    optimizer = torch.optim.AdamW(net.parameters())
    for step in range(6):
        net(torch.randn(2, 40, 64)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        print("step", step, flush=True)
    with torch.no_grad():
        net(torch.randn(1, 24, 64))
    with open("end", "w") as file:
        print(sum(float(p.detach().sum()) for p in net.parameters()), file=file)

main()
"""
ONE_CALL = "import torch\nq = torch.randn(1, 1, 2, 2)\ntorch.nn.functional.scaled_dot_product_attention(q, q, q)"
CAUSAL = AttentionCase(
    batch=2, heads=4, kv_heads=1, seq_q=40, seq_kv=40, d_k=16, dtype="fp32", causal=True, direction="fwd+bwd"
)


@pytest.fixture
def run_program(torch, tmp_path, monkeypatch):
    """Write a program, run it with its attention recorded, return the profile."""
    monkeypatch.chdir(tmp_path)

    def run(source, *words, steps=0, limit_s=120.0):
        (tmp_path / "program.py").write_text(textwrap.dedent(source))
        return record(" ".join([sys.executable, *words, "program.py"]), steps=steps, limit_s=limit_s)

    return run


def counts(found):
    return {(str(call.case), call.backend): call.count for call in found.calls}


def test_a_training_program_is_recorded_call_by_call(run_program, tmp_path, capfd):
    found = run_program(TRAIN)
    recorded = (tmp_path / "end").read_text()
    assert counts(found) == {
        ("B2 H4/1 S40 D16 fp32 causal fwd+bwd", "torch"): 6,
        ("B2 H4 S40 D16 fp32 fwd+bwd", "torch"): 6,
        ("B1 H4/1 S24 D16 fp32 causal fwd", "torch"): 1,
        ("B1 H4 S24 D16 fp32 fwd", "torch"): 1,
    }
    assert {call.device for call in found.calls} == {"cpu"}
    assert (found.steps, found.processes, found.skipped) == (6, 1, ())
    assert 0 < 5 * found.step_s <= found.span_s
    assert found.ended == "ended with status 0"
    out, err = capfd.readouterr()
    assert (out, err.count("step")) == ("", 6)  # standard output stays free for --json
    environment = {**os.environ, "TORCHDYNAMO_DISABLE": "1"}
    subprocess.run([sys.executable, "program.py"], check=True, capture_output=True, env=environment)
    assert (tmp_path / "end").read_text() == recorded  # it computes what it computes without us


def test_it_is_ended_after_the_steps_and_before_its_own_end(run_program, tmp_path):
    found = run_program(TRAIN, steps=3)
    assert set(counts(found).values()) == {3}
    assert (found.steps, found.ended) == (3, "was ended after 3 steps")
    assert not (tmp_path / "end").exists()  # where it might have saved a checkpoint


def test_what_was_counted_survives_a_kill(run_program):
    found = run_program(
        """
        import os, time
        import torch
        q = torch.randn(1, 2, 8, 4)
        for _ in range(8):
            torch.nn.functional.scaled_dot_product_attention(q, q, q)
            time.sleep(0.3)
        os.kill(os.getpid(), 9)
        """
    )
    ((what, count),) = counts(found).items()
    assert what == ("B1 H2 S8 D4 fp32 bhsd fwd", "torch")
    assert 5 <= count <= 8  # it is written once a second
    assert found.ended == "ended with status -9"


def test_a_program_without_end_is_ended_and_its_children_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInput, match="was ended after 2 s"):
        record("sh -c 'sleep 600 & echo $! > child; wait'", steps=0, limit_s=2)
    state = Path(f"/proc/{(tmp_path / 'child').read_text().strip()}/stat")
    assert not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z"


def test_masks_that_are_tensors_have_a_meaning(run_program):
    found = run_program(
        """
        import torch
        from torch.nn.attention.bias import causal_lower_right
        from torch.nn.functional import scaled_dot_product_attention as attend
        q = torch.randn(2, 4, 16, 8).bfloat16()
        tril = torch.ones(16, 16, dtype=torch.bool).tril()
        attend(q, q, q, tril)
        attend(q, q, q, attn_mask=torch.zeros(16, 16).masked_fill(~tril, float("-inf")).bfloat16())
        attend(q, q, q, tril & ~tril.tril(-4))
        attend(q, q, q, torch.arange(16) < torch.tensor([16, 5])[:, None, None, None])
        attend(q, q, q, torch.randn(16, 16).bfloat16())
        attend(q[:, :, :4], q, q, causal_lower_right(4, 16))
        attend(q[:, :, :4], q, q, is_causal=True)
        attend(q, q, q, dropout_p=0.1)
        attend(q.contiguous(), q, q)
        attend(q.double(), q.double(), q.double())
        torch.nn.functional.scaled_dot_product_attention(q, q, q)
        """
    )
    seen = {
        (call.case.causal, call.case.window, call.case.mask, call.case.seq_q, call.case.dropout): call.count
        for call in found.calls
    }
    assert seen == {
        (True, 0, "none", 16, 0): 2,
        (True, 4, "none", 16, 0): 1,
        (False, 0, "padding", 16, 0): 1,
        (True, 0, "none", 4, 0): 1,
        (False, 0, "none", 16, 0.1): 1,
        (False, 0, "none", 16, 0): 2,
    }
    assert {call.case.layout for call in found.calls if call.case.seq_q == 16} == {"bhsd"}
    assert [what.partition(": ")[2] for what, count in found.skipped if count == 1] == [
        "a bias",
        "dtype must be one of bf16, fp16, fp32 (or a long name), got 'float64'; did you mean 'float16'?",
        "causal from the first query and key on",
    ]


def test_flex_is_recorded_with_what_its_mask_means(run_program):
    found = run_program(
        """
        import torch
        from torch.nn.attention.flex_attention import create_block_mask, flex_attention
        flex = torch.compile(flex_attention)
        q = torch.randn(1, 2, 128, 16)
        ends = torch.tensor([0] * 50 + [1] * 78)
        causal = lambda b, h, i, j: i >= j
        documents = lambda b, h, i, j: causal(b, h, i, j) & (ends[i] == ends[j])
        for mask in (causal, documents, lambda b, h, i, j: (i - j) % 3 == 0):
            flex(q, q, q, block_mask=create_block_mask(mask, None, None, 128, 128, device="cpu"))
        flex(q, q, q)
        flex(q, q, q, score_mod=lambda score, b, h, i, j: score + i)
        """
    )
    assert counts(found) == {
        ("B1 H2 S128 D16 fp32 bhsd fwd", "flex"): 1,
        ("B1 H2 S128 D16 fp32 causal bhsd fwd", "flex"): 1,
        ("B1 H2 S128 D16 fp32 causal documents:2 bhsd fwd", "flex"): 1,
    }
    assert [what.partition(": ")[2] for what, _ in found.skipped] == ["a mask with holes", "a score_mod"]


FLASH = """
import torch

def flash_attn_func(q, k, v, dropout_p=0.0, softmax_scale=None, causal=False, window_size=(-1, -1), softcap=0.0,
                    alibi_slopes=None):
    return q * 1

def flash_attn_varlen_func(q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, causal=False):
    return q * 1

def flash_attn_qkvpacked_func(qkv, dropout_p=0.0, causal=False):
    return qkv[:, :, 0] * 1
"""


def test_the_entry_points_of_flash_attn_are_recorded(run_program, tmp_path):
    """A package of its shape stands in for it, which takes a GPU; only the arguments matter here."""
    (tmp_path / "flash_attn").mkdir()
    (tmp_path / "flash_attn" / "__init__.py").write_text(
        "from flash_attn.flash_attn_interface import *\n"
        "from flash_attn.flash_attn_interface import flash_attn_func, flash_attn_varlen_func\n"
    )
    (tmp_path / "flash_attn" / "flash_attn_interface.py").write_text(FLASH)
    found = run_program(
        """
        import pickle
        import torch
        from flash_attn import flash_attn_func, flash_attn_qkvpacked_func, flash_attn_varlen_func
        q = torch.randn(2, 64, 8, 16, dtype=torch.bfloat16, requires_grad=True)
        kv = torch.randn(2, 64, 2, 16, dtype=torch.bfloat16)
        for _ in range(3):
            flash_attn_func(q, kv, kv, causal=True)
        flash_attn_func(q, kv, kv, 0.0, None, True, (31, 0))
        flash_attn_func(q, kv, kv, window_size=(31, 31))
        flash_attn_func(q, kv, kv, alibi_slopes=torch.ones(8))
        ends = torch.tensor([0, 10, 50, 128], dtype=torch.int32)
        flash_attn_varlen_func(q.flatten(0, 1), kv.flatten(0, 1), kv.flatten(0, 1), ends, ends, 78, 78, causal=True)
        with torch.no_grad():
            flash_attn_qkvpacked_func(torch.stack([q, q, q], 2), causal=True)
        assert pickle.loads(pickle.dumps(flash_attn_func)) is flash_attn_func
        """
    )
    assert counts(found) == {
        ("B2 H8/2 S64 D16 bf16 causal fwd+bwd", "flash2"): 3,
        ("B2 H8/2 S64 D16 bf16 causal window 32 fwd+bwd", "flash2"): 1,
        ("B2 H8/2 S64 D16 bf16 alibi fwd+bwd", "flash2"): 1,
        ("B1 H8/2 S128 D16 bf16 causal documents:3 fwd+bwd", "flash2"): 1,
        ("B2 H8 S64 D16 bf16 causal fwd", "flash2"): 1,
    }
    assert [what.partition(": ")[2] for what, _ in found.skipped] == ["a window that looks ahead"]


def test_processes_are_counted_and_forks_begin_anew(run_program):
    found = run_program(
        """
        import os, subprocess, sys
        import torch
        q = torch.randn(1, 2, 8, 4)
        for _ in range(5):
            torch.nn.functional.scaled_dot_product_attention(q, q, q)
        subprocess.run([sys.executable, "-c", '''
        import torch
        q = torch.randn(1, 2, 8, 4)
        torch.nn.functional.scaled_dot_product_attention(q, q, q)
        '''.replace("        ", "")], check=True)
        if os.fork() == 0:
            sys.exit()  # through atexit, as a worker might
        os.wait()
        """
    )
    assert (sum(counts(found).values()), found.processes) == (6, 2)


def test_another_sitecustomize_still_runs_and_ours_is_off_the_path(run_program, tmp_path, monkeypatch):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text("import builtins\nbuiltins.theirs = True\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    found = run_program(
        """
        import sys, torch
        assert theirs and not any("preload" in path for path in sys.path), sys.path
        q = torch.randn(1, 2, 8, 4)
        torch.nn.functional.scaled_dot_product_attention(q, q, q)
        """
    )
    assert sum(counts(found).values()) == 1


def test_traced_calls_go_through_untouched(run_program):
    found = run_program(
        """
        import torch
        from torch.nn.functional import scaled_dot_product_attention as attend
        class Net(torch.nn.Module):
            def forward(self, q):
                return attend(q, q, q)
        q = torch.randn(1, 2, 8, 4)
        graph = torch.export.export(Net(), (q,))
        assert any("scaled_dot_product_attention" in str(node.target) for node in graph.graph.nodes)
        attend(q, q, q)
        """
    )
    assert sum(counts(found).values()) >= 1


@pytest.mark.parametrize(
    ("source", "words", "says"),
    [
        ("import torch", [], "no call was seen: .* ended with status 0"),
        ("raise SystemExit(3)", [], "ended with status 3"),
        (ONE_CALL, ["-I"], r"a Python that ignores PYTHONPATH \(-I, -E, -S\)"),
    ],
)
def test_a_program_that_shows_nothing_is_refused(run_program, source, words, says):
    with pytest.raises(InvalidInput, match=says):
        run_program(source, *words)


@pytest.mark.parametrize("command", ["", "'unclosed", "no-such-program --x"])
def test_a_command_that_is_none_is_refused(command):
    with pytest.raises(InvalidInput, match="--from must be a command"):
        record(command, steps=0, limit_s=1)


def test_what_masks_mean(torch):
    key = torch.arange(12)
    tril = key <= key[:, None]
    docs = (key // 5)[:, None] == key // 5
    assert meaning(tril) == {"causal": True, "mask": "none"}
    assert meaning(torch.ones(12, 12, dtype=torch.bool)) == {"causal": False, "mask": "none"}
    assert meaning(tril[-3:]) == {"causal": True, "mask": "none"}  # bottom-right
    assert meaning(tril[:3])["mask"].startswith("other")  # top-left
    assert meaning(docs) == {"causal": False, "mask": "documents:3"}
    assert meaning(docs & tril) == {"causal": True, "mask": "documents:3"}
    assert meaning((key < 5)[None]) == {"causal": False, "mask": "padding"}
    assert meaning(tril[-1:])["mask"] == "none"
    assert meaning(torch.stack([tril, docs])[:, None])["mask"].startswith("other: a mask that differs")
    assert meaning(tril & (key != 3))["mask"] == "other: a mask with holes"
    assert meaning(torch.zeros(12, 12, dtype=torch.bool))["mask"].startswith("other")  # sees nothing


# What it would gain


def measurement(case, **times_ms):
    rows = tuple(
        Row(backend=name.replace("_", "-"), state="ok", flops=1.0, times_ms=(time,) * 9)
        for name, time in times_ms.items()
    )
    return Measurement(case=case, device="cpu", hardware={"device": "test"}, budget_s=1.0, rows=rows)


def profiled(*calls, **fields):
    return Profile(command="python train.py", calls=calls, ended="ended with status 0", **fields)


def test_a_step_gains_the_weighted_difference(make_case):
    one, two = make_case(), make_case(causal=True)
    calls = [
        Call(case=one, backend="torch", device="cpu", count=80),
        Call(case=two, backend="flex", device="cpu", count=40),
    ]
    found = {
        (one, "cpu"): measurement(one, torch=1.0, torch_flash=0.5),
        (two, "cpu"): measurement(two, torch=1.0, torch_flash=0.995, flex=3.0),
    }
    seen = profiled(*calls, steps=10, step_s=0.1, processes=2, span_s=5.0)
    gains = gain.gains(seen, found, 0.02)
    assert [(one.now_ms, one.best, one.best_ms) for one in gains] == [(1.0, "torch-flash", 0.5), (3.0, "torch", 1.0)]
    all_ = gain.total(seen, gains)
    assert (all_.unit, all_.now_ms, all_.saved_ms) == ("step", 80 / 20 * 1 + 40 / 20 * 3, 80 / 20 * 0.5 + 40 / 20 * 2)
    assert (all_.part, all_.share) == (0.6, pytest.approx(0.06))
    assert "a step gains 6 ms: 60.0% of that, 6.0% of its 100 ms" in gain.sentences(seen, gains)[0]


def test_what_is_as_good_as_the_best_is_left_alone_and_what_is_unknown_is_told(make_case):
    one, two = make_case(), make_case(causal=True)
    calls = [
        Call(case=one, backend="torch-flash", device="cpu", count=2),
        Call(case=two, backend="flash2", device="cpu", count=3),
    ]
    found = {(one, "cpu"): measurement(one, torch=1.0, torch_flash=0.99), (two, "cpu"): measurement(two, torch=1.0)}
    seen = profiled(*calls, span_s=1.0, skipped=(("torch B1: a bias", 4),))
    gains = gain.gains(seen, found, 0.02)
    assert (gains[0].best, gains[0].best_ms) == ("torch-flash", 0.99)
    assert gains[1].reason == "flash2: not measured"
    all_ = gain.total(seen, gains)
    assert (all_.unit, all_.saved_ms, all_.unknown) == ("run", 0.0, 7)
    assert "not in it: 4 calls, torch B1: a bias" in gain.sentences(seen, gains)


def test_a_profile_is_kept_and_read_back(make_case, tmp_path):
    seen = profiled(Call(case=make_case(), backend="torch", device="cpu", count=2), skipped=(("x", 1),), step_s=0.5)
    path = tmp_path / "profile.json"
    profile.write(path, seen)
    assert profile.read(path) == seen
    path.write_text('{"schema_version": 1}')
    with pytest.raises(UnreadableFile, match="must be a profile"):
        profile.read(path)


def test_the_command(torch, bench_attn, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text(TRAIN)
    options = "--budget 0.3 --backends torch,torch-math --steps 2"
    assert bench_attn(options, "--from", f"{sys.executable} train.py") == 0
    out = capsys.readouterr().out
    assert "was ended after 2 steps: 4 calls of 2 shapes, 2 steps" in out
    assert "by the best backend for each shape a step gains" in out
    assert profile.read(tmp_path / "attn_profile.json").calls[1].count == 2
    assert bench_attn(options + " --json --from attn_profile.json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert [one["call"]["count"] for one in answer["shapes"]] == [2, 2]
    assert answer["total"]["unit"] == "step"
    assert 0 <= answer["total"]["part"] < 1
    assert bench_attn("--from attn_profile.json --plan-cells cells") == 0
    planned = [json.loads(path.read_bytes()) for path in (tmp_path / "cells" / "attn" / "cells").iterdir()]
    assert CAUSAL.to_json() in [one["case"] for one in planned]
    with pytest.raises(InvalidInput, match="--from takes the shapes from a program"):
        bench_attn("--from attn_profile.json --seq 3")
