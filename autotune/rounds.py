"""Rounds: an adaptive searcher proposes each one from what came of the rounds before, and every proposal is a file.

``rounds/round_00001.json`` is written once, before the configs that follow from it, and never again: a study that is
killed and started anew goes on with the same trials. Round 0 is part of the plan; each other round is planned by a job
of the workflow, when the batches of the round before are done.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from autotune.algorithms import AdaptiveSearcher, Searcher, is_adaptive, load_searcher
from autotune.config import StudyConfig
from autotune.errors import InvalidStudy
from autotune.files import canonical, digest, json_bytes, read_bytes, write_atomic, write_if_changed
from autotune.history import Observation, Proposal
from autotune.objectives import observe
from autotune.racing import with_repeats
from autotune.records import Result, TrialConfig, trial_id
from autotune.resources import resources_of
from autotune.reuse import take_over
from autotune.spaces import SearchSpace
from autotune.storage import PLAN_LOCK, StudyDir

_MOST_DRAWS = 100_000  # of points in place of proposals that are no news
_POLL_S = 2.0
_IDLE_S = 60.0  # without a running trial, after which a quorum is not waited for any longer


def round_sizes(config: StudyConfig, space: SearchSpace, searcher: Searcher, old: Sequence[int]) -> list[int]:
    """Return the trials of each round: those there were, and more of them up to ``max_trials``.

    A searcher with a method ``round_sizes(max_trials, old)`` says itself; all others take ``batch_size`` a round, and
    no more trials than the space has points.
    """
    own = getattr(searcher, "round_sizes", None)
    if own is not None:
        return list(own(config.max_trials, old))
    points = space.count(config.max_trials)
    most = config.max_trials if points is None else points * config.repeats.get("max", 1)
    more = min(config.max_trials, most) - sum(old)
    return [*old, *(min(config.batch_size, more - done) for done in range(0, more, config.batch_size))]


def trials_of(study: Mapping[str, Any], round_: int) -> range:
    """Return the numbers of a round's trials."""
    first = sum(study["round_sizes"][:round_])
    return range(first, first + study["round_sizes"][round_])


def slot_ids(study: Mapping[str, Any], identity: Mapping[str, Any]) -> list[str]:
    """Return what stands for the trials' ids in the names of batches, since most trials are not known beforehand."""
    key = digest(dict(identity))
    return [f"{key}/{number}" for number in range(study["trials"])]


def make_trial(study: Mapping[str, Any], number: int, asked: Proposal, round_: int = 0) -> TrialConfig:
    """Return the trial that was asked for; each repeat has a seed of its own."""
    work = study["objective"] or study["command"] or ""
    seed = study["seed"] if not asked.repeat else int(digest([study["seed"], asked.repeat])[:8], 16)
    return TrialConfig(
        number=number,
        id=trial_id(work, asked.params, seed, asked.fidelity, study.get("version")),
        params=asked.params,
        seed=seed,
        round=round_,
        fidelity=asked.fidelity,
        resources=resources_of(study["resources"], asked.params),
        parent=asked.parent,
        repeat=asked.repeat,
    )


