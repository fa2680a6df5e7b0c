"""A study in Python: the same plan, files and resume as on the command line, run in this process."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from autotune.aggregation import Summary, aggregate, best_of, planned_results, summarize, write_best
from autotune.algorithms import Searcher
from autotune.budget import spent_sentence
from autotune.config import StudyConfig
from autotune.errors import InvalidStudy, NoCompleteTrial
from autotune.execution.begun import noting
from autotune.execution.objective import check_call
from autotune.execution.outcome import Objective
from autotune.execution.runner import Runner, environment_digest, in_process
from autotune.execution.trial import Trial
from autotune.files import LockFile
from autotune.planning import Plan, make_plan
from autotune.progress import Progress
from autotune.records import Result, TrialConfig
from autotune.rounds import plan_round, trials_of
from autotune.spaces import Params, SearchSpace
from autotune.storage import AGGREGATE_LOCK, Results, StudyDir

Callback = Callable[[Trial], None]

_log = logging.getLogger("autotune")


class Study:
    """A search space, a searcher and the options of a study.

    Args:
        config: the options; ``log_dir`` is the study directory.
        space: what is searched.
        searcher: who searches; its own ``seed`` counts where the config has none.
        callbacks: each is called with the Trial after every execution; ``trial.state``, ``trial.value`` and
            ``trial.metrics`` say what came of it. What a callback raises ends the run; finished trials are kept.
    """

    def __init__(
        self, config: StudyConfig, space: SearchSpace, searcher: Searcher, callbacks: Sequence[Callback] = ()
    ) -> None:
        self.config, self.space, self.searcher = config, space, searcher
        self.callbacks = list(callbacks)
        self.store = StudyDir(config.log_dir)

    def plan(self, objective: Objective | None = None, *, fresh: bool = False, dry_run: bool = False) -> Plan:
        """Write the plan, or what of it is new; see ``autotune.planning.make_plan`` for what is refused.

        Args:
            objective: a callable, where the config names neither ``objective`` nor ``command``.
            fresh: set an existing study aside first.
            dry_run: write nothing.
        """
        config = self.config
        if objective is not None and not config.objective and not config.command:
            config = replace(config, objective=_name_of(objective))
        plan = make_plan(self.store, config, self.space, self.searcher, fresh=fresh, dry_run=dry_run)
        for note in plan.notes:
            _log.warning(note)
        return plan

    def optimize(self, objective: Objective, *, fresh: bool = False) -> Params:
        """Run all trials that are not settled yet, one after another in this process; return the best parameters.

        A trial that fails stops no other; calling this again runs the failed and missing ones only. ``isolation``
        plays no part here: the command line runs trials in processes of their own.

        Args:
            objective: called as ``objective(params, trial)``; returns a number, or a dict of numbers with the metric.
            fresh: set an existing study in ``log_dir`` aside first.

        Raises:
            InvalidInput: the plan cannot be made; nothing was run.
            NoCompleteTrial: every trial failed or was infeasible.
        """
        if not callable(objective):
            raise InvalidStudy(f"the objective must be callable as fn(params, trial), got a {type(objective).__name__}")
        check_call(objective)
        if self.config.trial_timeout is not None:
            raise InvalidStudy(
                "`trial_timeout` needs a process to end, and Study.optimize runs trials in this one; "
                "remove it, or use `autotune study`"
            )
        if self.config.attention:
            raise InvalidStudy(
                "`attention` is measured by jobs beside the trials, and Study.optimize runs trials in this process; "
                "remove it, or use `autotune study`"
            )
        study = self.plan(objective, fresh=fresh).study
        try:
            self._run(study, objective)
        finally:
            summary = aggregate(self.store)
        self._report(summary)
        if summary.best is None:
            raise NoCompleteTrial(
                f"a study needs one complete trial to have a best, got none of {summary.trials}; "
                f"`autotune status --log-dir {self.store.root}` says why"
            )
        return dict(summary.best.params)

    def enqueue(self, params: Params) -> None:
        """Have a point that is known to be good tried first, after those that were enqueued before it."""
        self.config = replace(self.config, warm_start=[*self.config.warm_start, dict(params)])

    @property
    def summary(self) -> Summary:
        """Where the study stands: counts by state, the best result, failures."""
        return summarize(self.store, self.store.read_study(), Results(self.store))

    def _run(self, study: dict[str, Any], objective: Objective) -> None:
        results = Results(self.store)
        with contextlib.closing(self.store.lock()) as lock:
            summary = summarize(self.store, study, results)
            with Progress(summary.trials, summary.done) as progress:
                follow = _Follower(self, study, summary, planned_results(study, results), lock, progress)
                execute = in_process(objective, self.store, study)
                with noting(self.store.begun_file("python"), os.uname().nodename, None) as note:
                    environment = environment_digest()
                    runner = Runner(self.store, study, execute, lock, environment, on_result=follow, on_start=note)
                    for numbers in self._planned_in_turn(study):
                        runner.run(numbers)
                        if runner.purse.is_empty():
                            break
        self.store.forget_begun("python")

    def _planned_in_turn(self, study: dict[str, Any]) -> Iterator[range]:
        """Yield the numbers of trials that are planned: all of them, or a round at a time."""
        if "round_sizes" not in study:
            yield range(study["trials"])
            return
        for round_ in range(study["rounds"]):
            if round_ > 0:
                for note in plan_round(self.store, round_, self.searcher):
                    _log.warning(note)
            yield trials_of(study, round_)

    def _report(self, summary: Summary) -> None:
        spent = spent_sentence(self.store, summary.study)
        if spent and summary.unsettled:
            _log.warning("budget spent: %d of %d trials done (%s)", summary.done, summary.trials, spent)
        for (state, reason, error), numbers in summary.groups.items():
            _log.warning("%d trials %s (%s): %s", len(numbers), state, reason, error)


class _Follower:
    """Keeps ``best.json`` and the progress up to date, and calls the callbacks, after each execution."""

    def __init__(
        self,
        owner: Study,
        study: dict[str, Any],
        summary: Summary,
        ended: dict[int, Result],
        lock: LockFile,
        progress: Progress,
    ) -> None:
        self._owner, self._study, self._summary = owner, study, summary
        self._lock, self._progress = lock, progress
        self._ended = ended
        # Then the best so far and a new result do not tell which is best of all.
        self._is_joint = any(study.get(option) for option in ("metrics", "fidelity", "repeats"))

    def __call__(self, config: TrialConfig, result: Result) -> None:
        summary, study, store = self._summary, self._study, self._owner.store
        summary.counts[result.state] += 1
        if result.settles(study["on_failure"], study["attempts"]):
            summary.unsettled -= 1
        self._ended[result.number] = result
        candidates = [*self._ended.values()] if self._is_joint else [*filter(None, [summary.best]), result]
        best = best_of(study, candidates)
        if best is not summary.best or self._is_joint:
            summary.best = best
            with self._lock.holding(AGGREGATE_LOCK):
                write_best(store, study, best, candidates)
        self._progress.show(summary)
        for callback in self._owner.callbacks:
            callback(Trial(config, result.attempt, store, study, result))


def _name_of(objective: Objective) -> str:
    """Return ``pkg.mod:fn``, which also is part of the trials' ids."""
    module = getattr(objective, "__module__", type(objective).__module__)
    if module == "__main__":
        import __main__

        module = os.path.splitext(os.path.basename(getattr(__main__, "__file__", "__main__")))[0]
    name = getattr(objective, "__qualname__", type(objective).__qualname__)
    return f"{module}:{name}"
