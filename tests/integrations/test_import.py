"""Files of other programs as studies: written, sampled and judged by those programs themselves."""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from autotune.algorithms.random import RandomSearch
from autotune.config import StudyConfig
from autotune.errors import InvalidInput
from autotune.execution.command import Command
from autotune.integrations.convert import Reader, convert
from autotune.spaces import Params, SearchSpace
from autotune.study_file import load_config

pytestmark = pytest.mark.filterwarnings("ignore")  # of other programs, which tests turn into errors

SAMPLES = 200


def space_of(study: dict[str, Any]) -> SearchSpace:
    return SearchSpace.from_dict(study["space"], forbid=study.get("forbid", ()))


def samples(space: SearchSpace) -> list[Params]:
    searcher = RandomSearch(seed=1)
    searcher.reset(space, 1)
    return list(searcher.suggestions(space, SAMPLES))


def write(path: Path, content: Any) -> str:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


# Optuna


def test_optuna_distributions_are_a_space(tmp_path: Path) -> None:
    optuna = pytest.importorskip("optuna")
    known = optuna.distributions
    theirs = {
        "lr": known.FloatDistribution(1e-5, 1e-1, log=True),
        "dropout": known.FloatDistribution(0.0, 0.5),
        "momentum": known.FloatDistribution(0.1, 0.9, step=0.2),
        "layers": known.IntDistribution(1, 8),
        "width": known.IntDistribution(16, 1024, log=True),
        "batch": known.IntDistribution(8, 64, step=8),
        "optimizer": known.CategoricalDistribution(["sgd", "adam", None, True]),
        "fixed": known.IntDistribution(3, 3),
    }
    path = write(tmp_path / "space.json", {name: known.distribution_to_json(item) for name, item in theirs.items()})
    ours = space_of(convert(path).study)
    for params in samples(ours):
        for name, value in params.items():
            assert theirs[name]._contains(theirs[name].to_internal_repr(value)), (name, value)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    for _ in range(SAMPLES):
        params = study.ask(theirs).params
        params["momentum"] = round(params["momentum"], 9)  # Optuna's steps add up rounding errors
        assert ours.contains(params), params


# ConfigSpace


def test_configspace_is_a_space_with_conditions(tmp_path: Path) -> None:
    cs = pytest.importorskip("ConfigSpace")
    theirs = cs.ConfigurationSpace(seed=1)
    optimizer = cs.Categorical("optimizer", ["sgd", "adam", "lamb"])
    layers, lr = cs.Integer("layers", (1, 64), log=True), cs.Float("net:lr", (1e-5, 1e-1), log=True)
    size, momentum = cs.Categorical("size", ["s", "m", "l"], ordered=True), cs.Float("momentum", (0.0, 1.0))
    heads, width = cs.Integer("heads", (1, 8)), cs.Integer("width", (1, 8))
    theirs.add(optimizer, layers, lr, size, momentum, heads, width, cs.Constant("version", "v2"))
    theirs.add(
        cs.EqualsCondition(momentum, optimizer, "sgd"),
        cs.AndConjunction(
            cs.InCondition(heads, optimizer, ["adam", "lamb"]), cs.GreaterThanCondition(heads, size, "s")
        ),
    )
    theirs.add(
        cs.ForbiddenAndConjunction(
            cs.ForbiddenEqualsClause(optimizer, "adam"), cs.ForbiddenInClause(layers, [1, 2, 3, 4])
        ),
        cs.ForbiddenGreaterThanRelation(heads, width),
        cs.ForbiddenLessThanClause(lr, 1e-4),
    )
    path = tmp_path / "space.json"
    theirs.to_json(path)
    converted = convert(str(path))
    assert converted.notes == ["net:lr is named net_lr, for a condition uses it"]
    ours = space_of(converted.study)
    active = set()
    for params in samples(ours):
        values = {name.replace("net_lr", "net:lr"): value for name, value in params.items()}
        cs.Configuration(theirs, values=values).check_valid_configuration()
        active.add(frozenset(params))
    assert len(active) == 3, "momentum, heads, neither"
    for configuration in theirs.sample_configuration(SAMPLES):
        values = {name.replace("net:lr", "net_lr"): _python(value) for name, value in dict(configuration).items()}
        assert ours.contains(values), values


