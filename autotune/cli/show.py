"""``autotune show``: all there is to know of one trial."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import time
from dataclasses import asdict
from typing import Any

from autotune.cli.command import add_log_dir, read_planned
from autotune.live import Running, lasting, who_runs
from autotune.records import FAILED, Result, TrialConfig
from autotune.storage import StudyDir

HELP = "Say all of one trial: parameters, state, metrics, error, the end of its log, files, and whether it runs again."
EPILOG = """example:
  autotune show 7
  autotune show 7 --json | jq .result.metrics
"""
_TAIL_LINES, _TAIL_BYTES = 12, 20_000


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
    running = who_runs(store, number, study["metric"])
    sentence = why(study, result, running)
    state = "running" if running else "missing" if result is None else result.state
    tail, files = _log_tail(store.stdout_file(number)), _files(store, number)
    if args.json:
        found = {
            "number": number,
            "state": state,
            "why": sentence,
            "config": config.to_dict(),
            "result": None if result is None else result.to_dict(),
            "running": None if running is None else asdict(running),
            "files": files,
            "log_tail": tail,
        }
        print(json.dumps(found, sort_keys=True))
        return 0
    print(f"trial {number}: {state}; {sentence}")
    for name, text in _lines(study, config, result, running):
        print(f"{name:<9} {text}")
    if tail:
        print(f"the end of its log (all of it: `autotune logs {number}`):")
        print("\n".join(f"  {line}" for line in tail))
    print("files")
    print("\n".join(f"  {path}" for path in files))
    return 0


def why(study: dict[str, Any], result: Result | None, running: Running | None) -> str:
    """Return why the trial ran, or did not, and whether the same command runs it again."""
    if running is not None:
        return f"it runs now, attempt {running.attempt or '?'}"
    if result is None:
        return "it has not run, or its job died before the trial ended: the same command as before runs it"
    if result.retry:
        return "`autotune retry` has put it back to work: the same command as before runs it again"
    if not result.settles(study["on_failure"], study["attempts"]):
        return "it failed, and the same command as before runs it again"
    if result.reused_from:
        return (
            f"it did not run here: its result was taken over from {result.reused_from}, where the same work (equal id) "
            f"had it; `autotune why {result.number}` says all"
        )
    stands = "its failure stands" if result.state == FAILED else "it is done"
    return f"it ran here, and {stands}; `autotune retry {result.number}` would run it again"


def _lines(
    study: dict[str, Any], config: TrialConfig, result: Result | None, running: Running | None
) -> list[tuple[str, str]]:
    """Return what is known as name and text."""
    names = [name for name in study["parameters"] if name in config.params]
    lines = [("params", ", ".join(f"{name}={config.params[name]!r}" for name in names))]
    if result is not None:
        if result.metrics:
            lines.append(("metrics", ", ".join(f"{name} {value!r}" for name, value in result.metrics.items())))
        took = f"{_clock(result.started_at)}, took {lasting(result.duration_s)}" + _where(result.host, result.gpus)
        lines.append(("ran", f"{took}, attempt {result.attempt}"))
        if result.outcome.error:
            lines.append(("error", f"({result.outcome.reason}) {result.outcome.error}"))
    if running is not None and running.started_at is not None:
        lines.append(("runs", f"since {_clock(running.started_at)}" + _where(running.host, running.gpus)))
        if running.last is not None:
            lines.append(("last", f"{running.last.tag} {running.last.value:.6g} at step {running.last.step}"))
    planned = {"round": config.round, "fidelity": config.fidelity, "parent": config.parent, "repeat": config.repeat}
    planned = {name: item for name, item in planned.items() if item is not None and item != 0}
    lines.append(("planned", ", ".join(f"{name} {item}" for name, item in {"seed": config.seed, **planned}.items())))
    lines.append(("id", config.id))
    return lines


def _clock(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def _where(host: str | None, gpus: str | None) -> str:
    return (f" on {host}" if host else "") + (f", GPU {gpus}" if gpus else "")


def _files(store: StudyDir, number: int) -> list[str]:
    """Return the files that there are, with those of the trial's own folder."""
    files = [store.config_file(number), store.result_file(number)]
    files += [store.batch_log(batch) for batch in store.batches() if number in batch.numbers]
    files = [path for path in files if os.path.exists(path)]
    with contextlib.suppress(OSError):
        files += sorted(entry.path for entry in os.scandir(store.work_dir(number)))
    return files


def _log_tail(path: str) -> list[str]:
    with contextlib.suppress(OSError), open(path, "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL_BYTES))
        return file.read().decode(errors="replace").splitlines()[-_TAIL_LINES:]
    return []
