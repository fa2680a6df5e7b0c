"""The block ``attention:`` of a study file: planned with the study, measured beside its trials, tables at the end."""

from __future__ import annotations

import json

import pytest

from autotune.bench.asked import cells_of_study
from autotune.bench.auto import resolved
from autotune.bench.rows import Measurement, Row
from autotune.errors import InvalidInput, InvalidStudy
from autotune.files import json_bytes
from autotune.storage import StudyDir

BLOCK = {"seq": [32, 48], "heads": 2, "d_k": 16, "dtype": "fp32", "device": "cpu", "budget": 0.2}
TWO = {**BLOCK, "backends": ["torch", "flash2"]}


def cases(folder):
    return {
        path.stem: json.loads(path.read_bytes())["case"] for path in (folder / ".autotune/attn/cells").glob("*.json")
    }


def test_the_block_and_the_flags_mean_the_same(bench_attn, tmp_path, capsys):
    bench_attn("--seq 32,48 --heads 2 --d-k 16 --dtype fp32 --causal --plan-cells", str(tmp_path))
    flags = [json.loads(path.read_bytes()) for path in sorted((tmp_path / "attn/cells").iterdir())]
    block = cells_of_study({"seq": [32, 48], "heads": 2, "d_k": 16, "dtype": "fp32", "causal": True}, 0)
    assert sorted((cell.to_json() for cell in block), key=lambda cell: cell["id"]) == [
        {name: item for name, item in cell.items() if name != "schema_version"} for cell in flags
    ]


def test_lists_are_combined_and_gpus_are_those_of_the_trials():
    found = cells_of_study({"seq": 64, "heads": [4, 8], "d_k": 32, "causal": [True, False], "direction": "fwd+bwd"}, 2)
    assert len(found) == 4
    assert {cell.device for cell in found} == {"cuda"}
    assert {cell.to_json()["resources"]["gpu"] for cell in found} == {1}
    assert {cell.device for cell in cells_of_study(BLOCK, 2)} == {"cpu"}
    assert len(cells_of_study({"suite": "train,decode"}, 0)) == len(cells_of_study({"suite": ["train", "decode"]}, 0))


@pytest.mark.parametrize(
    ("block", "says"),
    [
        ({"seq": 64, "heads": 4}, "`attention`: bench-attn needs d_k"),
        ({**BLOCK, "dtype": "int8"}, "`attention`: dtype must be one of"),
        ({**BLOCK, "suite": "trian"}, "`attention`: a suite must be one of .*did you mean 'train'"),
        ({**BLOCK, "by": "speed"}, "`attention`: by must be one of"),
        ({**BLOCK, "backends": ["torhc"]}, "`attention`: a backend must be one of .*did you mean 'torch'"),
    ],
)
def test_an_impossible_block_is_one_sentence(block, says):
    with pytest.raises(InvalidStudy, match=says):
        cells_of_study(block, 0)


def test_it_is_planned_with_the_study_and_nothing_is_written_where_it_cannot_be(cli, write_study, tmp_path):
    write_study(tmp_path, attention={**BLOCK, "heads": 3, "kv_heads": 2})
    refused = cli("plan", "study.yaml")
    assert (refused.returncode, (tmp_path / ".autotune").exists()) == (2, False)
    assert refused.stderr.strip() == "autotune: `attention`: heads must be a multiple of kv_heads, got 3 and 2"
    write_study(tmp_path, attention={**BLOCK, "sequence": 3})
    assert "study.yaml: `attention` has no 'sequence'" in cli("plan", "study.yaml").stderr
    write_study(tmp_path, attention=TWO)
    assert "nothing was written" in cli("plan", "study.yaml", "--dry-run").stdout
    assert not (tmp_path / ".autotune").exists()
    assert cli("plan", "study.yaml").returncode == 0
    assert sorted(case["seq_q"] for case in cases(tmp_path).values()) == [32, 48]
    assert json.loads((tmp_path / ".autotune/study.json").read_bytes())["attention"] == TWO
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / ".autotune/attn").rglob("*.json")}
    assert cli("plan", "study.yaml").returncode == 0
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    write_study(tmp_path, attention={**TWO, "seq": [48, 64]})
    assert cli("plan", "study.yaml").returncode == 0
    assert sorted(case["seq_q"] for case in cases(tmp_path).values()) == [48, 64]
    assert json.loads((tmp_path / ".autotune/attn/index.json").read_bytes())["cells"] == sorted(cases(tmp_path))