def _python(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


# Hydra

OVERRIDES = "lr=tag(log,interval(1e-5,1e-1)) bs=16,32 +depth=int(interval(1,4)) name='a b',c seed=range(1,10,3) fixed=7"


def test_hydra_overrides_are_a_space() -> None:
    hydra = pytest.importorskip("hydra")
    from hydra.core.config_store import ConfigStore

    study = convert(OVERRIDES).study
    space = space_of(study)
    assert space.parameters["seed"].grid(5) == [1, 4, 7]
    defaults = {"lr": 0.1, "bs": 8, "name": "x", "seed": 0, "fixed": 0}
    ConfigStore.instance().store(name="train", node=defaults)
    command = Command(study["command"], space.names)
    for params in samples(space)[:20]:
        overrides = command.argv(params, SimpleNamespace(seed=0, number=0, dir="."))[2:]  # after `python train.py`
        with hydra.initialize(version_base=None, config_path=None):
            assert dict(hydra.compose("train", overrides=overrides)) == params


def test_hydra_faults_are_sentences() -> None:
    pytest.importorskip("hydra")
    for text in ("lr=interval(1", "~lr=1", "lr=glob(*)", "lr=[1,2],[3]"):
        with pytest.raises(InvalidInput, match="overrides"):
            convert(text)


# W&B sweeps: that a sweep's program runs as it is, is seen in test_wandb_program.py

SWEEP = """
program: train.py
method: random
run_cap: 12
metric: {name: val/loss, goal: maximize}
parameters:
  constant: {value: 3}
  nothing: {value: null}
  choice: {values: [1, two, null, true]}
  int: {min: 1, max: 8}
  float: {min: 0.0, max: 0.5}
  int_uniform: {distribution: int_uniform, min: 2, max: 4}
  uniform: {distribution: uniform, min: -1, max: 1}
  q_uniform: {distribution: q_uniform, min: 0, max: 1, q: 0.1}
  log_uniform: {distribution: log_uniform, min: -9.2, max: -2.3}
  log_uniform_values: {distribution: log_uniform_values, min: 1e-5, max: 1e-1}
  q_log_uniform_values: {distribution: q_log_uniform_values, min: 8, max: 256, q: 8}
  inv_log_uniform: {distribution: inv_log_uniform, min: 2.3, max: 9.2}
  inv_log_uniform_values: {distribution: inv_log_uniform_values, min: 1e-4, max: 1e-1}
  normal: {distribution: normal, mu: 1, sigma: 2}
  log_normal: {distribution: log_normal, mu: -3, sigma: 1}
  optimizer:
    parameters:
      name: {values: [sgd, adam], probabilities: [0.9, 0.1]}
"""
EXPECTED_SPACE = {
    "constant": 3,
    "nothing": {"type": "choice", "options": [None]},
    "choice": {"type": "choice", "options": [1, "two", None, True]},
    "int": {"type": "int", "low": 1, "high": 9},
    "float": {"type": "uniform", "low": 0.0, "high": 0.5},
    "int_uniform": {"type": "int", "low": 2, "high": 5},
    "uniform": {"type": "uniform", "low": -1.0, "high": 1.0},
    "q_uniform": {"type": "uniform", "low": 0.0, "high": 1.0, "step": 0.1},
    "log_uniform": {"type": "loguniform", "low": math.exp(-9.2), "high": math.exp(-2.3)},
    "log_uniform_values": {"type": "loguniform", "low": 1e-5, "high": 1e-1},
    "q_log_uniform_values": {"type": "loguniform", "low": 8.0, "high": 256.0, "step": 8},
    "inv_log_uniform": {"type": "loguniform", "low": math.exp(-9.2), "high": math.exp(-2.3)},
    "inv_log_uniform_values": {"type": "loguniform", "low": 1e-4, "high": 1e-1},
    "normal": {"type": "normal", "mean": 1, "std": 2},
    "log_normal": {"type": "lognormal", "mean": -3, "std": 1},
    "optimizer.name": {"type": "choice", "options": ["sgd", "adam"]},
}


def test_wandb_sweep_is_a_study(tmp_path: Path) -> None:
    reader = Reader()
    config = load_config(write(tmp_path / "sweep.yaml", SWEEP), read=reader.read)
    assert (config.metric, config.mode, config.algo, config.max_trials) == ("val/loss", "max", "random", 12)
    assert config.space == EXPECTED_SPACE
    assert reader.notes == ["the probabilities of optimizer.name are not taken over: its values are equally likely"]
    assert all(
        params["q_uniform"] in [k / 10 for k in range(11)] for params in samples(space_of({"space": config.space}))
    )
    runs = Command(config.command or "", list(EXPECTED_SPACE))
    argv = runs.argv({"constant": 3}, SimpleNamespace(seed=0, number=0, dir="."))
    assert argv == shlex.split("python -m autotune.integrations.wandb_program --nested python train.py --constant=3")


def sweep(**keys: Any) -> dict[str, Any]:
    base = {
        "program": "train.py",
        "method": "grid",
        "metric": {"name": "loss"},
        "parameters": {"a": {"values": [1, 2]}},
    }
    return {**base, **keys}


def test_wandb_grid_has_all_its_points(tmp_path: Path) -> None:
    parameters = {"a": {"values": [1, 2]}, "b": {"min": 1, "max": 5}}
    assert convert(write(tmp_path / "sweep.json", sweep(parameters=parameters))).study["max_trials"] == 10
    capped = sweep(parameters=parameters, run_cap=4)
    assert convert(write(tmp_path / "sweep.json", capped)).study["max_trials"] == 4


def test_wandb_bayes_is_said_aloud(cli: Callable[..., Any], tmp_path: Path) -> None:
    path = write(tmp_path / "sweep.json", sweep(method="bayes", run_cap=2))
    assert convert(path).study["algo"] == "auto"
    done = cli("plan", "sweep.json", "--dry-run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "`bayes` is the searcher `auto`" in done.stderr


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["${env}", "python3", "-O", "${program}", "${args}"], "python3 -O train.py --a=1"),
        (["${interpreter}", "${program}", "fixed={x}", "${args_no_hyphens}"], "python train.py fixed={x} a=1"),
        (["bash", "a script.sh", "--file=${program}", "${args}"], "bash 'a script.sh' --file=train.py --a=1"),
    ],
)
def test_wandb_command(tmp_path: Path, command: list[str], expected: str) -> None:
    study = convert(write(tmp_path / "sweep.json", sweep(command=command))).study
    argv = Command(study["command"], ["a"]).argv({"a": 1}, SimpleNamespace(seed=0, number=0, dir="."))
    assert argv == ["python", "-m", "autotune.integrations.wandb_program", *shlex.split(expected)]


