"""The other process of a probe: tries one backend after another and writes down each answer before it goes on."""

from __future__ import annotations

import json
import re
import sys
import warnings
from pathlib import Path
from typing import Any

from autotune.bench.backends import load
from autotune.bench.case import AttentionCase


def why(error: BaseException) -> str:
    """Return an exception as a reason of one line."""
    if type(error).__name__ == "OutOfMemoryError":
        return "out of memory"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else "no message"
    kind = type(error).__name__
    return (text if kind in ("RuntimeError", "NotImplementedError") else f"{kind}: {text}")[:400]


def attempt(target: str, case: AttentionCase, device: str) -> str | None:
    """Run a backend once; return why it does not work, or None."""
    import torch

    from autotune.bench.inputs import fill, new_inputs

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            backend = load(target)
            inputs = new_inputs(case, device)
            fill(inputs, "random", 0)
            call = backend.prepare(case, inputs)
            with backend.active():
                call()
            if device.startswith("cuda"):
                torch.cuda.synchronize(device)
        except Exception as error:  # noqa: BLE001 - a backend may raise anything
            # PyTorch says why a kernel was not used in warnings, and in the error only that none was left.
            return "; ".join([why(error), *(_plain(str(warning.message)) for warning in caught)])[:600]
    return None


def _plain(message: str) -> str:
    return re.sub(r"\s*\(Triggered internally at .*?\)", "", message).strip().split("\n")[0]


def main() -> int:
    """Read a request from standard input and append the answers to the file that it names."""
    request: dict[str, Any] = json.load(sys.stdin)
    case = AttentionCase.from_json(request["case"])
    with Path(request["answers"]).open("a", encoding="utf-8") as answers:
        for name, target in request["targets"].items():
            print(json.dumps({"backend": name}), file=answers, flush=True)
            reason = attempt(target, case, request["device"])
            print(json.dumps({"backend": name, "reason": reason}), file=answers, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
