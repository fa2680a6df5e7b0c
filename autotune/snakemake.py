"""Running the workflow: one Snakemake process, its output in a log, its progress read from the study directory."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import autotune
from autotune.aggregation import Summary, summarize
from autotune.budget import spent_sentence
from autotune.files import load_user_file
from autotune.progress import Progress
from autotune.storage import Results, StudyDir

_CONFIG_FOLDERS = (os.environ.get("XDG_CONFIG_HOME") or "~/.config", "/etc/xdg")
_POLL_S = 0.2
_PLAIN_POLL_S = 10.0  # where no bar moves
_STOP_S = 60.0
_DRY_FLAGS = ("-n", "--dry-run", "--dryrun", "--lint", "--help", "-h", "--dag", "--rulegraph", "--list", "-l")


def command(store: StudyDir, study: dict[str, Any], rest: list[str]) -> list[str]:
    """Return the command line of Snakemake for a study: the packaged workflow, a profile, and what the user added."""
    argv = [sys.executable, "-m", "snakemake", "--snakefile", autotune.snakefile()]
    argv += [] if _names_profile(rest) else ["--profile", autotune.profile("local")]
    gpus = study["resources"]["gpus"]
    needs_gpus = isinstance(gpus, str) or gpus >= 1 or "cuda" in str(study.get("attention", {}).get("device"))
    if needs_gpus and not any(word.startswith(("--resources", "--res", "--profile")) for word in rest):
        from autotune.execution.gpus import devices

        argv += ["--resources", f"gpu={len(devices())}"]
    config = f"log_dir={_config_value(store.root)}"
    rest = [_packaged_profile(rest, place) for place in range(len(rest))]
    if "--config" in rest:  # a second --config would replace the first
        place = rest.index("--config") + 1
        return [*argv, *rest[:place], config, *rest[place:]]
    return [*argv, *rest, "--config", config]


def _config_value(text: str) -> str:
    """Return a text as ``--config`` takes it: it strips quotes at both ends, then tries a number, then YAML."""
    quoted = json.dumps(text, ensure_ascii=False)
    try:
        float(text)
    except ValueError:
        if re.fullmatch(r"[./A-Za-z][\w./-]*", text):
            return quoted
    return f"!!str {quoted} "  # neither end is a quote, and it is no number


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


def settings(rest: list[str]) -> dict[str, Any]:
    """Return what profiles and flags say of these settings; a flag wins, then the last profile, as with Snakemake."""
    found: dict[str, Any] = {"executor": None, "jobs": None, "latency-wait": 5}
    found["slurm-init-seconds-before-status-checks"] = 40
    argv = [_packaged_profile(rest, place) for place in range(len(rest))]
    for name in _values(argv, "--profile"):
        file = _profile_file(name)
        content = load_user_file(file) if file else None
        found |= {key: item for key, item in (content or {}).items() if key in found}
    for key in found:
        found[key] = (_values(argv, f"--{key}", *(["-e"] if key == "executor" else [])) or [found[key]])[-1]
    return found


def is_on_slurm(rest: list[str]) -> bool:
    """Return whether Snakemake is to send jobs to SLURM."""
    return not is_dry(rest) and settings(rest)["executor"] == "slurm"


def _values(argv: list[str], *flags: str) -> list[str]:
    """Return the values that flags have: ``--profile slurm``, ``--profile=slurm``."""
    after = [argv[place + 1] for place, word in enumerate(argv[:-1]) if word in flags]
    return after + [word.partition("=")[2] for word in argv if word.partition("=")[0] in flags and "=" in word]


def _profile_file(name: str) -> str | None:
    """Return the file of a profile, found as Snakemake finds it."""
    for folder in ("", *(os.path.join(place, "snakemake") for place in _CONFIG_FOLDERS)):
        path = os.path.join(os.path.expanduser(folder), name)
        if os.path.isfile(path):
            return path
        if os.path.isdir(path):
            names = sorted(
                file for file in os.listdir(path) if re.fullmatch(r"(profile|config)(\.v\d+\+)?\.yaml", file)
            )
            return os.path.join(path, names[-1]) if names else None
    return None


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


def run(store: StudyDir, study: dict[str, Any], rest: list[str], targets: Sequence[str] = ()) -> tuple[int, Summary]:
    """Run Snakemake until it ends; return its exit status and where the study stands then.

    Its output goes to ``logs/snakemake.log``, and straight through where the user asked for a dry run.
    ``targets`` are the files to be made, where not all of the study is to run.
    """
    argv = [*command(store, study, rest), *(["--", *targets] if targets else [])]
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
    looks_often = sys.stderr.isatty() or study.get("budget")  # where nobody looks on, only a budget is in a hurry
    shortest = _POLL_S if looks_often else _PLAIN_POLL_S
    with Progress(summary.trials, summary.done, plain=True) as progress:
        pause, is_spent = shortest, False
        while not has_ended(process, pause):
            started = time.monotonic()
            summary = summarize(store, study, results)
            progress.show(summary)
            is_spent = is_spent or close_if_spent(store, study, process)
            # Looking costs at most a thirtieth of a core, which the trials have better use for.
            pause = max(shortest, 30 * (time.monotonic() - started))
    return summarize(store, study, results)


def close_if_spent(store: StudyDir, study: dict[str, Any], process: subprocess.Popen[bytes]) -> bool:
    """Have Snakemake begin no further job if the study's budget is spent, and say whether it is; what runs may end."""
    is_spent = spent_sentence(store, study) is not None
    if is_spent:
        process.terminate()
    return is_spent


def has_ended(process: subprocess.Popen[bytes], pause_s: float) -> bool:
    """Wait for the process for a while; return whether it has ended."""
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
    except BaseException:
        sys.stderr.write("ending; a moment for the trials in flight\n")
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_S)
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
