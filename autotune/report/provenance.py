"""Where the numbers come from: the plan, the versions, the user's code, the hardware."""

from __future__ import annotations

import platform
import subprocess
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from autotune import __version__
from autotune.files import canonical
from autotune.report.data import Data

Facts = dict[str, list[tuple[str, str]]]  # heading -> (name, value)

_PACKAGES = ("snakemake", "numpy", "scipy", "torch", "optuna", "plotly", "matplotlib")
# Of study.json, what is said elsewhere in the report, or follows from the rest.
_NOT_TOLD = ("space", "parameters", "schema_version", "config_bytes", "blocks", "versions", "searcher", "seed")
_GIT_TIMEOUT_S = 20
_MOST_LINES = 20


def provenance(data: Data) -> Facts:
    """Return all that is known of how the results came about, as texts."""
    study = data.study
    options = study["searcher"]["options"]
    searcher = study["searcher"]["name"] + (f" {canonical(options)}" if options else "")
    others = {name: item for name, item in study.items() if name not in _NOT_TOLD and item not in (None, {}, [])}
    return {
        "Study": [
            ("directory", data.snapshot.folder),
            ("searcher", searcher),
            ("seed", str(study["seed"])),
            *((name, item if isinstance(item, str) else canonical(item)) for name, item in others.items()),
        ],
        "Space": [(name, canonical(spec)) for name, spec in data.snapshot.parameters.items()],
        "Hardware": _hardware(data),
        "Code, as it was when this report was written": _code(study["search_path"]),
        "Versions": _versions(data),
    }


def _hardware(data: Data) -> list[tuple[str, str]]:
    """Return what the results say: hosts and GPUs, by how many trials they ran."""
    results = data.snapshot.results
    gpus = Counter(f"{result.host}, " + (f"GPU {result.gpus}" if result.gpus else "no GPU") for result in results)
    environments = Counter(result.environment for result in results if result.environment)
    rows = [(f"{trials} trials on", where) for where, trials in gpus.most_common(_MOST_LINES)]
    if len(gpus) > _MOST_LINES:
        rows.append(("and", f"{len(gpus) - _MOST_LINES} more hosts or sets of GPUs; trials.csv has them all"))
    rows += [(f"{trials} trials in", f"environment {digest}") for digest, trials in environments.most_common()]
    return rows


def _versions(data: Data) -> list[tuple[str, str]]:
    rows = [
        ("planned by Autotune", data.study["versions"]["autotune"]),
        ("report by Autotune", __version__),
        ("report written", datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")),
        ("report written on", f"{platform.node()}, {platform.platform()}, Python {platform.python_version()}"),
    ]
    for package in _PACKAGES:
        try:
            rows.append((package, version(package)))
        except PackageNotFoundError:
            continue
    return rows


def _code(folder: str) -> list[tuple[str, str]]:
    """Return commit and state of the Git repository that the objective's folder is in."""

    def git(*args: str) -> str:
        done = subprocess.run(
            ["git", "-C", folder, *args], capture_output=True, text=True, timeout=_GIT_TIMEOUT_S, check=True
        )
        return done.stdout.strip()

    try:
        return [("commit", git("rev-parse", "HEAD")), ("branch", git("branch", "--show-current")), _changes(git)]
    except (OSError, subprocess.SubprocessError):
        return [("commit", f"none: {folder!r} is in no Git repository with a commit, or git is not installed")]


def _changes(git: Callable[..., Any]) -> tuple[str, str]:
    lines = git("status", "--porcelain", "--untracked-files=no").splitlines()
    return ("state", f"dirty: {len(lines)} files differ from the commit" if lines else "clean: no tracked file differs")
