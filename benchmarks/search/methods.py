"""The methods of the search benchmark: each is asked for a batch of points and told what they cost.

All see the same: the space in its own terms (logarithms, integers, ordered and unordered choices), batches, a seed. A
peer that knows no infeasible points is told the worst value so far for them, which is what its users do. Each is
imported where it is made; HEBO and Ax live in environments of their own (see run.py).
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

Params = dict[str, Any]
Specs = dict[str, dict[str, Any]]


class Method(Protocol):
    """One run of a method."""

    def ask(self, n: int) -> list[Params]:
        """Return the next batch."""

    def tell(self, batch: list[Params], values: Sequence[float | None]) -> None:
        """Take the batch's values; None is infeasible."""


@dataclass
class Autotune:
    """A searcher of this package; a fresh one each round, as each round of a study has a process of its own."""

    name: str
    specs: Specs
    seed: int
    history: list[Any] = field(default_factory=list)

    def ask(self, n: int) -> list[Params]:
        from itertools import islice

        from autotune.algorithms import load_searcher
        from autotune.spaces import SearchSpace

        searcher: Any = load_searcher(self.name)
        space = SearchSpace.from_dict(self.specs)
        searcher.reset(space, self.seed)
        if hasattr(searcher, "propose"):
            return [getattr(point, "params", point) for point in searcher.propose(self.history, n)]
        known = len(self.history)
        return list(islice(searcher.suggestions(space, known + n), known, known + n))

    def tell(self, batch: list[Params], values: Sequence[float | None]) -> None:
        from autotune.history import Observation

        for params, value in zip(batch, values, strict=True):
            state = "infeasible" if value is None else "complete"
            told = None if value is None else (value,)
            self.history.append(Observation(len(self.history), params, state, told))


@dataclass
class Penalised:
    """Stands before a peer that takes numbers only: an infeasible point costs as much as the worst seen."""

    peer: Method
    worst: float = float("-inf")
    waiting: list[Params] = field(default_factory=list)

    def ask(self, n: int) -> list[Params]:
        return self.peer.ask(n)

    def tell(self, batch: list[Params], values: Sequence[float | None]) -> None:
        self.worst = max([self.worst, *(value for value in values if value is not None)])
        worst = self.worst if self.worst > float("-inf") else 1e6  # nothing feasible yet
        self.peer.tell(batch, [worst if value is None else value for value in values])


class Optuna:
    """A sampler of Optuna's through ask and tell, a batch asked for before any of it is told."""

    def __init__(self, make: Callable[[int], Any], specs: Specs, seed: int) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.simplefilter("ignore")
        self.study = optuna.create_study(sampler=make(seed))
        self.specs = specs
        self.distributions = {name: self._distribution(spec) for name, spec in specs.items()}
        self.trials: list[Any] = []

    @staticmethod
    def _distribution(spec: dict[str, Any]) -> Any:
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if spec["type"] == "choice":
            last = len(spec["options"]) - 1
            return IntDistribution(0, last) if spec.get("ordered") else CategoricalDistribution(spec["options"])
        if spec["type"] == "int":
            return IntDistribution(spec["low"], spec["high"] - 1)
        return FloatDistribution(spec["low"], spec["high"], log=spec["type"] == "loguniform")

    def ask(self, n: int) -> list[Params]:
        self.trials = [self.study.ask(self.distributions) for _ in range(n)]
        return [
            {
                name: self.specs[name]["options"][value] if self.specs[name].get("ordered") else value
                for name, value in trial.params.items()
            }
            for trial in self.trials
        ]

    def tell(self, batch: list[Params], values: Sequence[float | None]) -> None:
        for trial, value in zip(self.trials, values, strict=True):
            self.study.tell(trial, value)


