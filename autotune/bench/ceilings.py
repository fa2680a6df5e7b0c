"""What the machine can do at best, measured: a large matrix product and a large copy. Nothing is quoted."""

from __future__ import annotations

import statistics
from typing import Any

_SIZE = 8192
_COPY_BYTES = 1 << 30
_REPEATS = 10

_found: dict[tuple[str, str], dict[str, Any]] = {}


def ceilings(device: str, dtype: str) -> dict[str, Any]:
    """Return ``matmul_tflops`` (8192 cubed, random, of this dtype) and ``copy_gbs`` (read plus written).

    Measured once a process. Empty on a CPU, and where there is no room for it.
    """
    if not device.startswith("cuda"):
        return {}
    if (device, dtype) not in _found:
        import torch

        try:
            _found[device, dtype] = _measured(device, dtype)
        except torch.cuda.OutOfMemoryError:
            return {}
    return _found[device, dtype]


def _measured(device: str, dtype: str) -> dict[str, Any]:
    import torch

    from autotune.bench.case import DTYPES
    from autotune.bench.timing import CudaTimer

    timer = CudaTimer(device)
    kind = getattr(torch, DTYPES[dtype])
    with torch.no_grad():
        a, b = (torch.randn(_SIZE, _SIZE, device=device, dtype=kind) for _ in range(2))
        product_ms = statistics.median(timer(lambda: a @ b) for _ in range(_REPEATS))
        source = torch.ones(_COPY_BYTES, dtype=torch.int8, device=device)
        target = torch.empty_like(source)
        copy_ms = statistics.median(timer(lambda: target.copy_(source)) for _ in range(_REPEATS))
    return {
        "matmul_tflops": round(2 * _SIZE**3 / product_ms / 1e9, 1),
        "copy_gbs": round(2 * _COPY_BYTES / copy_ms / 1e6, 1),
    }
