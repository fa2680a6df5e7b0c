"""Ready-made sets of cases: what training, prefill and decoding of today's models ask for."""

from __future__ import annotations

from typing import Any

from autotune.bench.case import AttentionCase
from autotune.errors import InvalidInput, nearest

Shape = tuple[int, int, int, int, int, int]  # batch, heads, kv heads, Sq, Skv, D

_TRAIN: tuple[Shape, ...] = (
    (8, 16, 16, 512, 512, 64),
    (4, 16, 16, 2048, 2048, 64),
    (4, 16, 16, 2048, 2048, 128),
    (2, 16, 16, 4096, 4096, 128),
    (2, 32, 8, 4096, 4096, 128),
    (1, 32, 8, 8192, 8192, 128),
)
_PREFILL: tuple[Shape, ...] = (
    (1, 32, 8, 512, 512, 128),
    (4, 32, 8, 1024, 1024, 128),
    (1, 32, 8, 4096, 4096, 128),
    (1, 64, 8, 8192, 8192, 128),
    (1, 16, 16, 16384, 16384, 128),
    (1, 32, 8, 1024, 8192, 128),
    (8, 16, 16, 512, 512, 64),
    (2, 16, 16, 4096, 4096, 64),
)
_DECODE: tuple[Shape, ...] = (
    (1, 32, 8, 1, 2048, 128),
    (1, 32, 8, 1, 32768, 128),
    (8, 32, 8, 1, 1024, 128),
    (16, 32, 8, 1, 4096, 128),
    (32, 32, 8, 1, 8192, 128),
    (64, 64, 8, 1, 2048, 128),
    (8, 16, 16, 1, 4096, 64),
)
SUITES = ("train", "prefill", "decode")


def suite(name: str, dtype: str = "bf16") -> list[AttentionCase]:
    """Return the cases of a suite: training forward with backward, full and causal; prefill causal; decoding.

    Raises:
        InvalidInput: there is no such suite.
    """
    if name == "train":
        train: dict[str, Any] = {"dtype": dtype, "direction": "fwd+bwd"}
        found = [_case(shape, causal=causal, **train) for shape in _TRAIN for causal in (True, False)]
        return [*found, _case(_TRAIN[3], causal=True, window=1024, **train)]
    if name == "prefill":
        found = [_case(shape, dtype=dtype, causal=True) for shape in _PREFILL]
        windowed = _case(_PREFILL[4], dtype=dtype, causal=True, window=1024)
        return [*found, _case(_PREFILL[2], dtype=dtype), windowed]
    if name == "decode":
        return [_case(shape, dtype=dtype) for shape in _DECODE]
    raise InvalidInput(
        f"a suite must be one of {', '.join(SUITES)}, got {name!r}; {nearest(name, list(SUITES))}".rstrip("; ")
    )


def _case(shape: Shape, **how: Any) -> AttentionCase:
    sizes = zip(("batch", "heads", "kv_heads", "seq_q", "seq_kv", "d_k"), shape, strict=True)
    return AttentionCase(**{**dict(sizes), **how})
