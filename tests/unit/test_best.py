"""The best parameters as arguments, variables and overrides, read back by a shell and by Hydra itself."""

from __future__ import annotations

import json
import shlex
import subprocess
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from autotune.cli.best import FORMATS, hydra_value
from autotune.errors import InvalidInput

PARAMS: dict[str, Any] = {"lr": 1e-05, "bs": 16, "model.name": "it's a $HOME `b\\`", "amp": True, "clip": None}

texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)


@given(st.one_of(texts, st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.booleans(), st.none()))
@example("it's")
@example("\\")
@example("\\'")
@example("a\\\\'b\\")
@example("null")
@example("True")
@example("-inf")
@example("8")
@example("1e5")
@example("")
@example("a,b")
@example("${x}")
def test_hydra_reads_each_value_back(value: Any) -> None:
    parser = pytest.importorskip("hydra.core.override_parser.overrides_parser").OverridesParser.create()
    override = parser.parse_override(f"key={hydra_value(value)}")
    assert not override.is_sweep_override()
    assert override.value() == value
    assert type(override.value()) is type(value)


def test_json_and_yaml_hold_the_values() -> None:
    assert json.loads(FORMATS["json"](PARAMS)) == PARAMS
    assert yaml.safe_load(FORMATS["yaml"]({**PARAMS, "lr": 0.5})) == {**PARAMS, "lr": 0.5}


def test_a_shell_reads_arguments_back() -> None:
    line = FORMATS["args"](PARAMS)
    words = subprocess.run(["bash", "-c", f"printf '%s\\0' {line}"], capture_output=True, text=True, check=True).stdout
    assert words.split("\0")[:-1] == [f"--{name}={value}" for name, value in PARAMS.items()]
    assert FORMATS["args"]({"lr": 1e-05, "bs": 16}) == "--lr=1e-05 --bs=16"  # nothing for $(...) to trip over


def test_a_shell_takes_variables_from_the_lines() -> None:
    lines = FORMATS["env"](PARAMS)
    assert not any(line.startswith("export") for line in lines.splitlines())
    script = f'{lines}\nprintf "%s\\0" "$lr" "$model_name" "$clip"'
    words = subprocess.run(["bash", "-euc", script], capture_output=True, text=True, check=True).stdout
    assert words.split("\0")[:-1] == ["1e-05", PARAMS["model.name"], "None"]
    assert FORMATS["env"]({"0 a": 1}) == "_0_a=1"


def test_hydra_overrides_are_single_words_for_a_shell() -> None:
    words = shlex.split(FORMATS["hydra"](PARAMS))
    assert words[:2] == ["lr=1e-05", "bs=16"]
    assert words[3:] == ["amp=true", "clip=null"]


def test_names_that_a_format_cannot_hold_are_refused() -> None:
    with pytest.raises(InvalidInput, match=r"'a.b' and 'a_b', both a_b"):
        FORMATS["env"]({"a.b": 1, "a_b": 2})
    with pytest.raises(InvalidInput, match="a Hydra key"):
        FORMATS["hydra"]({"a b": 1})
