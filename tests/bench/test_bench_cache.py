from __future__ import annotations

import json

import pytest

from autotune.bench import cache
from autotune.bench.cells import read_cell
from autotune.bench.rows import Measurement, Row
from autotune.errors import InvalidInput, UnreadableFile

HARDWARE = {"device": "test", "torch": "2.13.0", "packages": {"xformers": None}}


def measurement(case, *, samples=50, budget_s=10.0, names=("torch", "torch-math"), stopped="precise"):
    rows = tuple(Row(backend=name, state="ok", flops=1.0, times_ms=(1.0,) * samples) for name in names)
    return Measurement(
        case=case, device="cpu", hardware=HARDWARE, budget_s=budget_s, rows=rows, conditions={"stopped": stopped}
    )


def test_hit_and_miss(make_case):
    case = make_case()
    assert cache.load(HARDWARE, case, ["torch"], 10) is None
    assert cache.store(measurement(case))
    found = cache.load(HARDWARE, case, ["torch-math", "torch"], 10)
    assert found is not None
    assert found.from_cache
    assert [row.backend for row in found.rows] == ["torch-math", "torch"]
    assert cache.load(HARDWARE, case, ["torch", "flash2"], 10) is None
    assert cache.load(HARDWARE, make_case(causal=True), ["torch"], 10) is None
    assert cache.load(HARDWARE | {"torch": "2.14.0"}, case, ["torch"], 10) is None
    assert cache.load(HARDWARE | {"packages": {"xformers": "0.0.35"}}, case, ["torch"], 10) is None


def test_what_a_small_budget_cut_short_does_not_answer_for_a_larger_one(make_case):
    cache.store(measurement(make_case(), samples=3, budget_s=0.1, stopped="budget"))
    assert cache.load(HARDWARE, make_case(), ["torch"], 0.1) is not None
    assert cache.load(HARDWARE, make_case(), ["torch"], 10) is None


@pytest.mark.parametrize("content", [b"", b"[]", b'{"schema_version": 99}', b'{"schema_version": 1}', b"\xff"])
def test_a_bad_file_is_a_miss(make_case, content):
    cache.store(measurement(make_case()))
    cache.path_of(HARDWARE, make_case()).write_bytes(content)
    assert cache.load(HARDWARE, make_case(), ["torch"], 10) is None


def test_a_folder_that_cannot_be_written_is_no_error(make_case, monkeypatch, tmp_path):
    blocked = tmp_path / "a file"
    blocked.write_text("")
    monkeypatch.setenv("AUTOTUNE_CACHE", str(blocked))  # holds for root too, whom no permission stops
    assert not cache.store(measurement(make_case()))
    assert cache.load(HARDWARE, make_case(), ["torch"], 10) is None


def test_without_the_variable_it_is_under_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("AUTOTUNE_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.folder() == tmp_path / ".cache" / "autotune" / "attn"


def test_planning_writes_one_cell_for_each_shape_and_needs_no_torch(bench_attn, tmp_path, capsys):
    line = "--seq 128,256,128 --heads 8 --kv-heads 2 --d-k 64 --device cuda --backends torch,flash2 --plan-cells"
    assert bench_attn(line, str(tmp_path)) == 0
    paths = sorted((tmp_path / "attn" / "cells").iterdir())
    assert sorted(capsys.readouterr().out.split()) == [str(path) for path in paths]
    assert len(paths) == 2
    records = [json.loads(path.read_bytes()) for path in paths]
    assert [path.stem for path in paths] == [record["id"] for record in records]
    assert {record["resources"]["gpu"] for record in records} == {1}
    cell = read_cell(paths[0])
    assert cell.case.id == paths[0].stem
    assert cell.backends == ("torch", "flash2")
    before = [(path.stat().st_mtime_ns, path.read_bytes()) for path in paths]
    bench_attn(line, str(tmp_path))
    assert [(path.stat().st_mtime_ns, path.read_bytes()) for path in paths] == before
    bench_attn("--seq 512 --heads 1 --d-k 8 --plan-cells", str(tmp_path / "other"))
    (other,) = (tmp_path / "other" / "attn" / "cells").iterdir()
    assert json.loads(other.read_bytes())["resources"]["gpu"] == 0


def test_a_file_that_is_no_cell_is_refused(tmp_path, bench_attn):
    path = tmp_path / "cell.json"
    path.write_text('{"schema_version": 1, "case": 3}')
    with pytest.raises((UnreadableFile, InvalidInput)):
        read_cell(path)
    with pytest.raises(InvalidInput, match="there is no such file"):
        bench_attn("--out x --cell", str(tmp_path / "none.json"))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--seq 512", "bench-attn needs --heads, --d-k; for example"),
        ("--seq 5x --heads 1 --d-k 8", "--seq must be a whole number, or several with commas between, got '5x'"),
        (
            "--seq 8 --heads 1 --d-k 8 --backends torhc",
            "a backend must be one of .*, got 'torhc'; did you mean 'torch'",
        ),
        ("--seq 8 --heads 1 --d-k 8 --backends reference", "cannot be chosen"),
        ("--seq 8 --heads 1 --d-k 8 --budget 0", "the budget must be a number of seconds above 0, got 0.0"),
        ("--seq 8 --heads 1 --d-k 8 --margin 2", "the margin must be at least 0 and below 1"),
        ("--seq 8 --heads 1 --d-k 8 --cell x", "--cell and --out must be given together"),
    ],
)
def test_a_wrong_option_is_one_sentence(bench_attn, line, words):
    with pytest.raises(InvalidInput, match=words) as caught:
        bench_attn(line)
    assert "\n" not in str(caught.value)
