"""The samplers of Optuna, as searchers: `tpe`, `gp`, `cmaes`, `nsga2`, and any other as `optuna:<Sampler>`.

Optuna's study is rebuilt in memory each round; no storage of Optuna's is used. An axis of the space is a parameter of
Optuna's, in unit coordinates or as the place among equally likely values, so that every kind of parameter works.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, ClassVar, final

from autotune.algorithms import check_reset, check_seed, room, unseen, was_reset
from autotune.errors import AutotuneError, InvalidStudy, nearest
from autotune.files import canonical
from autotune.history import Observation
from autotune.spaces import Choice, Parameter, Params, SearchSpace

if TYPE_CHECKING:
    import optuna

# What these say depends on nothing but the trials; any other sampler is taken through the whole study again, since it
# keeps a state beside the trials (CMA-ES its distribution, NSGA-II its generations).
_STATELESS = {"TPESampler", "GPSampler", "RandomSampler"}
_MOST_PLACES = 10_000  # of an axis that Optuna is to see as an integer
_TRIES = 4  # a proposal, at points that are new and allowed, before random ones stand in
_NO_VALUE = 1.0  # for trials without values, where no trial has any


@final
@dataclass
class OptunaSearch:
    """A sampler of Optuna's (Akiba et al. 2019, KDD, 2623-2631), by its name, with the options it takes.

    What became of each trial counts: an infeasible or failed one has the worst values seen, and breaks a constraint
    (for samplers that know those); a pruned one has what it reported; one that still runs is pending.
    """

    prefix_stable: ClassVar[bool] = False
    uses_seed: ClassVar[bool] = True
    sampler: str = "TPESampler"
    options: dict[str, Any] = field(default_factory=dict)
    _space: SearchSpace | None = field(default=None, init=False, repr=False, compare=False)
    _seed: int = field(default=0, init=False, repr=False, compare=False)

    def reset(self, space: SearchSpace, seed: int) -> None:
        """Start from the beginning.

        Raises:
            InvalidStudy: the seed is not an integer of at least 0, Optuna is missing, or has no such sampler.
        """
        check_seed(seed)
        self._space, self._seed = space, seed
        self._sampler(space, 0)

    def suggestions(self, space: SearchSpace, max_trials: int) -> Iterator[Params]:
        """Return what it proposes before anything is known; InvalidStudy where `reset` was not given this space."""
        check_reset(space, self._space)
        return iter(self.propose([], max_trials))

    def propose(self, history: Sequence[Observation], n: int) -> list[Params]:
        """Return the next ``n`` points; fewer only where the space has no more that are new.

        Raises:
            InvalidStudy: `reset` was not called, or the sampler cannot do what the study asks of it.
        """
        from threadpoolctl import threadpool_limits

        space = was_reset(self._space)
        with quiet():
            try:
                if self.sampler == "GPSampler":
                    import torch  # noqa: F401  # before its threads can be limited
                with threadpool_limits(1):  # the same sums in the same order on any number of cores
                    return self._propose(space, history, n)
            except ImportError as error:  # PyTorch for `gp`, cmaes for `cmaes`
                raise InvalidStudy(f"the searcher {self._name} needs another package, got {error}") from error
            except AutotuneError:
                raise
            except Exception as error:  # the sampler's own checks
                raise InvalidStudy(
                    f"the searcher {self._name} must suit the study and its options, but it says: {error}"
                ) from error

    @property
    def _name(self) -> str:
        return f"optuna:{self.sampler}"

    def _propose(self, space: SearchSpace, history: Sequence[Observation], n: int) -> list[Params]:
        import optuna

        known = {canonical(item.params) for item in history}
        n = room(space, known, n)
        is_stateless = self.sampler in _STATELESS
        draw = Random(f"{self._seed}/{len(history)}")
        sampler = self._sampler(space, (draw if is_stateless else Random(self._seed)).getrandbits(32))
        objectives = next((len(item.values) for item in history if item.values is not None), 1)
        study = optuna.create_study(sampler=sampler, directions=["minimize"] * objectives)
        axes = _Axes(space)
        constrained = any(item.state is not None and _violation(item) > 0 for item in history)
        for item, values in zip(history, _told(history, objectives), strict=True):
            (_add if is_stateless else _replay)(study, axes, item, values, constrained=constrained)
        chosen: list[Params] = []
        for _ in range(_TRIES * n):
            if len(chosen) == n:
                break
            params = axes.params(study.ask(axes.distributions).params)  # stays pending, also where it is no news
            if space.is_feasible(params) and canonical(params) not in known:
                known.add(canonical(params))
                chosen.append(params)
        return chosen + unseen(space, draw, known, n - len(chosen))

    def _sampler(self, space: SearchSpace, seed: int) -> optuna.samplers.BaseSampler:
        try:
            from optuna import samplers
        except ImportError as error:
            raise InvalidStudy(
                f"the searcher {self._name} needs Optuna, got {error}; pip install 'autotune[optuna]'"
            ) from error
        known = [name for name in samplers.__all__ if name.endswith("Sampler") and name != "BaseSampler"]
        if self.sampler not in known:
            close = nearest(self.sampler, known).strip() or f"known: {', '.join(known)}"
            raise InvalidStudy(f"`optuna:` must be followed by a sampler of Optuna's, got {self.sampler!r}; {close}")
        own: dict[str, Any] = {"seed": seed}
        if self.sampler == "TPESampler":
            is_conditional = any(parameter.when is not None for parameter in space.parameters.values())
            own |= {"multivariate": True, "constant_liar": True, "group": is_conditional}
        with quiet():
            try:
                made: optuna.samplers.BaseSampler = getattr(samplers, self.sampler)(**(own | self.options))
            except (TypeError, ValueError) as error:
                raise InvalidStudy(
                    f"the searcher {self._name} must be given options that it takes, got {self.options!r}: {error}"
                ) from error
        return made


@final
class _Axes:
    """The axes of a space as parameters of Optuna's."""

    def __init__(self, space: SearchSpace) -> None:
        from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

        self._space = space
        self._places: dict[str, int | None] = {}  # of the axes whose values are equally likely places
        self.distributions: dict[str, BaseDistribution] = {}
        for names in space.axes:
            axis, parameters = "+".join(names), [space.parameters[name] for name in names]
            self._places[axis] = places = _equal_places(parameters[0])
            if places is None:
                self.distributions[axis] = FloatDistribution(0.0, 1.0)
            elif all(isinstance(parameter, Choice) and not parameter.ordered for parameter in parameters):
                self.distributions[axis] = CategoricalDistribution(range(places))
            else:
                self.distributions[axis] = IntDistribution(0, places - 1)

    def params(self, values: Mapping[str, Any]) -> Params:
        """Return the canonical parameters at values of Optuna's, one an axis."""
        coordinates = [
            values[axis] if places is None else (values[axis] + 0.5) / places for axis, places in self._places.items()
        ]
        return self._space.from_unit(coordinates)

    def values(self, params: Params) -> dict[str, Any]:
        """Return Optuna's values for canonical parameters: those of the active axes."""
        coordinates = zip(self._places.items(), self._space.to_unit(params), strict=True)
        return {axis: u if places is None else int(u * places) for (axis, places), u in coordinates if u is not None}