@pytest.mark.parametrize(
    ("keys", "fault"),
    [
        ({"method": "hyperopt"}, "`method` must be grid, random or bayes"),
        ({"command": ["${program}", "${args_json}"]}, "`command` must be made of"),
        ({"parameters": {"a": {"distribution": "beta", "a": 1, "b": 2}}}, "no form for the distribution beta"),
        ({"parameters": {"a": {"distribution": "unifrom", "min": 1, "max": 2}}}, "'unifrom'"),
        ({"parameters": {"a": {"min": 1}}}, "must have `value`, `values`, or `min` and `max`"),
        ({"parameters": {"a": {"distribution": "uniform", "min": 1}}}, "has no 'max'"),
        ({"parameters": {"a": [1, 2]}}, "must be a mapping"),
    ],
)
def test_wandb_faults_are_sentences(tmp_path: Path, keys: dict[str, Any], fault: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(fault)):
        convert(write(tmp_path / "sweep.json", sweep(**keys)))


# The command


def test_import_writes_a_study_that_plans(cli: Callable[..., Any], tmp_path: Path) -> None:
    write(tmp_path / "sweep.yaml", SWEEP)
    done = cli("import", "sweep.yaml", "--to", "study.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load((tmp_path / "study.yaml").read_text())["metric"] == "val/loss"
    direct = cli("plan", "sweep.yaml", "--log-dir", "direct", cwd=tmp_path)
    edited = cli("plan", "study.yaml", "--log-dir", "edited", cwd=tmp_path)
    assert direct.returncode == edited.returncode == 0, direct.stderr + edited.stderr
    for number in range(12):
        name = f"configs/trial_{number:05d}.json"
        assert (tmp_path / "direct" / name).read_bytes() == (tmp_path / "edited" / name).read_bytes()
    again = cli("import", "sweep.yaml", "--to", "study.yaml", cwd=tmp_path)
    assert again.returncode == 2
    assert "must be a new file" in again.stderr


def test_a_space_of_another_program_is_a_space(cli: Callable[..., Any], tmp_path: Path) -> None:
    distribution = {"name": "IntDistribution", "attributes": {"low": 1, "high": 3, "step": 1, "log": False}}
    write(tmp_path / "space.json", {"layers": distribution})
    (tmp_path / "train.py").write_text("def objective(params, trial):\n    return params['layers']\n")
    done = cli("plan", "--space", "space.json", "--objective", "train:objective", "--algo", "grid", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("3 trials planned")


def test_a_study_of_our_own_needs_no_import(cli: Callable[..., Any], tmp_path: Path, write_study: Any) -> None:
    write_study(tmp_path)
    done = cli("import", "study.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert "needs no import" in done.stderr


def test_an_own_study_is_read_as_it_is(tmp_path: Path) -> None:
    path = write(tmp_path / "study.json", {"objective": "train:objective", "space": {"x": [1, 2]}})
    assert load_config(path, read=Reader().read) == StudyConfig(objective="train:objective", space={"x": [1, 2]})
