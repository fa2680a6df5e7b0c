"""Whether a backend runs here, found out by running it: a small call in another process, where a crash is an answer.

That a package can be imported says little: xformers does, and then refuses every operator, where its library was
built for another CUDA.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from autotune.bench.case import AttentionCase

START_S, EACH_S = 120.0, 90.0  # torch and CUDA can take a minute from a cold network disk; a first call may compile
_SEQ, _KV_HEADS = 128, 2


def small(case: AttentionCase) -> AttentionCase:
    """Return a case of the same kind (dtype, d_k, head ratio, mask, direction) that takes no time."""
    kv_heads = min(case.kv_heads, _KV_HEADS)
    return replace(
        case,
        batch=1,
        kv_heads=kv_heads,
        heads=kv_heads * (case.heads // case.kv_heads),
        seq_q=min(case.seq_q, _SEQ),
        # One more than seq_q keeps the kind too: a mask that is not square is another code path.
        seq_kv=min(case.seq_kv, _SEQ + (case.seq_kv != case.seq_q)),
    )


def probe(case: AttentionCase, device: str, targets: Mapping[str, str]) -> dict[str, str | None]:
    """Return for each backend (name -> ``module:Class``) why it does not run here, or None where it does.

    One process tries all of them in turn. Where it dies or hangs, the backend that it was at is to blame, and
    another process tries the rest.
    """
    reasons: dict[str, str | None] = {}
    left = dict(targets)
    while left:
        answers, current, death = _run(small(case), device, left)
        reasons |= answers
        left = {name: target for name, target in left.items() if name not in answers}
        for name in [current] if current in left else list(left):
            reasons[name] = death
            del left[name]
    return {name: reasons[name] for name in targets}


def _run(case: AttentionCase, device: str, targets: Mapping[str, str]) -> tuple[dict[str, str | None], str | None, str]:
    """Run one process; return its answers, the backend that it was at when it ended, and how it ended."""
    with tempfile.TemporaryDirectory(prefix="autotune-probe-") as folder:
        answers_file = Path(folder, "answers.jsonl")
        request = {"case": case.to_json(), "device": device, "targets": dict(targets), "answers": str(answers_file)}
        command = [sys.executable, "-m", "autotune.bench.probe_child"]
        death = ""
        with Path(folder, "stderr").open("w+b") as stderr:
            try:
                status = subprocess.run(
                    command,
                    input=json.dumps(request).encode(),
                    stdout=subprocess.DEVNULL,
                    stderr=stderr,
                    timeout=START_S + EACH_S * len(targets),
                    env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                    check=False,
                ).returncode
                death = _how_it_ended(status, stderr)
            except subprocess.TimeoutExpired as expired:
                death = f"a trial run did not end within {expired.timeout:.0f} s"
        return *_read(answers_file), death


def _read(path: Path) -> tuple[dict[str, str | None], str | None]:
    answers: dict[str, str | None] = {}
    current = None
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            record: dict[str, Any] = json.loads(line)
        except ValueError:  # it died while it wrote
            break
        current = record["backend"]
        if "reason" in record:
            answers[current] = record["reason"]
    return answers, current


def _how_it_ended(status: int, stderr: Any) -> str:
    if status < 0:
        try:
            return f"a trial run was killed by {signal.Signals(-status).name}"
        except ValueError:
            return f"a trial run was killed by signal {-status}"
    stderr.seek(0)
    lines = stderr.read().decode(errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "no message")
    return f"a trial run ended with exit status {status}: {last[:300]}"