class RoundPlanner:
    """Plans the rounds of one study.

    Args:
        store: the study directory.
        study: the content of ``study.json``.
        space: what is searched.
        searcher: who searches.

    Attributes:
        taken: what was taken over from elsewhere, as in ``reuse.Taken``.
        notes: what to say of it.
    """

    def __init__(
        self, store: StudyDir, study: Mapping[str, Any], space: SearchSpace, searcher: AdaptiveSearcher
    ) -> None:
        self.taken: dict[int, str] = {}
        self.notes: list[str] = []
        self._store, self._study, self._space, self._searcher = store, study, space, searcher

    def plan(self, round_: int, *, write: bool = True) -> int:
        """Plan a round unless it is planned, write those of its configs that are not there; return how many.

        The caller holds the plan's lock.

        Raises:
            InvalidStudy: the searcher left the space, or proposed another number of trials.
        """
        record = self._store.read_round(round_)
        is_new = record is None
        if record is None:
            record = self._proposed(round_)
            if write:
                self._store.write_round(round_, record)
        # What a trial needs may change under a plan, unlike all else that was proposed.
        trials = [
            replace(trial, resources=resources_of(self._study["resources"], trial.params))
            for trial in map(TrialConfig.from_dict, record["trials"])
        ]
        changed = [trial for trial in trials if self._differs(trial)]
        if write:
            for trial in changed:
                write_atomic(self._store.config_file(trial.number), json_bytes(trial.to_dict()))
        if is_new or self._study.get("reuse") or self._study.get("cache"):
            taken = take_over(self._store, self._study, ((trial.number, trial.id) for trial in trials), write=write)
            self.taken |= taken.origins
            self.notes += taken.notes
        return len(changed)

    def _differs(self, trial: TrialConfig) -> bool:
        try:
            return read_bytes(self._store.config_file(trial.number)) != json_bytes(trial.to_dict())
        except FileNotFoundError:
            return True

    def _proposed(self, round_: int) -> dict[str, Any]:
        numbers = trials_of(self._study, round_)
        history = self._history(numbers.start)
        self._searcher.reset(self._space, self._study["seed"])
        given = itertools.islice(self._searcher.propose(history, len(numbers)), len(numbers))
        asked = [item if isinstance(item, Proposal) else Proposal(item) for item in given]
        proposals = self._distinct(self._warm(asked, numbers), history, numbers, round_)
        trials = [make_trial(self._study, *item, round_) for item in zip(numbers, proposals, strict=True)]
        states = Counter(item.state or "running" for item in history)
        return {
            "round": round_,
            "knew": {
                "trials": len(history),
                "states": dict(states),
                "running": [item.number for item in history if item.state is None],
                "digest": digest([asdict(item) for item in history]),
            },
            "trials": [trial.to_dict() for trial in trials],
        }

    def _history(self, stop: int) -> list[Observation]:
        """Return all trials of earlier rounds, in trial order, so that the order of their ends plays no part."""
        trials = (self._store.read_config(number) for number in range(stop))
        return [observe(self._study, trial, settled(self._store, self._study, trial.number)) for trial in trials]

    def _warm(self, asked: list[Proposal], numbers: range) -> list[Proposal]:
        """Put the study's own first trials in the place of what the searcher proposed for them."""
        if self._study.get("repeats"):
            return asked  # there they are repeated like any other point, see racing
        warm = self._study.get("warm_start", [])[numbers.start : numbers.stop]
        return [replace(item, params=params) for item, params in zip(asked, warm, strict=False)] + asked[len(warm) :]

    def _distinct(
        self, asked: Sequence[Proposal], history: Sequence[Observation], numbers: range, round_: int
    ) -> list[Proposal]:
        """Return the proposals, each checked; random points stand in for those that repeat what is known."""
        known = {canonical([item.params, item.fidelity, item.repeat]) for item in history}
        chosen: list[Proposal] = []
        for proposal in itertools.chain(asked, self._random_points(round_)):
            if not self._space.contains(proposal.params):
                raise InvalidStudy(
                    f"a searcher must stay in the space, but {self._name} proposed {proposal.params} in round {round_}"
                )
            key = canonical([proposal.params, proposal.fidelity, proposal.repeat])
            if key not in known:
                known.add(key)
                chosen.append(proposal)
            if len(chosen) == len(numbers):
                return chosen
        raise InvalidStudy(
            f"round {round_} must have {len(numbers)} trials that are new, but {self._name} proposed {len(chosen)}, "
            f"and {_MOST_DRAWS:,} random points held no more; lower `max_trials` to {numbers.start + len(chosen)}"
        )

    def _random_points(self, round_: int) -> Iterator[Proposal]:
        if getattr(self._searcher, "round_sizes", None) is not None:
            return  # these know what each of their trials is for
        random = load_searcher("random")
        random.reset(self._space, int(digest([self._study["seed"], "random points", round_])[:8], 16))
        yield from map(Proposal, random.suggestions(self._space, _MOST_DRAWS))

    @property
    def _name(self) -> str:
        return str(self._study["searcher"]["name"])


def settled(store: StudyDir, study: Mapping[str, Any], number: int) -> Result | None:
    """Return the result of a trial that needs no further execution, else None."""
    result = store.read_result(number)
    return result if result is not None and result.settles(study["on_failure"], study["attempts"]) else None


def plan_round(store: StudyDir, round_: int, searcher: Searcher | None = None) -> list[str]:
    """Plan a round of a study whose earlier rounds are done, as a job's whole work; what is planned stays.

    Returns notes on what was taken over from other studies.

    Args:
        store: the study directory.
        round_: from 1, as round 0 is part of the plan.
        searcher: where it is at hand; else the one that ``study.json`` names.
    """
    study = store.read_study()
    if not 0 < round_ < len(study["round_sizes"]):
        raise InvalidStudy(
            f"the study must have a round {round_}, but its rounds are 0 to {len(study['round_sizes']) - 1}"
        )
    space = SearchSpace.from_study(study)
    named = searcher or load_searcher(study["searcher"]["name"], study["searcher"]["options"])
    chosen = with_repeats(study, named)
    if not is_adaptive(chosen):
        raise InvalidStudy(
            f"a searcher with rounds must have the method propose, but {study['searcher']['name']} has not"
        )
    with contextlib.closing(store.lock()) as lock, lock.holding(PLAN_LOCK):
        planner = RoundPlanner(store, study, space, chosen)
        planner.plan(round_)
        numbers = trials_of(study, round_)
        stamp = {"round": round_, "trials": [numbers.start, numbers.stop]}
        write_if_changed(store.round_stamp(round_), json_bytes(stamp))
        return planner.notes


def wait_for_quorum(store: StudyDir, round_: int, is_queued: Callable[[], bool] = lambda: False) -> None:
    """Wait until the study's `quorum` of the round before this one is done.

    Args:
        store: the study directory.
        round_: the round that is to be planned.
        is_queued: whether trials may still begin that do not run yet.

    Raises:
        InvalidStudy: nothing has run for a minute, and nothing is queued: it would wait for ever.
    """
    study = store.read_study()
    before = trials_of(study, round_ - 1)
    needed = math.ceil(study["quorum"] * len(before))
    seen, since = -1, time.monotonic()
    while (done := sum(settled(store, study, number) is not None for number in before)) < needed:
        if done != seen or store.running(before):
            seen, since = done, time.monotonic()
        elif time.monotonic() - since > _IDLE_S:
            if not is_queued():
                raise InvalidStudy(
                    f"round {round_} must know {needed} trials of the round before, but only {done} are done "
                    "and none runs; `autotune status` says why"
                )
            since = time.monotonic()
        time.sleep(_POLL_S)
