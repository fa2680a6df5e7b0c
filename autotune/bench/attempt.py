"""Whether a backend runs here, found out by running it on a tiny case.

That a package can be imported says little: xformers does, and then refuses every operator, where its library was
built for another CUDA.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import replace

from autotune.bench.backends import load
from autotune.bench.case import AttentionCase

_SEQ, _KV_HEADS = 128, 2


def small(case: AttentionCase) -> AttentionCase:
    """Return a case of the same kind (dtype, sizes, head ratio, mask, direction) that takes no time."""
    kv_heads = min(case.kv_heads, _KV_HEADS)
    # One more or less than seq_q keeps the kind too: a mask that is not square is another code path.
    more = (case.seq_kv > case.seq_q) - (case.seq_kv < case.seq_q)
    lengths = min(case.seq_q, _SEQ), min(case.seq_kv, _SEQ + more)
    heads = kv_heads * (case.heads // case.kv_heads)
    return replace(case.resized(*lengths), batch=1, kv_heads=kv_heads, heads=heads)


def why(error: BaseException) -> str:
    """Return an exception as a reason of one line."""
    if type(error).__name__ == "OutOfMemoryError":
        return "out of memory"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else "no message"
    kind = type(error).__name__
    return (text if kind in ("RuntimeError", "NotImplementedError", "AcceleratorError") else f"{kind}: {text}")[:400]


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
