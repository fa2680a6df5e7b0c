"""Searchers that learn: that they do, from every kind of outcome, and what they say where they cannot."""

from __future__ import annotations

import itertools
import math
import random
import statistics
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from autotune.algorithms import load_searcher, searcher_name, searcher_options
from autotune.algorithms.auto import rounds, targets
from autotune.algorithms.auto.acquisition import log_improvement
from autotune.algorithms.auto.coding import Coding
from autotune.algorithms.auto.process import _negative_log_likelihood, fit
from autotune.errors import InvalidStudy
from autotune.history import Observation
from autotune.spaces import Choice, LogUniform, Params, SearchSpace, Uniform

SPACE = SearchSpace(
    {
        "family": Choice(["a", "b", "c"]),
        "lr": LogUniform(1e-5, 1.0),
        "x": Uniform(0.0, 1.0),
        "momentum": Uniform(0.0, 1.0, when="family == 'a'"),
    }
)
Value = tuple[float, ...] | None


def bowl(params: Params) -> Value:
    lr, x, momentum = (float(params.get(name, 0.5)) for name in ("lr", "x", "momentum"))  # type: ignore[arg-type]
    return ((math.log10(lr) + 3) ** 2 / 4 + (x - 0.3) ** 2 + (momentum - 0.8) ** 2 + (params["family"] != "a"),)


def search(name: str, evaluate: Callable[[Params], Value], batches: int = 6, n: int = 8) -> list[Observation]:
    """Run a study in memory, with a fresh searcher each round."""
    history: list[Observation] = []
    for _ in range(batches):
        searcher = load_searcher(name)
        searcher.reset(SPACE, 7)
        batch = [(params, evaluate(params)) for params in searcher.propose(history, n)]  # type: ignore[attr-defined]
        for params, values in batch:
            state = "infeasible" if values is None else "complete"
            history.append(Observation(len(history), params, state, values))
    return history


def reset_and_propose(searcher: Any, history: list[Observation]) -> list[Params]:
    searcher.reset(SPACE, 0)
    return list(searcher.propose(history, 2))


def values(history: list[Observation]) -> list[float]:
    return [item.values[0] for item in history if item.values is not None]


# What they learn from


@pytest.mark.parametrize("name", ["auto", "tpe", "cmaes"])
def test_it_learns_from_values(name: str) -> None:
    seen = values(search(name, bowl, 8))
    assert statistics.mean(seen[16:40]) < 0.85 * statistics.mean(seen[:16])


def test_auto_finds_the_bowl_where_random_does_not() -> None:
    draw = load_searcher("random")
    draw.reset(SPACE, 7)
    random_best = min(bowl(params)[0] for params in draw.suggestions(SPACE, 64))  # type: ignore[index]
    assert min(values(search("auto", bowl, 8))) < 0.25 * random_best


@pytest.mark.parametrize("name", ["auto", "tpe"])
def test_it_avoids_a_region_that_does_not_fit(name: str) -> None:
    """Where it lies plays no part in the values, so that only the states of the trials speak against it."""
    history = search(name, lambda params: (math.log(params["lr"]),) if params["x"] < 0.5 else None, 8)  # type: ignore[arg-type, operator]
    late = [item.values is not None for item in history[-24:]]
    assert sum(late) >= 18


def test_auto_finds_a_feasible_corner_before_it_has_values() -> None:
    history = search("auto", lambda params: (1.0,) if float(params["x"]) > 0.9 else None, 6)  # type: ignore[arg-type]
    assert sum(item.values is not None for item in history) >= 10  # of 48, where chance finds 5


@pytest.mark.parametrize("name", ["auto", "tpe"])
def test_running_trials_are_pending(name: str) -> None:
    known = search(name, bowl, 3)
    searcher = load_searcher(name)
    searcher.reset(SPACE, 7)
    first = searcher.propose(known, 4)  # type: ignore[attr-defined]
    pending = [Observation(len(known) + i, params, None) for i, params in enumerate(first)]
    second = searcher.propose([*known, *pending], 4)  # type: ignore[attr-defined]
    assert not [params for params in second if params in first]


def test_a_batch_of_auto_is_diverse() -> None:
    history = search("auto", bowl, 3)
    batch = Coding(SPACE).coordinates([item.params for item in history[-8:]])
    gaps = [np.nanmax(np.abs(a - b)) for a, b in itertools.combinations(batch, 2)]
    assert min(gaps) > 1e-4
    assert max(gaps) > 0.2


@pytest.mark.parametrize("name", ["auto", "nsga2", "tpe"])
def test_several_objectives_are_traded_off(name: str) -> None:
    def two(params: Params) -> Value:
        x = float(params["x"])  # type: ignore[arg-type]
        return (x, (1.0 - x) ** 2 + (params["family"] != "b"))

    history = search(name, two, 5)
    front = [item for item in history if item.params["family"] == "b"]
    xs = [float(item.params["x"]) for item in front]  # type: ignore[arg-type]
    assert max(xs) - min(xs) > 0.5


# Optuna's samplers by name


