"""``autotune compare``: two trials of a study, or two studies."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from autotune.aggregation import planned_results
from autotune.cli.command import add_log_dir, read_planned
from autotune.comparison import (
    CONFIDENCE,
    FEWEST,
    Difference,
    of_bests,
    of_shared,
    plan_differences,
    shared_trials,
    space_differences,
)
from autotune.errors import InvalidInput
from autotune.files import canonical
from autotune.objectives import eligible
from autotune.storage import Results, StudyDir

HELP = "Compare two trials of a study (by number), or two studies (by directory): what differs, and which is better."
EPILOG = """example:
  autotune compare 3 7                        # two trials
  autotune compare ../old/.autotune .autotune # two studies
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See command.run_command."""
    parser.add_argument("a", help="a trial's number, or a study directory")
    parser.add_argument("b", help="the other one")
    parser.add_argument("--json", action="store_true", help="one JSON object, for scripts")
    add_log_dir(parser)


def run(args: argparse.Namespace) -> int:
    """See command.run_command."""
    numbers = [text.isascii() and text.isdigit() for text in (args.a, args.b)]
    if any(numbers) and not all(numbers):
        raise InvalidInput(
            f"`autotune compare` takes two trial numbers or two study directories, got {args.a!r} and {args.b!r}; "
            "write ./7 for a directory that is named like a number"
        )
    if all(numbers):
        found = compare_trials(StudyDir(args.log_dir), int(args.a), int(args.b))
        say = _say_trials
    else:
        found = compare_studies(StudyDir(args.a), StudyDir(args.b))
        say = _say_studies
    if args.json:
        print(json.dumps(found, sort_keys=True))
    else:
        for line in say(found):
            print(line)
    return 0


def compare_trials(store: StudyDir, a: int, b: int) -> dict[str, Any]:
    """Return what differs between two trials: params, metrics, state, duration (s), host."""
    study = store.read_study()
    sides = []
    for number in (a, b):
        config, result = read_planned(store, number, study), store.read_result(number)
        facts: dict[str, Any] = {"state": "missing", "round": config.round, "fidelity": config.fidelity}
        if result is not None:
            facts |= {name: getattr(result, name) for name in ("state", "duration_s", "host", "gpus")}
            facts["error"] = result.outcome.error
        sides.append({"params": config.params, "metrics": {} if result is None else result.metrics, "trial": facts})
    pairs = {part: _pairs(sides[0][part], sides[1][part]) for part in ("params", "metrics", "trial")}
    differing = {name: pair for name, pair in pairs["params"].items() if pair[0] != pair[1]}
    return {"a": a, "b": b, "params": differing, "metrics": pairs["metrics"], "trial": pairs["trial"]}


def compare_studies(a: StudyDir, b: StudyDir) -> dict[str, Any]:
    """Return what differs between two studies, and what their shared trials and their bests say."""
    studies = [a.read_study(), b.read_study()]
    results = [list(planned_results(study, Results(store).refresh()).values()) for study, store in zip(studies, (a, b))]
    metric, mode = studies[0]["metric"], studies[0]["mode"]
    found: dict[str, Any] = {
        "a": a.root,
        "b": b.root,
        "metric": metric,
        "mode": mode,
        "trials": [len(some) for some in results],
        "plan": plan_differences(*studies),
        "space": space_differences(*studies),
        "shared": None,
        "best": None,
        "adaptive": any(study["rounds"] > 1 for study in studies),
    }
    if (metric, mode) != (studies[1]["metric"], studies[1]["mode"]):
        return found
    equally_many = min(map(len, results))
    first = [eligible(study, some[:equally_many]) for study, some in zip(studies, results)]
    a_values, b_values = ([result.metrics[metric] for result in some] for some in first)
    shared = of_shared(shared_trials(results[0], results[1], metric), metric)
    bests = of_bests(a_values, b_values, equally_many, mode)
    return found | {"shared": _record(shared, mode), "best": _record(bests, mode)}


def _record(difference: Difference | None, mode: str) -> dict[str, Any] | None:
    return None if difference is None else asdict(difference) | {"winner": difference.winner(mode)}


def _pairs(a: dict[str, Any], b: dict[str, Any]) -> dict[str, list[Any]]:
    return {name: [a.get(name), b.get(name)] for name in {**a, **b}}


def _say_trials(found: dict[str, Any]) -> Iterable[str]:
    yield f"A is trial {found['a']}, B is trial {found['b']}"
    yield from _table("params that differ", found["params"])
    yield from _table("metrics", found["metrics"])
    yield from _table("trials", {name: pair for name, pair in found["trial"].items() if pair[0] != pair[1]})


def _say_studies(found: dict[str, Any]) -> Iterable[str]:
    yield f"A is {found['a']} ({found['trials'][0]} results), B is {found['b']} ({found['trials'][1]} results)"
    yield from _table("plan", found["plan"])
    yield from _table("space", found["space"])
    if "metric" in found["plan"] or "mode" in found["plan"]:
        yield "the studies judge by different metrics, so their values are not compared"
        return
    metric, shared, best = found["metric"], found["shared"], found["best"]
    better = "less" if found["mode"] == "min" else "more"
    if shared is None:
        yield "no trial is shared: none is the same work (objective, params, seed, fidelity) and complete in both"
    else:
        yield f"{shared['values']} shared trials (equal id): mean {metric} {_numbers(shared)}"
        yield f"  {_verdict(shared, better)}"
    if best is None:
        yield "among equally many trials of each, one has none that may be best; `autotune status` says why"
        return
    yield f"best {metric} after {best['values']} trials each: {_numbers(best)}"
    if found["adaptive"]:
        yield "  of one run each of an adaptive searcher: other seeds would come out otherwise, so nothing is proven"
    else:
        yield f"  {_verdict(best, better)} (by how it varies if the trials are drawn again)"


def _numbers(difference: dict[str, Any]) -> str:
    numbers = f"A {difference['a']:.6g}, B {difference['b']:.6g}, B - A {difference['difference']:.4g}"
    if difference["interval"] is None:
        return numbers
    low, high = difference["interval"]
    return f"{numbers} [{low:.4g}, {high:.4g}] ({CONFIDENCE:.0%} bootstrap)"


def _verdict(difference: dict[str, Any], better: str) -> str:
    if difference["interval"] is None:
        return f"which is better is open: an interval needs {FEWEST} values"
    if not any(difference["interval"]):
        return "the values are equal"
    if difference["winner"] is None:
        return "which is better is open: the interval holds 0"
    return f"{difference['winner']} is better, as {better} is"


def _table(title: str, pairs: dict[str, Any]) -> Iterable[str]:
    if not pairs:
        return
    rows = [(title, "A", "B"), *((name, _text(a), _text(b)) for name, (a, b) in pairs.items())]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for name, a, b in rows:
        yield f"{name:<{widths[0]}}  {a:<{widths[1]}}  {b}"


def _text(value: Any) -> str:
    return "-" if value is None else value if isinstance(value, str) else canonical(value)
