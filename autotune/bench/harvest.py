"""Run a user's own program, unchanged, and record which attention it computes."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from autotune.bench import preload
from autotune.bench.profile import Profile, merged
from autotune.errors import InvalidInput

_GRACE_S = 5.0


def record(command: str, *, steps: int, limit_s: float) -> Profile:
    """Run a command line until it ends, or for so many steps of its optimizer or seconds, and return its attention.

    What it prints goes to standard error. ``torch.compile`` does nothing meanwhile, for what it compiles cannot be
    counted; shapes and counts are the same.

    Raises:
        InvalidInput: it cannot be started, or computes no attention that is seen.
    """
    argv = _argv(command)
    with tempfile.TemporaryDirectory(prefix="autotune-record-") as folder:
        ended = _run(argv, {**os.environ, **_environment(folder, steps)}, limit_s)
        records = [_read(path) for path in sorted(Path(folder).glob("*.json"))]
    if not records:
        raise InvalidInput(
            f"the program must call PyTorch's, flash-attn's or flex attention, but no call was seen: {command!r} "
            f"{ended}; a Python that ignores PYTHONPATH (-I, -E, -S) or a script that sets it anew cannot be recorded"
        )
    ended = f"was ended after {steps} steps" if steps and max(one["steps"] for one in records) >= steps else ended
    return merged(command, records, ended)


def _argv(command: str) -> list[str]:
    try:
        argv = shlex.split(command)
    except ValueError as error:
        raise InvalidInput(f"--from must be a command line, got {command!r}: {error}") from None
    if not argv:
        raise InvalidInput("--from must be a command line such as 'python train.py', got an empty one")
    return argv


def _environment(folder: str, steps: int) -> dict[str, str]:
    return {
        "PYTHONPATH": os.pathsep.join(filter(None, [*preload.__path__, os.environ.get("PYTHONPATH")])),
        "AUTOTUNE_RECORD": folder,
        "AUTOTUNE_RECORD_STEPS": str(steps),
        "TORCHDYNAMO_DISABLE": "1",
    }


def _run(argv: list[str], environment: dict[str, str], limit_s: float) -> str:
    """Run a program and return how it ended; nothing that it started in its session outlives this."""
    try:
        process = subprocess.Popen(argv, env=environment, stdin=subprocess.DEVNULL, stdout=2, start_new_session=True)
    except OSError as error:
        raise InvalidInput(f"--from must be a command that can be started, got {argv[0]!r}: {error.strerror}") from None
    try:
        status = process.wait(limit_s)
        return f"ended with status {status}"
    except subprocess.TimeoutExpired:
        _signal(process, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_S)
        return f"was ended after {limit_s:g} s"
    finally:
        _signal(process, signal.SIGKILL)
        process.wait()


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_bytes())
    return found
