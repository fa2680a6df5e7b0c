"""``xformers``: ``memory_efficient_attention`` of the package xformers, with the operator that it picks itself."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from importlib.metadata import PackageNotFoundError, files
from importlib.util import find_spec
from typing import Any

from autotune.bench import masks
from autotune.bench.case import AttentionCase
from autotune.bench.inputs import Forward, Inputs, Outputs, Tensor, in_direction


class Xformers:
    """[B, S, H, D] tensors; with fewer kv heads [B, S, Hkv, G, D], k and v expanded without a copy."""

    packages: tuple[str, ...] = ("xformers", "nvidia-cuda-runtime-cu12")
    install = "pip install xformers nvidia-cuda-runtime-cu12  # its wheel is for CUDA 12 and wants libcudart.so.12"
    recompiles = False

    def unsupported(self, case: AttentionCase, device: str) -> str | None:
        if not device.startswith("cuda"):
            return "needs a CUDA device"
        if case.documents and case.heads != case.kv_heads:
            return "xformers is not given documents with fewer kv heads here"
        return f"xformers is not given {case.mask} here" if case.padded or case.mask == "alibi" else None

    def forward(self, case: AttentionCase, device: str) -> Forward:
        _load_cuda_12()
        with _without_flash4_alone():
            from xformers.ops import memory_efficient_attention
        bias = _bias(case)
        group = case.heads // case.kv_heads

        def grouped(x: Tensor) -> Tensor:  # [B, S, Hkv, D] -> [B, S, Hkv, G, D]
            return x.unsqueeze(3).expand(-1, -1, -1, group, -1)

        def forward(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
            if group > 1:
                q, k, v = q.unflatten(2, (case.kv_heads, group)), grouped(k), grouped(v)
            if case.documents:
                q, k, v = (tensor.flatten(0, 1)[None] for tensor in (q, k, v))
            out = memory_efficient_attention(q, k, v, attn_bias=bias, p=case.dropout)
            out = out[0].unflatten(0, (case.batch, case.seq_q)) if case.documents else out
            return (out.flatten(2, 3) if group > 1 else out).transpose(1, 2)

        return forward

    def prepare(self, case: AttentionCase, inputs: Inputs) -> Callable[[], Outputs]:
        return in_direction(case, inputs, self.forward(case, str(inputs.q.device)))

    def active(self) -> AbstractContextManager[None]:
        return nullcontext()


def _bias(case: AttentionCase) -> Any:
    """Return the mask as xformers' own class for it; None is full attention."""
    from xformers.ops.fmha import attn_bias

    if case.documents:
        bias = attn_bias.BlockDiagonalMask.from_seqlens(masks.document_lengths(case))
        if case.windowed:
            return bias.make_local_attention(case.window)
        return bias.make_causal() if case.masked else bias
    if case.windowed:
        return attn_bias.LowerTriangularFromBottomRightLocalAttentionMask(_window_size=case.window)
    return attn_bias.LowerTriangularFromBottomRightMask() if case.masked else None


def _load_cuda_12() -> None:
    """Load libcudart.so.12 of the wheel nvidia-cuda-runtime-cu12, if it is there: xformers' library asks for it."""
    with suppress(PackageNotFoundError, OSError):
        for path in files("nvidia-cuda-runtime-cu12") or []:
            if path.name == "libcudart.so.12":
                ctypes.CDLL(str(path.locate()), mode=ctypes.RTLD_GLOBAL)


@contextmanager
def _without_flash4_alone() -> Iterator[None]:
    """Hide the folder ``flash_attn`` where only version 4 is in it: xformers takes it for version 2 and breaks."""
    alone = (
        "flash_attn" not in sys.modules and find_spec("flash_attn") and not find_spec("flash_attn.flash_attn_interface")
    )
    if not alone:
        yield
        return
    loaded = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == "flash_attn"}
    sys.modules["flash_attn"] = None  # type: ignore[assignment] # Python's own sign for "not to be found"
    try:
        yield
    finally:
        del sys.modules["flash_attn"]
        sys.modules.update(loaded)
