"""What a plan says of its space, and that conditions and forbidden points belong to the study."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autotune.spaces import Choice, IntRange, SearchSpace, Uniform
from autotune.spaces.coverage import cover, feasible_part

SPACE = SearchSpace(
    {
        "optimizer": Choice(["adam", "sgd"]),
        "momentum": Uniform(0, 1, when="optimizer == 'sgd'"),
        "x": Uniform(0, 1),
        "n": IntRange(0, 10),
    },
    forbid=["x > 0.75"],
)
RULES: dict[str, Any] = {
    "space": {
        "x": {"type": "uniform", "low": 0.0, "high": 1.0},
        "optimizer": ["adam", "sgd"],
        "momentum": {"type": "uniform", "low": 0, "high": 1, "when": "optimizer == 'sgd'"},
        "tp": [1, 2, 4],
        "pp": [1, 2, 4],
        "width": [8, 16],
        "depth": [2, 3],
    },
    "forbid": ["tp * pp > 4"],
    "zip": [["width", "depth"]],
}


def test_the_feasible_part_and_how_often_a_parameter_is_active() -> None:
    part, active = feasible_part(SPACE)
    assert part == pytest.approx(0.75, abs=0.02)
    assert active == {"optimizer": 1.0, "momentum": pytest.approx(0.5, abs=0.03), "x": 1.0, "n": 1.0}
    assert feasible_part(SPACE) == (part, active)


def test_what_points_cover() -> None:
    points: list[Any] = [
        {"optimizer": "adam", "x": 0.0, "n": 1},
        {"optimizer": "sgd", "momentum": 0.99, "x": 0.01, "n": 1},
        {"optimizer": "sgd", "momentum": 0.5, "x": 0.5, "n": 9},
    ]
    rows = {row.name: row for row in cover(SPACE, points, dict.fromkeys(SPACE.names, 1.0))}
    assert rows["optimizer"].counts == {"adam": 1, "sgd": 2}
    assert [(row.covered, row.parts) for row in rows.values()] == [(2, 2), (2, 16), (2, 16), (2, 10)]


def test_it_takes_less_than_two_seconds() -> None:
    space = SearchSpace(
        {f"p{i}": Uniform(0, 1, when=f"p{i - 1} > 0.2" if i else None) for i in range(10)},
        forbid=["p0 + p1 > 1.8", "p2 * p3 > 0.9", "p4 > 0.99 and p0 < 0.5"],
    )
    started = time.process_time()
    feasible_part(space)
    assert time.process_time() - started < 2


def test_plan_says_what_is_feasible_and_covered(
    cli: Callable[..., Any], write_study: Callable[..., Path], tmp_path: Path
) -> None:
    write_study(tmp_path, max_trials=12, **RULES)
    dry = cli("plan", "study.yaml", "--dry-run")
    done = cli("plan", "study.yaml")
    again = cli("plan", "study.yaml")
    for run in (dry, done, again):
        assert run.returncode == 0, run.stderr
        lines = [line.split() for line in run.stdout.splitlines()]
        assert lines[1][0] == "feasible:"
        assert ["parameter", "active", "covered", "trials"] in lines
        assert any(line[:2] == ["x", "100%"] and line[3:] == ["of", "16", "parts"] for line in lines)
    assert dry.stdout.splitlines()[1:-2] == done.stdout.splitlines()[1:-1] == again.stdout.splitlines()[1:-1]
    study = json.loads((tmp_path / ".autotune/study.json").read_text())
    assert (study["forbid"], study["zip"]) == (RULES["forbid"], RULES["zip"])
    trials = [json.loads(path.read_text())["params"] for path in (tmp_path / ".autotune/configs").iterdir()]
    assert {"momentum" in params for params in trials} == {True, False}
    assert all(("momentum" in params) == (params["optimizer"] == "sgd") for params in trials)
    assert {(params["width"], params["depth"]) for params in trials} == {(8, 2), (16, 3)}


def test_a_plain_space_is_covered_on_demand(
    cli: Callable[..., Any], write_study: Callable[..., Path], tmp_path: Path
) -> None:
    write_study(tmp_path)
    assert "feasible" not in cli("plan", "study.yaml").stdout
    assert "feasible: 100.0% of the space" in cli("plan", "study.yaml", "--coverage").stdout
    study = json.loads((tmp_path / ".autotune/study.json").read_text())
    assert not {"forbid", "zip"} & study.keys()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"forbid": ["tp * pp > 2"]}, 'the forbid changed from ["tp * pp > 4"] to ["tp * pp > 2"]'),
        ({"zip": []}, 'the zip changed from [["width","depth"]] to null'),
        ({"forbid": ["tp > 0"]}, "a space must have feasible points, but none of"),
        ({"forbid": ["tpp > 0"]}, "study.yaml: `forbid`: `tpp > 0` must name parameters, got 'tpp'"),
        (
            {"objective": None, "command": "train {momentum}"},
            "`command` must not use {momentum}, a parameter with `when`",
        ),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(
    cli: Callable[..., Any], write_study: Callable[..., Path], tmp_path: Path, keys: dict[str, Any], message: str
) -> None:
    write_study(tmp_path, **RULES)
    assert cli("plan", "study.yaml").returncode == 0
    before = (tmp_path / ".autotune/study.json").read_bytes()
    write_study(tmp_path, **{**RULES, **keys})
    done = cli("plan", "study.yaml")
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert (tmp_path / ".autotune/study.json").read_bytes() == before