def test_it_is_measured_beside_the_trials_and_only_what_is_new(torch, cli, write_study, tmp_path):
    write_study(tmp_path, attention={**TWO, "margin": 0.5})
    done = cli("study", "study.yaml", "-j", "2", timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    best = json.loads((tmp_path / ".autotune/attn_best.json").read_bytes())
    assert best["margin"] == 0.5
    assert [case["choice"] for case in best["cases"]] == ["torch", "torch"]
    assert len((tmp_path / ".autotune/attn.csv").read_text().splitlines()) == 1 + 2 * 2
    assert json.loads((tmp_path / ".autotune/best.json").read_bytes())["value"] is not None

    results = {path: path.stat().st_mtime_ns for path in (tmp_path / ".autotune/attn/results").iterdir()}
    write_study(tmp_path, attention={**TWO, "margin": 0.5, "seq": [32, 64]})
    assert cli("study", "study.yaml", "-j", "2", timeout=900).returncode == 0
    best = json.loads((tmp_path / ".autotune/attn_best.json").read_bytes())
    assert sorted(case["case"]["seq_q"] for case in best["cases"]) == [32, 64]
    assert {path: path.stat().st_mtime_ns for path in results} == results


def test_bench_attn_takes_the_block_and_flags_win(bench_attn, write_study, tmp_path, capsys):
    study = str(write_study(tmp_path, attention=BLOCK, space=None, objective=None))  # no trials: `attention` alone
    bench_attn("--study", study, "--seq", "96", "--plan-cells", str(tmp_path / ".autotune"))
    assert [(case["seq_q"], case["heads"], case["dtype"]) for case in cases(tmp_path).values()] == [(96, 2, "fp32")]
    with pytest.raises(InvalidInput, match="must have a block `attention:`, got none"):
        bench_attn("--study", str(write_study(tmp_path)))


def test_in_one_process_there_are_no_jobs_for_it(tmp_path):
    from autotune import Study, StudyConfig
    from autotune.algorithms.random import RandomSearch
    from autotune.spaces import SearchSpace, Uniform

    config = StudyConfig(log_dir=str(tmp_path / "log"), attention=BLOCK)
    with pytest.raises(InvalidStudy, match="`attention` is measured by jobs"):
        Study(config, SearchSpace({"x": Uniform(0, 1)}), RandomSearch()).optimize(lambda params, trial: params["x"])
    assert not (tmp_path / "log").exists()


SPACE = {"x": {"type": "uniform", "low": 0.0, "high": 1.0}, "attn": {"type": "choice", "options": "auto"}}


def test_auto_is_the_list_of_what_is_usable_and_stays_it(torch, cli, bench_attn, write_study, tmp_path, own_cache):
    here = {"AUTOTUNE_CACHE": str(own_cache)}
    block = {**BLOCK, "seq": 32, "backends": ["torch", "torch-math", "flash2"]}
    study = str(write_study(tmp_path, attention=block, space=SPACE))
    refused = cli("plan", "study.yaml", env=here)
    assert (refused.returncode, (tmp_path / ".autotune").exists()) == (2, False)
    assert "`space.attn.options: auto` needs every shape under `attention:` measured" in refused.stderr

    assert bench_attn("--study", study) == 0  # into the cache
    assert cli("plan", "study.yaml", env=here).returncode == 0
    planned = (tmp_path / ".autotune/study.json").read_bytes()
    assert json.loads(planned)["space"]["attn"]["options"] == ["torch", "torch-math"]
    # Nothing is known any more, and yet the plan stands.
    assert cli("plan", "study.yaml", env={"AUTOTUNE_CACHE": str(tmp_path / "nothing")}).returncode == 0
    assert (tmp_path / ".autotune/study.json").read_bytes() == planned


def test_auto_takes_the_results_of_jobs_and_only_what_is_right_on_every_shape(tmp_path):
    cells = cells_of_study({**BLOCK, "device": "cuda"}, 1)
    states = [{"torch": "ok", "flash4": "ok", "flex": "ok"}, {"torch": "incorrect", "flash4": "ok", "flex": "failed"}]
    (tmp_path / "attn/results").mkdir(parents=True)
    for cell, found in zip(cells, states):
        rows = tuple(
            Row(backend=name, flops=1.0, state="ok", times_ms=(1.0,) * 9)
            if state == "ok"
            else Row(backend=name, flops=1.0, state=state, reason="x")
            for name, state in found.items()
        )
        one = Measurement(case=cell.case, device="cuda:0", hardware={}, budget_s=1.0, rows=rows)
        (tmp_path / f"attn/results/{cell.case.id}.json").write_bytes(json_bytes(one.to_json()))
    space = resolved(SPACE, cells, StudyDir(tmp_path), fresh=False)
    assert space == {**SPACE, "attn": {"type": "choice", "options": ["flash4"]}}


def test_auto_needs_the_block(cli, write_study, tmp_path):
    write_study(tmp_path, space=SPACE)
    refused = cli("plan", "study.yaml")
    assert refused.returncode == 2
    assert "`space.attn.options` can be auto only in a study with a block `attention:`, got none" in refused.stderr
