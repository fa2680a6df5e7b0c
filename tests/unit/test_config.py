from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.config import StudyConfig, described, json_schema, kinds
from autotune.errors import InvalidStudy
from autotune.options import Number, OneOf, OneOrMore, Table, Text, YesNo
from autotune.study_file import load_config


def write(folder: Path, **options: Any) -> str:
    path = folder / "study.json"
    path.write_text(json.dumps(options))
    return str(path)


def answer(call: Callable[[], Any]) -> Any:
    """Return what a call returns, or the InvalidStudy that it raises."""
    try:
        return call()
    except InvalidStudy as error:
        return error


def test_defaults_are_valid_and_described() -> None:
    config = StudyConfig()
    assert (config.metric, config.mode, config.max_trials, config.log_dir) == ("loss", "min", 20, ".autotune")
    assert [name for name, *_ in described()] == list(kinds())
    assert all(help_ and not help_.endswith(".") for _, _, help_, _ in described())
    assert set(json_schema()["properties"]) == set(kinds())


@pytest.mark.parametrize("value", [0, -1, 2.5, "abc", True, None, float("nan"), float("inf"), [3]])
def test_a_whole_number_of_at_least_one(value: object) -> None:
    with pytest.raises(InvalidStudy, match=r"^here must be an integer of at least 1, got .*; for example 1$"):
        Number(low=1, whole=True).check(value, "here")


def test_numbers_may_be_whole_floats_and_words() -> None:
    kind = Number(low=1, whole=True, word="auto")
    assert (kind.check(3.0, ""), type(kind.check(3.0, ""))) == (3, int)
    assert kind.check("auto", "") == "auto"
    assert Number(whole=True).check(10**400, "") == 10**400  # beyond any float, and yet an integer
    with pytest.raises(InvalidStudy, match="above 0"):
        Number(exclusive=True).check(0, "here")


@given(
    st.text()
    | st.integers()
    | st.floats()
    | st.none()
    | st.lists(st.integers())
    | st.dictionaries(st.text(), st.text())
)
def test_a_kind_accepts_or_refuses_and_does_nothing_else(value: object) -> None:
    plain = (Text(), Number(), Number(whole=True), OneOf(("a", "b")), YesNo(), OneOrMore(Number()), OneOrMore(Text()))
    for kind in (*plain, Table(), Table((("a", Number()),))):
        checked = answer(lambda kind=kind: kind.check(value, "here"))
        if isinstance(checked, InvalidStudy):
            assert str(checked).startswith("here")
        else:
            assert kind.check(checked, "here") == checked


@given(st.text())
def test_any_flag_is_parsed(text: str) -> None:
    for kind in kinds().values():
        checked = answer(lambda kind=kind: kind.check(kind.parse(text), "--flag"))
        assert not isinstance(checked, InvalidStudy) or str(checked).startswith("--flag")


def test_flags_win_over_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, max_trials=3, seed=1, resources={"cpus": 2, "mem_mb": 10}, objective="a:b")
    config = load_config(path, {"max_trials": "7", "resources": "cpus=4", "command": "train"})
    assert (config.max_trials, config.seed) == (7, 1)
    assert config.resources == {"cpus": 4, "mem_mb": 10}
    assert (config.objective, config.command) == (None, "train")
    assert config.resource("gpus") == 0


def test_the_space_may_be_a_file_beside_the_study(tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text("x: [1, 2]\n")
    assert load_config(write(tmp_path, space="space.yaml")).space == {"x": [1, 2]}
    other = tmp_path / "other.yaml"
    other.write_text("metric: loss\nspace: {y: [3]}\n")  # a whole study serves as well
    assert load_config(None, {"space": str(other)}).space == {"y": [3]}
    one = tmp_path / "one.yaml"
    one.write_text("space: {type: choice, options: [1]}\n")  # a parameter that is called `space`
    assert load_config(None, {"space": str(one)}).space == {"space": {"type": "choice", "options": [1]}}


def test_what_ties_parameters_together_comes_with_their_file(tmp_path: Path) -> None:
    rules = "forbid: ['x + y > 4']\nzip: [[x, y]]\n"
    (tmp_path / "space.yaml").write_text("space: {x: [1, 2], y: [3, 4]}\n" + rules)
    config = load_config(write(tmp_path, space="space.yaml"))
    assert (config.space, config.forbid, config.zip) == ({"x": [1, 2], "y": [3, 4]}, ["x + y > 4"], [["x", "y"]])
    other = tmp_path / "other.yaml"
    other.write_text("y: [3]\n")
    config = load_config(write(tmp_path, space="space.yaml"), {"space": str(other)})
    assert (config.space, config.forbid, config.zip) == ({"y": [3]}, [], [])  # they were of the other space
    config = load_config(write(tmp_path, space="space.yaml"), {"forbid": '["x > 1"]'})
    assert config.forbid == ["x > 1"]
    (tmp_path / "space.yaml").write_text("space: {x: [1, 2]}\nforbid: x > 1\n")
    with pytest.raises(InvalidStudy, match="`forbid` must be a list, got 'x > 1'"):
        load_config(write(tmp_path, space="space.yaml"))


def test_null_is_not_given(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, seed=None, max_trials=None)) == StudyConfig()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"metrc": "a"}, r"there is no option 'metrc'; did you mean 'metric'\?"),
        ({"objective": "a:b", "command": "c"}, "got both"),
        ({"trial_timeout": 1, "isolation": "none"}, "needs a process to end"),
        ({"attempts": 2, "on_failure": "rerun"}, "on_failure: record"),
        ({"log_dir": "a{b}"}, "no braces"),
        ({"resources": {"cpus": 0}}, "cpus must be an integer of at least 1"),
    ],
)
def test_what_cannot_work_together_is_refused(options: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidStudy, match=says):
        load_config(write(tmp_path, **options))
