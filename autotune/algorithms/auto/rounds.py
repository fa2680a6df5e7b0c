"""A round: from what is known to the points that are worth trying next."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import final

import numpy as np
from numpy.typing import NDArray
from scipy.stats.qmc import Sobol

from autotune.algorithms import room, unseen
from autotune.algorithms.auto import targets
from autotune.algorithms.auto.acquisition import log_chance, log_density_ratio, log_improvement
from autotune.algorithms.auto.candidates import Candidates
from autotune.algorithms.auto.coding import Coding
from autotune.algorithms.auto.process import Process, fit
from autotune.files import canonical
from autotune.history import Observation
from autotune.spaces import Params, SearchSpace

Floats = NDArray[np.float64]

LEAST_VALUES = 4  # for a model of them to say anything
MOST_TRIALS = 400  # that a model is made of, since its cost grows with their cube
POOL = 600  # random points that each proposal of a round is chosen from, beside those near good ones
SIFTED, KEPT = 8, 2  # first points for each that is proposed, before and after the sieve of feasibility
GOOD_SHARE = 0.15  # of the trials, which others are to resemble
ELITE = 10  # good points that others are made from
START_BLOCK, START_BLOCKS = 256, 16  # of the first points, some of which may be forbidden

# What each proposal of a round is for, over and over, and the view of the values whose model is asked: the largest
# improvement; likeness to the good trials; the largest improvement with another unordered choice than the best trial's;
# what may be good and is little known.
ROLES = (
    ("improve", 0),
    ("resemble", 0),
    ("improve", 1),
    ("switch", 0),
    ("improve", 0),
    ("resemble", 0),
    ("explore", 1),
    ("resemble", 0),
)


def next_points(space: SearchSpace, seed: int, history: Sequence[Observation], n: int) -> list[Params]:
    """Return the next ``n`` points; fewer only where the space has hardly any more that are new."""
    known = {canonical(item.params) for item in history}
    n = room(space, known, n)
    rng = np.random.default_rng([seed, len(history)])
    if sum(item.values is not None for item in history) >= LEAST_VALUES:
        chosen = _Round.make(space, history, rng).points(known, n)
    elif _is_rare(history) and (gate := _gate(Coding(space), history, rng)) is not None:
        chosen = _likely_feasible(space, gate, first_points(space, seed, known, SIFTED * n), n)
    else:
        chosen = first_points(space, seed, known, n)
    known.update(map(canonical, chosen))
    return chosen + unseen(space, Random(f"{seed}/{len(history)}"), known, n - len(chosen))


def first_points(space: SearchSpace, seed: int, known: set[str], n: int) -> list[Params]:
    """Return the middle of the space, which is where people put it, and a scrambled Sobol' sequence."""
    chosen: dict[str, Params] = {}
    sobol = Sobol(space.dimensions, scramble=True, rng=seed)
    sequence = itertools.chain.from_iterable(sobol.random(START_BLOCK).tolist() for _ in range(START_BLOCKS))
    for params in space.feasible(itertools.chain([[0.5] * space.dimensions], sequence)):
        if len(chosen) == n:
            break
        if (key := canonical(params)) not in known:
            chosen.setdefault(key, params)
    return list(chosen.values())


