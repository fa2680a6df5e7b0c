"""A table of trials as the plan."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autotune.algorithms.rows import read_rows, space_of
from autotune.errors import InvalidStudy
from autotune.storage import StudyDir

OBJECTIVE = "def objective(params, trial):\n    return params['lr']\n"
CSV = "lr,optimizer,nesterov\n0.1,sgd,true\n1e-3,adam,\n"
ROWS = [
    {"lr": 0.1, "optimizer": "sgd", "nesterov": True},
    {"lr": 0.001, "optimizer": "adam", "nesterov": None},
]

Plan = Callable[..., Any]


@pytest.fixture
def plan(cli: Callable[..., Any], tmp_path: Path) -> Plan:
    """``plan("--fresh")``: plan the rows of rows.csv."""
    (tmp_path / "train.py").write_text(OBJECTIVE)
    (tmp_path / "rows.csv").write_text(CSV)
    return lambda *args: cli("plan", "--trials", "rows.csv", "--objective", "train:objective", *args, cwd=tmp_path)


def planned(folder: Path) -> list[dict[str, Any]]:
    store = StudyDir(folder / ".autotune")
    return [store.read_config(number).params for number in sorted(store.config_sizes())]


def test_each_row_is_a_trial(plan: Plan, tmp_path: Path) -> None:
    done = plan()
    assert done.returncode == 0, done.stderr
    assert planned(tmp_path) == ROWS


def test_rows_that_are_appended_extend_the_plan(plan: Plan, tmp_path: Path) -> None:
    plan()
    with (tmp_path / "rows.csv").open("a") as file:
        file.write("7,lamb,false\n")
    done = plan()
    assert done.returncode == 0, done.stderr
    assert "1 configs new or changed" in done.stdout
    assert planned(tmp_path) == [*ROWS, {"lr": 7, "optimizer": "lamb", "nesterov": False}]


@pytest.mark.parametrize(
    "changed",
    [
        "lr,optimizer,nesterov\n0.2,sgd,true\n1e-3,adam,\n",
        "lr,optimizer,nesterov\n1e-3,adam,\n0.1,sgd,true\n",
        "lr,optimizer,nesterov,more\n0.1,sgd,true,1\n1e-3,adam,,1\n",
    ],
    ids=["a value", "the order", "a column"],
)
def test_rows_that_changed_are_refused(plan: Plan, tmp_path: Path, changed: str) -> None:
    plan()
    (tmp_path / "rows.csv").write_text(changed)
    done = plan()
    assert done.returncode == 2
    assert "--fresh" in done.stderr
    assert planned(tmp_path) == ROWS


def test_an_order_that_leaves_the_space_alone_is_refused_too(plan: Plan, tmp_path: Path) -> None:
    rows = CSV + "0.1,adam,\n1e-3,sgd,true\n"
    (tmp_path / "rows.csv").write_text(rows)
    assert plan().returncode == 0
    (tmp_path / "rows.csv").write_text(CSV + "1e-3,sgd,true\n0.1,adam,\n")
    assert plan().returncode == 2
    (tmp_path / "rows.csv").write_text(rows)
    assert plan().returncode == 0


def test_a_study_file_names_its_rows(cli: Callable[..., Any], plan: Plan, tmp_path: Path) -> None:
    folder = tmp_path / "studies"
    folder.mkdir()
    (tmp_path / "rows.csv").rename(folder / "rows.csv")
    (folder / "study.yaml").write_text("objective: train:objective\ntrials: rows.csv\n")
    done = cli("plan", "studies/study.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert planned(tmp_path) == ROWS


def test_jsonl_rows(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in ROWS) + "\n\n")
    assert list(read_rows(str(path))) == ROWS
    assert space_of(ROWS).parameters["nesterov"].grid(2) == [True, None]


def test_cells_keep_their_types(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('a,b,c,d,e\n1,1.0,"[1,2]","""x""",NULL\n')
    (row,) = read_rows(str(path))
    assert [repr(value) for value in row.values()] == ["1", "1.0", "'[1,2]'", "'\"x\"'", "'NULL'"]


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        ("rows.csv", "a,b\n1\n", "line 2: a row must have 2 cells"),
        ("rows.csv", "a,a\n1,2\n", "must name each parameter once"),
        ("rows.csv", "a,b\n", "at least one row"),
        ("rows.csv", "", "at least one row"),
        ("rows.jsonl", '{"a": 1}\n{"b": 1}\n', "line 2: a row must have the parameters of the first"),
        ("rows.jsonl", '{"a": [1]}\n', "line 1: a row must be an object of plain values"),
        ("rows.jsonl", "{\n", "line 1: a row must be JSON"),
    ],
)
def test_faults_name_the_line(tmp_path: Path, name: str, text: str, fault: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(InvalidStudy, match=fault):
        list(read_rows(str(path)))