class Hebo:
    """HEBO (Cowen-Rivers et al. 2022), its defaults."""

    def __init__(self, specs: Specs, seed: int) -> None:
        import numpy as np

        if not hasattr(np, "row_stack"):  # gone since NumPy 2.5; pymoo 0.6.1 calls it
            np.row_stack = np.vstack
        from hebo.design_space.design_space import DesignSpace
        from hebo.optimizers.hebo import HEBO

        warnings.simplefilter("ignore")
        _seed_everything(seed)
        self.specs = specs
        self.optimizer = HEBO(DesignSpace().parse([self._entry(n, s) for n, s in specs.items()]), scramble_seed=seed)

    @staticmethod
    def _entry(name: str, spec: dict[str, Any]) -> dict[str, Any]:
        if spec["type"] == "choice" and not spec.get("ordered"):
            return {"name": name, "type": "cat", "categories": list(range(len(spec["options"])))}
        if spec["type"] == "choice":
            return {"name": name, "type": "int", "lb": 0, "ub": len(spec["options"]) - 1}
        if spec["type"] == "int":
            return {"name": name, "type": "int", "lb": spec["low"], "ub": spec["high"] - 1}
        kind = "pow" if spec["type"] == "loguniform" else "num"
        return {"name": name, "type": kind, "lb": spec["low"], "ub": spec["high"]}

    def ask(self, n: int) -> list[Params]:
        self.frame = self.optimizer.suggest(n_suggestions=n)
        return [{name: self._value(name, row[name]) for name in self.specs} for row in self.frame.to_dict("records")]

    def _value(self, name: str, value: Any) -> Any:
        spec = self.specs[name]
        if spec["type"] == "choice":
            return spec["options"][int(value)]
        return int(value) if spec["type"] == "int" else min(max(float(value), spec["low"]), spec["high"])

    def tell(self, batch: list[Params], values: Sequence[float | None]) -> None:
        import numpy as np

        self.optimizer.observe(self.frame, np.array(values, dtype=float).reshape(-1, 1))


class Ax:
    """Ax's client with its default strategy; it is told of infeasible points as failed trials."""

    def __init__(self, specs: Specs, seed: int) -> None:
        import logging

        from ax.api.client import Client

        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        self.specs = specs
        self.client = Client(random_seed=seed)
        self.client.configure_experiment(parameters=[self._config(name, spec) for name, spec in specs.items()])
        self.client.configure_optimization(objective="-loss")
        self.indices: list[int] = []

    @staticmethod
    def _config(name: str, spec: dict[str, Any]) -> Any:
        from ax.api.configs import ChoiceParameterConfig, RangeParameterConfig

        if spec["type"] == "choice":
            # Indices: Ax takes options of one type only.
            ordered = bool(spec.get("ordered"))
            values = list(range(len(spec["options"])))
            return ChoiceParameterConfig(name=name, parameter_type="int", values=values, is_ordered=ordered)
        if spec["type"] == "int":
            return RangeParameterConfig(name=name, parameter_type="int", bounds=(spec["low"], spec["high"] - 1))
        scaling = "log" if spec["type"] == "loguniform" else "linear"
        bounds = (spec["low"], spec["high"])
        return RangeParameterConfig(name=name, parameter_type="float", bounds=bounds, scaling=scaling)

    def ask(self, n: int) -> list[Params]:
        batch: list[Params] = []
        self.indices = []
        while len(batch) < n:  # it may give fewer than asked for
            for index, params in self.client.get_next_trials(max_trials=n - len(batch)).items():
                self.indices.append(index)
                batch.append({name: self._value(name, value) for name, value in params.items()})
        return batch

    def _value(self, name: str, value: Any) -> Any:
        spec = self.specs[name]
        return spec["options"][value] if spec["type"] == "choice" else value

    def tell(self, batch: list[Params], values: Sequence[float | None]) -> None:
        for index, value in zip(self.indices, values, strict=True):
            if value is None:
                self.client.mark_trial_failed(index)
            else:
                self.client.complete_trial(index, raw_data={"loss": value})


def _seed_everything(seed: int) -> None:
    import random

    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed)  # HEBO draws from the global generators
    torch.manual_seed(seed)


def _tpe(seed: int) -> Any:
    import optuna

    return optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)


def _gp(seed: int) -> Any:
    import optuna

    return optuna.samplers.GPSampler(seed=seed)


def _cmaes(seed: int) -> Any:
    import optuna

    return optuna.samplers.CmaEsSampler(seed=seed)


def _optuna(make: Callable[[int], Any], specs: Specs, seed: int) -> Method:
    return Penalised(Optuna(make, specs, seed))


METHODS: dict[str, Callable[[Specs, int], Method]] = {
    "auto": functools.partial(Autotune, "auto"),
    "random": functools.partial(Autotune, "random"),
    "sobol": functools.partial(Autotune, "sobol"),
    "tpe": functools.partial(Autotune, "tpe"),
    "optuna-tpe": functools.partial(_optuna, _tpe),
    "optuna-gp": functools.partial(_optuna, _gp),
    "optuna-cmaes": functools.partial(_optuna, _cmaes),
    "hebo": lambda specs, seed: Penalised(Hebo(specs, seed)),
    "hebo-pinned": lambda specs, seed: Penalised(Hebo(specs, seed)),  # with the versions that it was made for
    "ax": Ax,
}
APART = ("hebo", "hebo-pinned", "ax")  # in environments of their own
