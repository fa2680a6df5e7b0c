"""How much each parameter matters, by PED-ANOVA (Watanabe et al. 2023, arXiv:2304.10255) as Optuna has it."""

from __future__ import annotations

from typing import Any

from autotune.algorithms.optuna_samplers import quiet
from autotune.integrations import library
from autotune.integrations.optuna import distribution_of
from autotune.objectives import directed_values, objectives_of
from autotune.report.data import Data

FEWEST = 20  # trials: PED-ANOVA compares the best tenth of them with all


def importances(data: Data) -> dict[str, dict[str, float]]:
    """Return metric -> parameter -> importance for that metric; the importances of one metric add up to 1.

    Raises:
        InvalidInput: Optuna is not installed; the sentence says what to install.
    """
    optuna = library("optuna", "optuna")
    found = {}
    with quiet():
        metrics = [name for name, _ in objectives_of(data.study)]
        study = optuna.create_study(directions=["minimize"] * len(metrics))
        study.add_trials(_trials(optuna, data))
        for place, metric in enumerate(metrics):
            found[metric] = optuna.importance.get_param_importances(
                study,
                evaluator=optuna.importance.PedAnovaImportanceEvaluator(),
                params=data.parameters(),
                target=lambda trial, place=place: trial.values[place],
            )
    return found


def _trials(optuna: Any, data: Data) -> list[Any]:
    """Return the candidates as Optuna's trials, each value to be minimised."""
    distributions = {}
    for name in data.parameters():
        given = [result.params[name] for result in data.candidates if name in result.params]
        distributions[name] = distribution_of(optuna.distributions, data.snapshot.parameters[name], given)
    return [
        optuna.trial.create_trial(
            values=directed_values(data.study, result.metrics),
            params={name: value for name, value in result.params.items() if name in distributions},
            distributions={name: item for name, item in distributions.items() if name in result.params},
        )
        for result in data.candidates
    ]
