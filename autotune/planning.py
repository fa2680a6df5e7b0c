"""Planning: from a space and a searcher to one config file a trial, the batches, and ``study.json``, written last.

Planning is a function of its inputs: the same study gives the same bytes anywhere, and planning again changes nothing.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from autotune import batching
from autotune.algorithms import Searcher, is_adaptive, searcher_name, searcher_options
from autotune.batch import Batch
from autotune.budget import keep_account
from autotune.config import DEFAULT_RESOURCES, StudyConfig
from autotune.errors import InvalidStudy, PlanChanged, UnreadableFile
from autotune.estimate import refuse_overdrawn
from autotune.files import digest, json_bytes, parse_record, read_bytes, write_atomic, write_if_changed
from autotune.history import Proposal
from autotune.identity import identity_of, refuse_other_study
from autotune.objectives import constraints_of
from autotune.racing import with_repeats
from autotune.records import TrialConfig
from autotune.resources import check_formulas, formulas_of
from autotune.reuse import changed_since, take_over
from autotune.rounds import RoundPlanner, make_trial, round_sizes, slot_ids
from autotune.spaces import SearchSpace
from autotune.storage import PLAN_LOCK, Results, StudyDir, study_digest

# What study.json holds of the options; autotune.identity says which must not change under a plan.
_OPTIONS = (
    *(
        "objective",
        "command",
        "metric",
        "mode",
        "max_trials",
        "trials_per_job",
        "slots_per_job",
        "launcher",
        "isolation",
    ),
    *("trial_timeout", "stop_grace", "attempts", "max_log_mb", "write_best_to"),
)
_OPTIONS_IF_GIVEN = (  # the plans of studies without them stay as they are
    *("warm_start", "metrics", "constraints", "attention", "repeats", "fidelity", "pruner"),
    *("version", "reuse", "cache", "hardware", "budget"),
)
POINTS_KEPT = 2000


@dataclass
class Plan:
    """What a plan is, or with ``dry_run`` would be."""

    study: dict[str, Any]
    trials: int
    written: int = 0  # config files that are new or changed
    done: int = 0  # trials that need no execution any more
    batches: list[Batch] = field(default_factory=list)
    pending_batches: int = 0
    archived: str | None = None
    notes: list[str] = field(default_factory=list)
    reused: dict[int, str] = field(default_factory=dict)  # trials that were taken over -> where from
    points: list[dict[str, Any]] = field(default_factory=list)  # the first POINTS_KEPT, where not planned before


def make_plan(
    store: StudyDir,
    config: StudyConfig,
    space: SearchSpace,
    searcher: Searcher,
    *,
    search_path: str = ".",
    fresh: bool = False,
    dry_run: bool = False,
    slots: int | None = None,
) -> Plan:
    """Plan a study, or extend its plan; write only what changed.

    Args:
        store: the study directory.
        config: the options; the objective's name or command is part of them.
        space: what is searched.
        searcher: who searches.
        search_path: folder, beside the working directory, where the objective's module is found.
        fresh: set an existing study aside (``archive/``) first; results whose ids recur are taken over.
        dry_run: write nothing.
        slots: jobs that run side by side, for ``trials_per_job: auto`` (default: the processors).

    Raises:
        PlanChanged: there is a plan for another study, or the searcher did not reproduce it.
        InvalidInput: the study directory cannot be written, the searcher left the space.
    """
    fidelity = getattr(searcher, "fidelity", None) or {}
    if config.fidelity != fidelity:  # in Python the searcher has it
        config = replace(config, fidelity=config.fidelity or fidelity)
    racing = with_repeats({"repeats": config.repeats, "warm_start": config.warm_start}, searcher)
    config = replace(config, on_failure=_failure_policy(config, racing))
    wanted = _study(config, space, searcher, search_path)
    searcher = racing
    space.refuse_empty()
    _check_rules(config, space)
    _check_warm_start(config, space)
    constraints_of(wanted)
    check_formulas(config.resources, space.names)
    if config.fidelity.get("name") in space.names:
        raise InvalidStudy(f"`fidelity.name` must be no parameter of the space, got {config.fidelity['name']!r}")
    slots = slots or batching.processors()
    if dry_run or config.budget:
        old = None if fresh else _existing(store)
        plan = _Planner(store, config, space, searcher, dict(wanted), old, slots).run(write=False, fresh=fresh)
        refuse_overdrawn(store, plan.study, old, plan.trials, plan.done)
        if dry_run:
            return plan
    store.make()
    with contextlib.closing(store.lock()) as lock, lock.holding(PLAN_LOCK):
        archived = None
        if fresh:
            archived = store.archive()
            store.make()
        store.remove_strays(lock)
        plan = _Planner(store, config, space, searcher, wanted, _existing(store), slots).run(write=True)
        plan.archived = None if archived is None else str(archived)
        return plan


def effective_seed(config: StudyConfig, searcher: Searcher) -> int:
    """Return the study's seed: the config's, else the searcher's own, else 0."""
    own = getattr(searcher, "seed", None)
    if config.seed is not None and own is not None and own != config.seed:
        raise InvalidStudy(f"a study must have one seed, got {config.seed} in the config and {own} in the searcher")
    chosen = config.seed if config.seed is not None else own
    return 0 if chosen is None else chosen


