from __future__ import annotations

import io
import json
import shlex
import sys
from pathlib import Path

import pytest

from autotune.bench import attn
from autotune.bench.attn import select_fastest_backend
from autotune.errors import InvalidInput, InvalidStudy

SMALL = {"heads": 2, "d_k": 32, "budget_s": 0.5}


@pytest.fixture
def count_measuring(monkeypatch):
    """Count how often something is measured."""
    from autotune.bench import isolate

    calls = []
    real = isolate.measure_isolated
    monkeypatch.setattr(isolate, "measure_isolated", lambda *args, **more: calls.append(args) or real(*args, **more))
    return calls


def test_the_choice_is_a_string_and_knows_why(torch):
    choice = select_fastest_backend(64, 2, 32, "float32", budget_s=0.5, device="cpu")
    assert isinstance(choice, str)
    assert choice in {"torch", "torch-flash", "torch-math"}
    assert choice in choice.ties
    assert choice.regret >= 0
    states = {row.backend: row.state for row in choice.rows}
    assert states["torch"] == states["torch-flash"] == states["torch-math"] == "ok"
    assert states["flash2"] == states["xformers"] == "unsupported"
    for row in choice.rows:
        assert (row.reason is None) == (row.state == "ok")
    text = choice.explain()
    assert "torch (default)" in text
    assert "flash2: unsupported: needs a CUDA device" in text
    assert f"choice: {choice}" in text


def test_the_cache_is_used_and_can_be_left_out(torch, count_measuring, own_cache):
    first = select_fastest_backend(64, **SMALL, device="cpu")
    again = select_fastest_backend(64, **SMALL, device="cpu")
    assert len(count_measuring) == 1
    assert again == first
    assert [row.times_ms for row in again.rows] == [row.times_ms for row in first.rows]
    assert again.measurement.from_cache
    select_fastest_backend(64, **SMALL, device="cpu", backends=["torch"])
    assert len(count_measuring) == 1
    select_fastest_backend(64, **SMALL, device="cpu", causal=True)
    assert len(count_measuring) == 2
    select_fastest_backend(64, **SMALL, device="cpu", cache=False)
    assert len(count_measuring) == 3
    assert len(list(own_cache.rglob("*.json"))) == 2


def test_a_cache_that_cannot_be_written_is_no_error(torch, monkeypatch, tmp_path):
    (tmp_path / "a file").write_text("")
    monkeypatch.setenv("AUTOTUNE_CACHE", str(tmp_path / "a file"))
    assert select_fastest_backend(64, **SMALL, device="cpu", backends=["torch"]) == "torch"


def test_what_the_caller_has_switched_on_does_not_matter(torch):
    state = torch.random.get_rng_state()
    with torch.inference_mode(), torch.autocast("cpu"):
        choice = select_fastest_backend(
            64, **SMALL, device="cpu", direction="fwd+bwd", dtype="fp32", backends=["torch"]
        )
        assert torch.is_inference_mode_enabled()
    assert choice == "torch"
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"by": "speed"}, "by must be one of gpu, eager, graph, got 'speed'"),
        ({"margin": -1}, "the margin must be at least 0"),
        ({"dtype": "int8"}, "dtype must be one of"),
        ({"backends": "torch"}, "backends must be a list of names"),
        ({"backends": []}, "backends must be a list of names"),
    ],
)
def test_an_impossible_argument_is_refused(changes, words):
    with pytest.raises(InvalidInput, match=words):
        select_fastest_backend(64, **SMALL, **changes)


@pytest.mark.parametrize("device", ["tpu", "cpu:1", "cuda:x", "cuda:97"])
def test_an_impossible_device_is_refused(torch, device):
    with pytest.raises(InvalidInput, match="device must be"):
        select_fastest_backend(64, **SMALL, device=device)