@final
@dataclass(frozen=True)
class _Round:
    """What one round believes: ``models`` of the values, each from another view of them, and who is feasible."""

    coding: Coding
    rng: np.random.Generator
    coordinates: Floats  # [n, axes], of the trials with values
    features: Floats  # [n, columns]
    values: Floats  # [n]
    assumed: Floats  # features of the points whose values are assumed
    feasible: NDArray[np.bool_]  # [n]
    models: tuple[Process, ...]
    gate: Process | None

    @classmethod
    def make(cls, space: SearchSpace, history: Sequence[Observation], rng: np.random.Generator) -> _Round:
        coding = Coding(space)
        valued = _thinned([item for item in history if item.values is not None], rng)
        values = np.array([item.values for item in valued], dtype=float)
        coordinates = coding.coordinates([item.params for item in valued])
        features = coding.features(coordinates)
        seen = targets.views(values, rng)
        models = tuple(fit(features, view, coding.owner) for view in seen)
        feasible = np.array([item.is_feasible for item in valued], dtype=bool)
        made = cls(
            coding, rng, coordinates, features, seen[0], features[:0], feasible, models, _gate(coding, history, rng)
        )
        pending = [item.params for item in history if item.state is None]
        return made.assuming(coding.features(coding.coordinates(pending))) if pending else made

    def assuming(self, features: Floats) -> _Round:
        """Return what is believed if points turn out as expected (Ginsbourger, Le Riche & Carraro 2010)."""
        models = tuple(model.given(features, model.predict(features)[0]) for model in self.models)
        return replace(self, models=models, assumed=np.vstack([self.assumed, features]))

    def points(self, known: set[str], n: int) -> list[Params]:
        """Return ``n`` points that are not known; each is chosen as if those before it had been tried."""
        drawn = self.coding.space.sample(Random(int(self.rng.integers(2**31))), POOL)
        candidates = Candidates.make(self.coding, drawn, known)
        beliefs, chosen = self, list[Params]()
        for slot in range(n):
            point = beliefs._best(slot, candidates)
            if point is None:
                break
            chosen.append(point.params[0])
            candidates = candidates.without(point)
            beliefs = beliefs.assuming(point.features)
        return chosen

    def _best(self, slot: int, candidates: Candidates) -> Candidates | None:
        """Return the candidate of the highest score, after a search around good points and good candidates."""
        role, view = ROLES[slot % len(ROLES)]
        model = self.models[(view + slot // 2 * 2) % len(self.models)]  # of two that view's, of more in turn
        mean = np.where(self.feasible, model.predict(self.features)[0], np.inf)
        elite = np.argsort(mean, kind="stable")[:ELITE]
        best = float(mean[elite[0]]) if self.feasible.any() else 0.0

        def score(points: Candidates) -> Floats:
            return self._score(points, role, model, best, self.coordinates[elite[0]])

        return candidates.search(score, self.coordinates[elite], self.rng)

    def _good_and_bad(self) -> tuple[Floats, Floats]:
        order = np.argsort(np.where(self.feasible, self.values, np.inf), kind="stable")
        count = int(np.ceil(GOOD_SHARE * len(order)))
        return self.features[order[:count]], np.vstack([self.features[order[count:]], self.assumed])

    def _score(self, points: Candidates, role: str, model: Process, best: float, incumbent: Floats) -> Floats:
        mean, deviation = model.predict(points.features)
        gate = 0.0 if self.gate is None else log_chance(*self.gate.predict(points.features), self.gate.noise)
        if role == "explore":
            return np.asarray(2.0 * deviation - mean + gate)
        if role == "resemble":
            return np.asarray(
                log_density_ratio(points.features, *self._good_and_bad(), self.coding.kernel_widths) + gate
            )
        score = log_improvement(mean, deviation, best) + gate
        if role == "switch":
            score = score - 1e6 * self.coding.same_options(points.coordinates, incumbent)
        return np.asarray(score)


def _gate(coding: Coding, history: Sequence[Observation], rng: np.random.Generator) -> Process | None:
    """Return a process of labels, 1 feasible and -1 not; None where all trials are feasible."""
    ended = _thinned([item for item in history if item.state is not None], rng)
    labels = np.array([1.0 if item.is_feasible else -1.0 for item in ended])
    if all(item.is_feasible for item in ended):
        return None
    return fit(coding.features(coding.coordinates([item.params for item in ended])), labels, coding.owner)


def _is_rare(history: Sequence[Observation]) -> bool:
    """Return whether so few trials are feasible that where they may be matters more than an even spread."""
    ended = [item.is_feasible for item in history if item.state is not None]
    return 4 * sum(ended) < len(ended)


def _likely_feasible(space: SearchSpace, gate: Process, points: list[Params], n: int) -> list[Params]:
    """Return ``n`` of the points that are the most likely to be feasible, in their order, which spreads them."""
    coding = Coding(space)
    chances = log_chance(*gate.predict(coding.features(coding.coordinates(points))), gate.noise)
    kept = np.sort(np.argsort(-chances, kind="stable")[: KEPT * n])
    return [points[row] for row in kept[:n]]


def _thinned(items: list[Observation], rng: np.random.Generator) -> list[Observation]:
    """Return at most MOST_TRIALS of the trials, in order: the better half, and some of the others by chance."""
    if len(items) <= MOST_TRIALS:
        return items
    by_value = sorted(range(len(items)), key=lambda i: items[i].values or (np.inf,))
    half = MOST_TRIALS // 2
    others = rng.choice(by_value[half:], size=half, replace=False)
    return [items[i] for i in sorted({*by_value[:half], *map(int, others)})]