def _failure_policy(config: StudyConfig, searcher: Searcher) -> str:
    """Return what `auto` means: failures stand where a searcher learns from them, or where attempts are counted."""
    if config.on_failure != "auto":
        return config.on_failure
    return "record" if config.attempts > 1 or is_adaptive(searcher) else "rerun"


def _check_rules(config: StudyConfig, space: SearchSpace) -> None:
    """Refuse rules that are the study's and not the space's, where they would be without effect."""
    for name, own in (("forbid", list(space.forbid)), ("zip", [list(names) for names in space.zip])):
        given = getattr(config, name)
        if given and given != own:
            raise InvalidStudy(
                f"`{name}` must be the space's own, got {given} beside a space with {own}; "
                f"write SearchSpace(parameters, {name}=...)"
            )


def _check_warm_start(config: StudyConfig, space: SearchSpace) -> None:
    for place, params in enumerate(config.warm_start):
        if not space.contains(params):
            raise InvalidStudy(
                f"`warm_start[{place}]` must be a point of the space, with the parameters {', '.join(space.names)}, "
                f"got {params}"
            )


def _study(config: StudyConfig, space: SearchSpace, searcher: Searcher, search_path: str) -> dict[str, Any]:
    from autotune import __version__

    return {
        **{name: getattr(config, name) for name in (*_OPTIONS, "on_failure")},
        **{name: getattr(config, name) for name in _OPTIONS_IF_GIVEN if getattr(config, name)},
        "resources": {**config.resources, **{name: config.resource(name) for name in DEFAULT_RESOURCES}},
        "space": space.to_dict(),
        "parameters": space.names,
        **{name: value for name, value in (("forbid", list(space.forbid)), ("zip", [*map(list, space.zip)])) if value},
        "searcher": {"name": searcher_name(searcher), "options": searcher_options(searcher)},
        "seed": effective_seed(config, searcher),
        "rounds": 1,
        **({"quorum": config.quorum} if config.repeats or is_adaptive(searcher) else {}),
        "search_path": search_path,
        "versions": {"autotune": __version__},
    }


def _existing(store: StudyDir) -> dict[str, Any] | None:
    return store.read_study() if os.path.exists(store.study_file) else None


