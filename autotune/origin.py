"""What a result depends on beside its trial's id: the source of the objective, and where it is a time, the hardware."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotune.objectives import objectives_of

# `latency_ms`, `time`, `tokens_per_s`: what another machine would measure otherwise.
_TIMED = re.compile(r"(?i)(^|_)([mun]?s|sec|seconds|time|latency|duration|throughput|speed|speedup|fps|t?flops)($|_)")
_LARGEST_BYTES = 16_000_000  # a file of this size that a command names is data, and no source


@dataclass(frozen=True, slots=True)
class Origin:
    """What a process that runs trials has in common with another one that would get the same results.

    ``source`` is the digest of the objective's file, ``hardware`` the model of the GPU, or of the processor where
    trials need no GPU; None where it is not known, or does not matter.
    """

    source: str | None = None
    hardware: str | None = None


def origin_of(study: Mapping[str, Any]) -> Origin:
    """Return the origin that trials of a study would have if they ran here and now.

    Args:
        study: the content of ``study.json``.
    """
    return Origin(source_digest(study), hardware_class(study) if is_timed(study) else None)


def is_timed(study: Mapping[str, Any]) -> bool:
    """Return whether the results hold on equal hardware only: as the study says, else by the names of its metrics."""
    if study.get("hardware"):
        return bool(study["hardware"] == "same")
    return any(_TIMED.search(name) for name, _ in objectives_of(study))


def source_files(study: Mapping[str, Any]) -> list[str]:
    """Return the files that hold the objective: its module's own, or those that a command names; none if not found.

    What these import in turn is not among them.
    """
    folders = list(dict.fromkeys(os.path.realpath(folder) for folder in (study.get("search_path", "."), ".")))
    if study["command"]:
        return list(dict.fromkeys(_files_of_command(study["command"], folders)))
    name = (study["objective"] or "").partition(":")[0]
    path = getattr(sys.modules.get(name), "__file__", None) or _module_file(name, folders) or _script(name)
    return [path] if path and os.path.isfile(path) else []


def source_digest(study: Mapping[str, Any]) -> str | None:
    """Return 16 hexadecimal digits that stand for the content of the objective's files; None if there are none."""
    contents = hashlib.sha256()
    files = source_files(study)
    try:
        for path in files:
            contents.update(hashlib.sha256(Path(path).read_bytes()).digest())
    except OSError:
        return None
    return contents.hexdigest()[:16] if files else None


def _files_of_command(command: str, folders: list[str]) -> Iterator[str]:
    """Yield the files below the folders that a command line names; an interpreter is elsewhere."""
    try:
        words = shlex.split(command)
    except ValueError:
        return
    for place, word in enumerate(words):
        if place and words[place - 1] == "-m":
            module = _module_file(word, folders)
            if module:
                yield module
            continue
        for folder in folders:
            path = os.path.realpath(os.path.join(folder, word))
            if path.startswith(folder + os.sep) and os.path.isfile(path) and os.path.getsize(path) < _LARGEST_BYTES:
                yield path
                break


def _script(name: str) -> str | None:
    """Return the file of the running program, where an objective that is defined in it is named after it."""
    path = getattr(sys.modules.get("__main__"), "__file__", None)
    return path if path and os.path.splitext(os.path.basename(path))[0] == name else None


def _module_file(name: str, folders: list[str]) -> str | None:
    base = name.replace(".", os.sep)
    paths = (
        os.path.join(folder, path)
        for folder in folders
        for path in (f"{base}.py", f"{base}/__main__.py", f"{base}/__init__.py")
    )
    return next(filter(os.path.isfile, paths), None)


def hardware_class(study: Mapping[str, Any]) -> str:
    """Return the models of this machine's GPUs, or of its processor where the study's trials need no GPU."""
    if study["resources"]["gpus"]:
        import shutil
        import subprocess

        program = shutil.which("nvidia-smi")
        command = [str(program), "--query-gpu=name", "--format=csv,noheader"]
        answer = subprocess.run(command, capture_output=True, text=True, check=False).stdout if program else ""
        if answer.strip():
            return ", ".join(sorted({line.strip() for line in answer.splitlines()}))
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        text = ""
    model = re.search(r"model name\s*:\s*(.+)", text)
    return model[1].strip() if model else platform.machine()