def _equal_places(parameter: Parameter) -> int | None:
    """Return how many values a parameter has, None where they are too many or not equally likely."""
    size = parameter.size
    if size is None or size > _MOST_PLACES:
        return None
    first = parameter.to_unit(parameter.from_unit(0.0))
    return size if abs(first - 0.5 / size) < 1e-9 else None


def _told(history: Sequence[Observation], objectives: int) -> list[list[float]]:
    """Return what Optuna is told of each trial: its values, or the worst that any trial has."""
    valued = [item.values for item in history if item.values is not None]
    worst = [max(column) for column in zip(*valued, strict=True)] or [_NO_VALUE] * objectives
    return [worst if item.values is None else list(item.values) for item in history]


def _violation(item: Observation) -> float:
    """Return by how much a trial breaks its constraints, at least 0 where it is to be avoided for any reason."""
    if item.values is None:
        return 1.0
    return max(item.violations, default=-1.0)


def _add(study: optuna.Study, axes: _Axes, item: Observation, values: list[float], *, constrained: bool) -> None:
    """Add a trial of the history to a study whose sampler looks at nothing but the trials."""
    import optuna

    own = axes.values(item.params)
    trial: dict[str, Any] = {"params": own, "distributions": {axis: axes.distributions[axis] for axis in own}}
    if item.state is None:
        trial["state"] = optuna.trial.TrialState.RUNNING
    else:
        trial["values"] = values
        if constrained:
            trial["constraints"] = {"feasible": _violation(item)}
    study.add_trial(optuna.trial.create_trial(**trial))


def _replay(study: optuna.Study, axes: _Axes, item: Observation, values: list[float], *, constrained: bool) -> None:
    """Have the sampler propose again, with the trial's own parameters in the place of what it says, and tell it."""
    study.enqueue_trial(axes.values(item.params))
    trial = study.ask(axes.distributions)
    if item.state is not None:
        if constrained:
            trial.set_constraint("feasible", _violation(item))
        study.tell(trial, values)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep Optuna from logging, and from warning of features that it calls experimental."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(before)