def test_cmaes_refuses_several_objectives_in_a_sentence() -> None:
    history = [
        Observation(i, params, "complete", (1.0, 2.0)) for i, params in enumerate(SPACE.sample(random.Random(0), 3))
    ]
    searcher = load_searcher("cmaes")
    with pytest.raises(
        InvalidStudy, match=r"optuna:CmaEsSampler must suit the study and its options, but it says: .*multi"
    ):
        reset_and_propose(searcher, history)


def test_names_and_options_round_trip() -> None:
    searcher = load_searcher("optuna:TPESampler", {"n_startup_trials": 3})
    assert (searcher_name(searcher), searcher_options(searcher)) == ("tpe", {"n_startup_trials": 3})
    assert searcher_name(load_searcher("optuna:QMCSampler")) == "optuna:QMCSampler"
    assert load_searcher("tpe", searcher_options(searcher)) == searcher


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("optuna:TPESampel", {}, "must be followed by a sampler of Optuna's, got 'TPESampel'; .*TPESampler"),
        ("tpe", {"startup": 3}, "optuna:TPESampler must be given options that it takes, got {'startup': 3}"),
        ("cmaes", {"popsize": -1}, "but it says: popsize must be non-zero positive"),
    ],
)
def test_what_optuna_does_not_take_is_a_sentence(name: str, options: dict[str, object], message: str) -> None:
    searcher = load_searcher(name, options)
    history = [Observation(0, SPACE.from_unit([0.5] * 4), "complete", (1.0,))]
    with pytest.raises(InvalidStudy, match=message):
        reset_and_propose(searcher, history * 2)


def test_a_missing_optuna_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(InvalidStudy, match=r"needs Optuna, .*; pip install 'autotune\[optuna\]'"):
        load_searcher("tpe").reset(SPACE, 0)


def test_naming_a_searcher_imports_neither_optuna_nor_numpy() -> None:
    code = (
        "import sys; from autotune.algorithms import load_searcher; load_searcher('tpe'); load_searcher('auto'); "
        "print({'optuna', 'numpy', 'scipy'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "set()", done.stdout + done.stderr


# The parts of auto


def test_the_slope_of_the_likelihood_is_that_of_its_differences() -> None:
    rng = np.random.default_rng(0)
    points, seen = rng.random((12, 3)), rng.standard_normal(12)
    gaps = np.stack([(points[:, None, axis] - points[None, :, axis]) ** 2 for axis in range(3)])
    theta = np.array([-0.5, 0.2, 0.3, 0.1, -2.0])
    _, slope = _negative_log_likelihood(theta, gaps, seen)
    for place in range(5):
        step = np.eye(5)[place] * 1e-5
        up, down = (_negative_log_likelihood(theta + sign * step, gaps, seen)[0] for sign in (1, -1))
        assert slope[place] == pytest.approx((up - down) / 2e-5, rel=1e-4, abs=1e-6)


def test_a_process_knows_its_values_and_doubts_elsewhere() -> None:
    points = np.linspace(0, 1, 9)[:, None]
    seen = targets.power(np.sin(6 * points[:, 0]))
    process = fit(points, seen, np.array([0]))
    mean, deviation = process.predict(points)
    assert np.abs(mean - seen).max() < 0.2
    assert process.predict(np.array([[3.0]]))[1] > 5 * deviation.max()
    taught = process.given(np.array([[3.0]]), np.array([2.0]))
    assert taught.predict(np.array([[3.0]]))[0] == pytest.approx(2.0, abs=0.2)


def test_improvement_is_the_formula_and_keeps_its_order_where_that_is_zero() -> None:
    z = np.array([-0.99, 0.0, 2.0])
    density, share = (
        np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi),
        np.array([math.erfc(-v / math.sqrt(2)) / 2 for v in z]),
    )
    assert log_improvement(-z, np.ones(3), 0.0) == pytest.approx(np.log(density + z * share))
    far = log_improvement(np.array([5.0, 20.0, 40.0, 80.0]), np.ones(4), 0.0)
    assert np.isfinite(far).all() and (np.diff(far) < 0).all()


def test_options_are_equally_far_apart_and_numbers_are_in_order() -> None:
    coding = Coding(SearchSpace({"kind": Choice(["a", "b", "c"]), "block": Choice([16, 32, 64])}))
    assert coding.unordered.tolist() == [True, False]
    features = coding.features(coding.coordinates([{"kind": k, "block": 16} for k in "abc"]))
    gaps = [np.linalg.norm(a - b) for a, b in itertools.combinations(features, 2)]
    assert gaps == pytest.approx([1.0] * 3)
    features = coding.features(coding.coordinates([{"kind": "a", "block": b} for b in (16, 32, 64)]))
    assert np.linalg.norm(features[0] - features[2]) == pytest.approx(2 * np.linalg.norm(features[0] - features[1]))


def test_one_diverged_loss_does_not_hide_the_others() -> None:
    seen = targets.power(np.array([1.0, 2.0, 3.0, 4.0, 1e300]))
    assert np.diff(seen[:4]).min() > 0.05


def test_a_long_history_is_thinned_to_the_best_and_some_others() -> None:
    many = [Observation(i, {"x": i / 2000}, "complete", (abs(i - 1000.0),)) for i in range(2000)]
    kept = rounds._thinned(many, np.random.default_rng(0))
    assert len(kept) == rounds.MOST_TRIALS
    assert {item.number for item in kept} >= set(range(950, 1050))
