"""Running the workflow: one Snakemake process, its output in a log, its progress read from the study directory."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import autotune
from autotune.aggregation import Summary, summarize
from autotune.progress import Progress
from autotune.storage import Results, StudyDir

_POLL_S = 0.2
_STOP_S = 60.0
_DRY_FLAGS = ("-n", "--dry-run", "--dryrun", "--lint", "--help", "-h", "--dag", "--rulegraph", "--list", "-l")


def command(store: StudyDir, study: dict[str, Any], rest: list[str]) -> list[str]:
    """Return the command line of Snakemake for a study: the packaged workflow, a profile, and what the user added."""
    argv = [sys.executable, "-m", "snakemake", "--snakefile", autotune.snakefile()]
    argv += [] if _names_profile(rest) else ["--profile", autotune.profile("local")]
    gpus = study["resources"]["gpus"]
    if gpus >= 1 and not any(word.startswith(("--resources", "--res", "--profile")) for word in rest):
        from autotune.execution.gpus import devices

        argv += ["--resources", f"gpu={len(devices())}"]
    config = f"log_dir={json.dumps(store.root)}"  # Snakemake reads the value as YAML, so JSON keeps any name as it is
    rest = [_packaged_profile(rest, place) for place in range(len(rest))]
    if "--config" in rest:  # a second --config would replace the first
        place = rest.index("--config") + 1
        return [*argv, *rest[:place], config, *rest[place:]]
    return [*argv, *rest, "--config", config]


def _names_profile(rest: list[str]) -> bool:
    return any(word.partition("=")[0] in ("--profile", "--workflow-profile") for word in rest)


def _packaged_profile(rest: list[str], place: int) -> str:
    """Let ``--profile slurm`` mean the project's own profile if it has one, the user's, else the packaged one."""
    word = rest[place]
    name = word.partition("=")[2] if word.startswith("--profile=") else word
    is_name = word.startswith("--profile=") or (place > 0 and rest[place - 1] == "--profile")
    user = os.path.join(os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config"), "snakemake", name)
    if not is_name or os.path.exists(name) or os.path.exists(user) or not os.path.exists(autotune.profile(name)):
        return word
    return word.replace(name, autotune.profile(name)) if word.startswith("--profile=") else autotune.profile(name)


def slots(rest: list[str]) -> int | None:
    """Return how many jobs the user lets run at a time (``-j 8``, ``--cores=4``), or None."""
    flags = ("-j", "--jobs", "-c", "--cores")
    for place, word in enumerate(rest):
        name, _, value = word.partition("=")
        if name in flags:
            value = value or "".join(rest[place + 1 : place + 2])
        elif word[:2] in ("-j", "-c") and word[2:].isdigit():
            value = word[2:]
        if value.isdigit():
            return int(value)
    return None


def run(store: StudyDir, study: dict[str, Any], rest: list[str]) -> tuple[int, Summary]:
    """Run Snakemake until it ends; return its exit status and where the study stands then.

    Its output goes to ``logs/snakemake.log``, and straight through where the user asked for a dry run.
    """
    argv = command(store, study, rest)
    results = Results(store)
    if is_dry(rest):
        status = subprocess.run(argv, check=False).returncode
        return status, summarize(store, study, results)
    with open(store.snakemake_log, "ab") as log:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        with _ending(process):
            summary = _follow(process, store, study, results)
    return process.returncode, summary


def is_dry(rest: list[str]) -> bool:
    """Return whether Snakemake is only to show something."""
    return any(flag in rest for flag in _DRY_FLAGS)


def log_tail(store: StudyDir, lines: int = 15) -> str:
    """Return the end of Snakemake's own output."""
    with contextlib.suppress(OSError), open(store.snakemake_log, encoding="utf-8", errors="replace") as log:
        return "".join(log.readlines()[-lines:]).rstrip()
    return ""


def _follow(process: subprocess.Popen[bytes], store: StudyDir, study: dict[str, Any], results: Results) -> Summary:
    summary = summarize(store, study, results)
    if not summary.unsettled:  # Snakemake only has to say that nothing is to be done
        process.wait()
        return summary
    with Progress(summary.trials, summary.done, plain=True) as progress:
        pause = _POLL_S
        while not _has_ended(process, pause):
            started = time.monotonic()
            summary = summarize(store, study, results)
            progress.show(summary)
            # Looking costs at most a thirtieth of a core, which the trials have better use for.
            pause = max(_POLL_S, 30 * (time.monotonic() - started))
    return summarize(store, study, results)


def _has_ended(process: subprocess.Popen[bytes], pause_s: float) -> bool:
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(pause_s)
    return process.poll() is not None


@contextlib.contextmanager
def _ending(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """End Snakemake when this process is told to end: it ends its jobs, which keep what is finished."""

    def terminate(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    except KeyboardInterrupt:
        sys.stderr.write("ending; a moment for the trials in flight\n")
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_S)
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