class _Planner:
    """One planning: the steps share the study, the searcher and what is on disk."""

    def __init__(
        self,
        store: StudyDir,
        config: StudyConfig,
        space: SearchSpace,
        searcher: Searcher,
        wanted: dict[str, Any],
        old: dict[str, Any] | None,
        slots: int,
    ) -> None:
        self.store, self.config, self.space, self.searcher = store, config, space, searcher
        self.wanted, self.old, self.slots = wanted, old, slots
        if old is not None:
            follows = {"space": old["space"]} if self._own_space else {}
            refuse_other_study(old, {**wanted, **follows}, store.root)
        self.sizes = store.config_sizes()
        self.plan = Plan(study=wanted, trials=0)
        self._formulas = formulas_of(wanted["resources"])
        self._ends: list[int] = []  # trials that begin a round, or need other resources than the one before

    def run(self, *, write: bool, fresh: bool = False) -> Plan:
        """Plan; the order of the writes makes a kill harmless: configs, then batches, then the study."""
        ids = self._rounds(write=write) if is_adaptive(self.searcher) else self._static(write=write)
        ends = self._ends
        self.plan.trials = self.wanted["trials"]
        if fresh and ids:  # a dry run: what is there would be set aside, and be taken over where it recurs
            size = batching.first_size(self.config, len(ids), self.slots)
            self.plan.batches = batching.cut(ids, size, [], ends)
            self.plan.pending_batches = len(self.plan.batches)
            self.plan.done = len(self._settled_ids() & set(ids))
            return self.plan
        self._pack(ids, ends, write=write)
        self.wanted["digest"] = study_digest(self.wanted)
        if write:
            write_if_changed(self.store.study_file, json_bytes(self.wanted, indent=True))
            keep_account(self.store, self.wanted)
        return self.plan

    def _static(self, *, write: bool) -> list[str] | None:
        """Plan all trials; return their ids, or None where all is as it was."""
        prefix_stable = getattr(self.searcher, "prefix_stable", False)
        self.wanted["blocks"] = [self.config.max_trials] if prefix_stable else self._blocks()
        planned = self._planned()
        self.wanted |= planned
        return None if planned else self._configs(write=write)

    def _rounds(self, *, write: bool) -> list[str]:
        """Plan the first round, and see to the configs of all planned ones; return what stands for the ids."""
        if not is_adaptive(self.searcher):
            raise TypeError("a searcher without `propose` has no rounds")
        old = [] if self.old is None else self.old["round_sizes"]
        sizes = round_sizes(self.config, self.space, self.searcher, old)
        self.wanted |= {"round_sizes": sizes, "rounds": len(sizes), "trials": sum(sizes)}
        planner = RoundPlanner(self.store, self.wanted, self.space, self.searcher)
        planned = [round_ for round_ in range(len(sizes)) if round_ == 0 or self.store.read_round(round_) is not None]
        self.plan.written = sum(planner.plan(round_, write=write) for round_ in planned)
        self.plan.reused = planner.taken
        self.plan.notes += planner.notes
        # What later rounds need is not known yet: each trial may need something else.
        self._ends = list(range(1, sum(sizes)) if self._formulas else itertools.accumulate(sizes[:-1]))
        return slot_ids(self.wanted, identity_of(self.wanted))

    @property
    def _own_space(self) -> bool:
        """Whether the space follows from what the searcher suggests: a file with one row a trial."""
        return bool(getattr(self.searcher, "own_space", False))

    @property
    def _reuses(self) -> bool:
        """Whether trials without a result may have one elsewhere by now."""
        return bool(self.config.reuse or self.config.cache)

    def _planned(self) -> dict[str, Any]:
        """Return what is known of the config files, if all are there as ``study.json`` says; none is read for it."""
        old = self.old
        if (
            old is None
            or self._own_space
            or self._formulas
            or self._reuses
            or any(old.get(name) != item for name, item in self.wanted.items())
        ):
            return {}
        total = sum(self.sizes.get(number, (0, 0))[0] for number in range(old["trials"]))
        return {"trials": old["trials"], "config_bytes": total} if total == old["config_bytes"] else {}

    # Config files

    def _blocks(self) -> list[int]:
        """Return the sizes of the sequences that a searcher without a stable prefix has made so far, and is to make."""
        old = [] if self.old is None else list(self.old["blocks"])
        more = self.config.max_trials - sum(old)
        if old and more > 0:
            name = self.wanted["searcher"]["name"]
            self.plan.notes.append(
                f"{name} cannot continue its sequence: the {more} more trials are a block of their own"
            )
        return [*old, more] if more > 0 else old

    def _suggestions(self) -> Iterator[dict[str, Any]]:
        seed = self.wanted["seed"]
        for block, size in enumerate(self.wanted["blocks"]):
            # Blocks after the first need other points, so another seed.
            self.searcher.reset(self.space, seed if block == 0 else int(digest([seed, block])[:8], 16))
            yield from self.searcher.suggestions(self.space, size)

    def _trials(self) -> Iterator[TrialConfig]:
        points = itertools.chain(self.config.warm_start, self._suggestions())
        for number, params in enumerate(itertools.islice(points, self.config.max_trials)):
            if not self.space.contains(params):
                name = self.wanted["searcher"]["name"]
                raise InvalidStudy(
                    f"a searcher must stay in the space, but {name} suggested {params} for trial {number}"
                )
            if number < POINTS_KEPT:
                self.plan.points.append(params)
            yield make_trial(self.wanted, number, Proposal(params))

    def _configs(self, *, write: bool) -> list[str]:
        """Write the config files that are not there as they should be; return all ids."""
        ids: list[str] = []
        changed: list[tuple[int, bytes]] = []
        total = 0
        before: dict[str, Any] | None = None
        for trial in self._trials():
            data = json_bytes(trial.to_dict())
            total += len(data)
            ids.append(trial.id)
            if self._formulas and before not in (None, trial.resources):
                self._ends.append(trial.number)
            before = trial.resources
            if self._differs(trial, data):
                changed.append((trial.number, data))
        if not ids:
            raise InvalidStudy(
                f"a searcher must suggest at least one trial, got none from {self.wanted['searcher']['name']}"
            )
        self.wanted |= {"trials": len(ids), "config_bytes": total}
        self.plan.written = len(changed)
        self._note_repeats(ids)
        if write:
            for number, data in changed:
                write_atomic(self.store.config_file(number), data)
        if self.old is None or self._reuses:
            taken = take_over(self.store, self.wanted, enumerate(ids), write=write)
            self.plan.reused = taken.origins
            self.plan.notes += taken.notes
        return ids

    def _differs(self, trial: TrialConfig, data: bytes) -> bool:
        if trial.number not in self.sizes:
            return True
        path = self.store.config_file(trial.number)
        there = read_bytes(path)
        if there == data:
            return False
        try:
            before = parse_record(there, path)
        except UnreadableFile:  # cut off: it is written anew
            return True
        if self.old is not None and trial.number < self.old["trials"] and before.get("id") != trial.id:
            name = self.wanted["searcher"]["name"]
            raise PlanChanged(
                f"a searcher must suggest the same again, but {name} suggested {trial.params} "
                f"for trial {trial.number}, which was {before.get('params')}; set the plan aside with --fresh"
            )
        return True

    def _note_repeats(self, ids: list[str]) -> None:
        repeats = len(ids) - len(set(ids))
        if repeats:
            self.plan.notes.append(f"{repeats} of {len(ids)} trials repeat the parameters of an earlier one")

    def _settled_ids(self) -> set[str]:
        results = Results(self.store).refresh().by_number.values()
        return {result.id for result in results if result.settles(self.config.on_failure, self.config.attempts)}

    def _pack(self, ids: list[str] | None, ends: list[int], *, write: bool) -> None:
        packer = batching.Packer(self.store, self.config, self.slots, ends)
        self.plan.batches = packer.pack(self.plan.trials, ids, write=write)
        self.plan.pending_batches, self.plan.done = packer.pending_batches, packer.done
        self.plan.done += 0 if write else len(self.plan.reused)
        self.plan.notes += packer.notes
        note = changed_since(self.wanted, packer.sources)
        self.plan.notes += [note] if note else []