def test_without_torch_it_says_what_to_install(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(InvalidStudy, match=r"^bench-attn needs PyTorch: pip install 'autotune\[torch\]'$"):
        select_fastest_backend(64, **SMALL)


def test_the_literal_command(torch, bench_attn, capsys):
    words = shlex.split("python -m autotune.cli bench-attn --seq 512 --heads 16 --d-k 64 --dtype bf16")
    assert bench_attn(" ".join(words[4:]), "--device", "cpu", "--budget", "1") == 0
    out = capsys.readouterr().out
    assert "CPU figures say nothing about a GPU" in out
    assert "torch (default)" in out
    assert "choice: " in out
    assert out.index("torch (default)") < out.index("xformers: unsupported: needs a CUDA device")


def test_json(torch, bench_attn, capsys):
    line = (
        "--seq 32,64 --heads 4 --kv-heads 2 --d-k 16 --dtype fp32 --causal --device cpu --budget 0.3 --json --no-cache"
    )
    assert bench_attn(line, "--direction", "fwd+bwd") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["schema_version"] == 1
    assert [result["case"]["seq_q"] for result in answer["results"]] == [32, 64]
    for result in answer["results"]:
        assert result["choice"] in result["ties"]
        for row in result["rows"]:
            assert (row["median_ms"] is not None) == (row["state"] == "ok")
            assert row["samples"] == len(row["times_ms"])


def test_no_usable_backend_is_a_table_and_status_1(torch, bench_attn, capsys):
    line = "--seq 32 --heads 2 --d-k 16 --device cpu --backends flash2,xformers"
    assert bench_attn(line) == 1
    assert "no attention backend can do" in capsys.readouterr().out


def test_a_planned_cell_becomes_a_result(torch, bench_attn, capsys, tmp_path):
    bench_attn(
        "--seq 32 --heads 2 --d-k 16 --device cpu --budget 0.3 --backends torch,flash2 --plan-cells", str(tmp_path)
    )
    cell = capsys.readouterr().out.strip()
    out = tmp_path / "attn" / "results" / "x.json"
    assert bench_attn("--cell", cell, "--out", str(out)) == 0
    result = json.loads(out.read_bytes())
    assert result["schema_version"] == 1
    assert result["choice"] == "torch"
    assert cell.endswith(f"{result['id']}.json")
    assert [row["state"] for row in result["rows"]] == ["ok", "unsupported"]


def test_all_of_it_is_offered():
    assert set(attn.__all__) == {"AttentionCase", "Choice", "attention", "measure", "select_fastest_backend"}


@pytest.fixture
def machine(monkeypatch):
    """Measure nothing: every backend takes what the machine says; return its times and what was asked of it."""
    from autotune.bench import isolate
    from autotune.bench.rows import Row

    times, asked = {}, []

    def measured(case, device, targets, **how):
        asked.append((list(targets), how["budget_s"]))
        rows = [Row(backend=name, state="ok", flops=1.0, times_ms=(times[name],) * 50) for name in targets]
        return tuple(rows), {"stopped": "precise"}

    monkeypatch.setattr(isolate, "measure_isolated", measured)
    return times, asked


def test_a_kept_winner_is_revalidated_and_a_stale_one_measured_again(torch, machine):
    times, asked = machine
    times.update({"torch": 1.2, "torch-flash": 1.0, "torch-math": 9.0, "torch-cudnn": 10.0})
    shape = {"heads": 2, "d_k": 32, "budget_s": 5.0, "device": "cpu", "backends": list(times)}
    assert select_fastest_backend(64, **shape) == "torch-flash"
    assert select_fastest_backend(64, **shape, revalidate=True) == "torch-flash"
    assert asked == [(list(times), 5.0), (["torch-flash", "torch", "torch-math"], 2.0)]  # the second is the quick probe
    times["torch-flash"] = 1.5  # as after a new driver
    with pytest.warns(UserWarning, match="stale: torch-flash was kept for .*, but now torch is faster"):
        choice = select_fastest_backend(64, **shape, revalidate=True)
    assert choice == "torch"
    assert asked[2:] == [(["torch-flash", "torch", "torch-math"], 2.0), (list(times), 5.0)]
    assert select_fastest_backend(64, **shape) == "torch"
    assert len(asked) == 4


def test_attention_runs_the_choice(torch):
    q, k, v = (torch.randn(1, 4, 40, 16) for _ in range(3))
    want = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    for _ in range(2):
        got = attn.attention(q, k, v, causal=True, budget_s=0.2)
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


def test_apply_puts_a_kernel_first_and_back(torch):
    from torch.nn.attention import SDPBackend

    from autotune.bench.apply import apply

    before = torch._C._get_sdp_priority_order()
    undo = apply("torch-math")
    assert torch._C._get_sdp_priority_order()[0] == int(SDPBackend.MATH)
    undo()
    assert torch._C._get_sdp_priority_order() == before
    apply("torch")()
    with pytest.raises(InvalidInput, match=r"autotune.bench.attn.attention\(q, k, v, ...\) calls it"):
        apply("flex")


def test_lists_and_suites_are_planned(bench_attn, capsys, tmp_path):
    bench_attn("--seq 64,128 --heads 4 --d-k 32 --batch 1,2 --window 0,16 --causal --plan-cells", str(tmp_path / "a"))
    assert len(list((tmp_path / "a" / "attn" / "cells").iterdir())) == 8
    bench_attn("--suite train,prefill,decode --by graph --plan-cells", str(tmp_path / "b"))
    cells = [json.loads(path.read_bytes()) for path in (tmp_path / "b" / "attn" / "cells").iterdir()]
    assert len(cells) >= 28
    assert {cell["by"] for cell in cells} == {"graph"}
    assert len(json.loads((tmp_path / "b" / "attn" / "index.json").read_bytes())["cells"]) == len(cells)
    with pytest.raises(InvalidInput, match="did you mean 'prefill'"):
        bench_attn("--suite prefil --plan-cells", str(tmp_path))


def test_tables_of_what_was_measured(torch, bench_attn, capsys, tmp_path):
    bench_attn(
        "--seq 32,48 --heads 2 --d-k 16 --device cpu --budget 0.2 --backends torch,flash2 --plan-cells", str(tmp_path)
    )
    for number, cell in enumerate(capsys.readouterr().out.split()):
        out = tmp_path / "attn" / "results" / cell.rsplit("/", 1)[1]
        assert bench_attn("--cell", cell, "--out", str(out)) == 0
        assert bench_attn("--aggregate", str(tmp_path)) == 0
        lines = (tmp_path / "attn.csv").read_text().splitlines()
        assert len(lines) == 1 + 2 * (number + 1)
    best = json.loads((tmp_path / "attn_best.json").read_bytes())
    assert [case["choice"] for case in best["cases"]] == ["torch", "torch"]
    pytest.importorskip("matplotlib", reason="plots need matplotlib: pip install 'autotune[plot]'")
    assert bench_attn("--aggregate", str(tmp_path), "--plots", str(tmp_path / "attn")) == 0
    pictures = {path.name: path.read_bytes()[:4] for path in (tmp_path / "attn").glob("*.png")}
    assert pictures == dict.fromkeys(("heatmap.png", "speedup.png", "roofline.png"), b"\x89PNG")
    rule = Path(__file__).parents[2].joinpath("workflow", "rules", "attention.smk").read_text()
    assert {name for name in pictures if f"/attn/{name}" in rule} == set(pictures)
    with pytest.raises(InvalidInput, match="must hold planned shapes"):
        bench_attn("--aggregate", str(tmp_path / "nowhere"))


def test_doctor(torch, capsys):
    import argparse

    from autotune.cli import doctor

    parser = argparse.ArgumentParser()
    doctor.add_arguments(parser)
    assert doctor.run(parser.parse_args(["--device", "cpu", "--json"])) == 0
    found = {one["backend"]: one for one in json.loads(capsys.readouterr().out)["backends"]}
    assert found["torch"]["backward"]
    assert found["xformers"]["reason"] == "needs a CUDA device"
    assert found["flash4"]["mend"].startswith("pip install --pre flash-attn-4")
    assert doctor.run(parser.parse_args(["--device", "cpu"])) == 0
    assert "why not: needs a CUDA device" in capsys.readouterr().out


def test_doctor_tells_each_backend_as_soon_as_it_is_tried(torch, monkeypatch):
    from autotune.bench import show
    from autotune.cli import doctor

    said: list[str] = []
    found = doctor.examine("cpu", said.append)
    assert next(found)["backend"] == "torch"
    assert said == ["trying torch"]
    found.close()

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr("sys.stderr", Terminal())
    show.Progress(after_s=0.0).say("loading PyTorch")
    show.Progress().say("too early")
    assert sys.stderr.getvalue().endswith("loading PyTorch")
