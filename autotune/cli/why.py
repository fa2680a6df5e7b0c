"""``autotune why``: field by field why a trial's result was, or was not, taken over from elsewhere."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autotune.cli.command import add_log_dir, read_planned
from autotune.files import canonical
from autotune.origin import Origin, origin_of
from autotune.records import Result, TrialConfig
from autotune.reuse import WORK, Candidate, candidates, obstacles
from autotune.storage import StudyDir

HELP = "Say field by field why a trial was, or was not, taken over from another study or the cache."
EPILOG = """example:
  autotune why 7
  autotune why 7 --json | jq .differing
It compares the trial with the result elsewhere that is nearest to it.
"""


@dataclass(frozen=True, slots=True)
class Field:
    """One thing that two trials must have in common; ``matters`` is False where it is only said."""

    name: str
    here: Any
    there: Any
    matters: bool = True

    @property
    def differs(self) -> bool:
        """Whether it is not the same."""
        return bool(canonical(self.here) != canonical(self.there))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See command.run_command."""
    parser.add_argument("trial", type=int, help="the trial's number")
    parser.add_argument("--json", action="store_true", help="one JSON object, for scripts")
    add_log_dir(parser)


def run(args: argparse.Namespace) -> int:
    """See command.run_command."""
    store, number = StudyDir(args.log_dir), args.trial
    study = store.read_study()
    config, result = read_planned(store, number, study), store.read_result(number)
    ran_here = result is not None and not result.reused_from
    here = Origin(result.source, result.hardware) if result is not None and ran_here else origin_of(study)
    where, fields = nearest_candidate(store, study, config, result, here)
    differing = [item.name for item in fields if item.differs and item.matters]
    sentence = _sentence(result, where, differing)
    if args.json:
        table = {item.name: {"here": item.here, "there": item.there, "matters": item.matters} for item in fields}
        found = {"number": number, "why": sentence, "nearest": where, "fields": table, "differing": differing}
        print(json.dumps(found, sort_keys=True))
        return 0
    print(f"trial {number}: {sentence}")
    for item in fields:
        mark = "=" if not item.differs else "!" if item.matters else "~"
        texts = [canonical(item.here)] if not item.differs else [f"{canonical(item.here)} here", canonical(item.there)]
        print(f"  {mark} {item.name:<12} {', '.join(texts)}{' there' * item.differs}")
    if any(item.differs and not item.matters for item in fields):
        print("~ differs, and does not keep a result from being taken over")
    return 0


def nearest_candidate(
    store: StudyDir, study: Mapping[str, Any], config: TrialConfig, result: Result | None, here: Origin
) -> tuple[str | None, list[Field]]:
    """Return the result elsewhere that has most in common with a trial, and all that counts; None, [] without any."""
    best: tuple[str | None, list[Field]] = (None, [])
    fewest = None
    for candidate in candidates(store, study):
        fields = compared(study, config, candidate, here)
        is_origin = result is not None and result.reused_from == candidate.where
        differing = -1 if is_origin else sum(item.differs * (100 if item.matters else 1) for item in fields)
        if fewest is None or differing < fewest:
            best, fewest = (candidate.where, fields), differing
    return best


def compared(study: Mapping[str, Any], config: TrialConfig, candidate: Candidate, here: Origin) -> list[Field]:
    """Return what a trial and a result elsewhere have to have in common, each as it is here and there."""
    there = candidate.result
    is_cached = not candidate.is_chosen and not study.get("version")
    blocking = obstacles(study, there, here)
    return [
        *(Field(name, study.get(name), candidate.work.get(name)) for name in WORK),
        *(
            Field(f"params.{name}", config.params.get(name), there.params.get(name))
            for name in dict.fromkeys([*config.params, *there.params])
        ),
        Field("fidelity", config.fidelity, there.fidelity),
        Field("repeat", config.repeat, there.repeat or 0),
        *(Field(name, *pair) for name, pair in blocking.items()),
        Field("source", here.source, there.source, matters=is_cached),
    ]


def _sentence(result: Result | None, where: str | None, differing: list[str]) -> str:
    if result is not None and result.reused_from:
        return f"its result was taken over from {result.reused_from}, where the same work was done"
    if where is None:
        return "there is no other study to take a result from; `reuse` and `cache` in the study file name some"
    ran = "it has not run" if result is None else "it ran here"
    if differing:
        return f"{ran}: the nearest result elsewhere is {where}, which differs in {', '.join(differing)}"
    return (
        f"{ran}: {where} is the same work, but was not there, or not yet named, when the trial was planned"
        if result is not None
        else f"{ran}: {where} is the same work, and the same command as before takes it over"
    )
