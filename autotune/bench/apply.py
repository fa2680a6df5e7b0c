"""To use what was chosen: process-wide in PyTorch's own function, or call by call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from autotune.bench import backends as table
from autotune.bench.case import DTYPES, AttentionCase
from autotune.bench.inputs import Forward, Tensor
from autotune.errors import InvalidInput

# The names that PyTorch gives its kernels, by backend; the chosen one goes first, the rest stay as fallbacks.
_KERNELS = {
    "torch-flash": "FLASH_ATTENTION",
    "torch-efficient": "EFFICIENT_ATTENTION",
    "torch-cudnn": "CUDNN_ATTENTION",
    "torch-math": "MATH",
}
_HOOKS = {"flash3": "FA3", "flash4": "FA4"}


def apply(name: str) -> Callable[[], None]:
    """Make ``scaled_dot_product_attention`` use a backend, once and without a context manager around each call.

    A kernel of PyTorch is put first in its order of priority: where it cannot do a call, the others still do.
    FlashAttention 3 and 4 take the place of its flash kernel (PyTorch 2.11 on).

    With ``torch.compile``, set ``torch._functorch.config.enable_autograd_cache = False`` beside it: that cache on disk
    does not know which kernel was wanted, and gives one process what another compiled with another kernel.

    Returns:
        A function that puts things back as they were.

    Raises:
        InvalidInput: the backend cannot be reached through that function.
    """
    if name == table.DEFAULT:
        return lambda: None
    if name in _KERNELS:
        return _first(_KERNELS[name])
    if name in _HOOKS:
        return _hooked(name)
    raise InvalidInput(
        f"{name} is no kernel of scaled_dot_product_attention, so it cannot be made its default; "
        "autotune.bench.attn.attention(q, k, v, ...) calls it"
    )


def _first(kernel: str) -> Callable[[], None]:
    import torch
    from torch.nn.attention import SDPBackend

    if not hasattr(torch._C, "_set_sdp_priority_order"):
        raise InvalidInput(f"an order of priority needs PyTorch 2.6 or later, got {torch.__version__}")
    before = [int(one) for one in torch._C._get_sdp_priority_order()]
    chosen = int(getattr(SDPBackend, kernel))
    torch._C._set_sdp_priority_order([chosen, *(one for one in before if one != chosen)])
    return lambda: torch._C._set_sdp_priority_order(before)


def _hooked(name: str) -> Callable[[], None]:
    from torch.nn import attention

    try:
        activate: Any = attention.activate_flash_attention_impl
        restore: Any = attention.restore_flash_attention_impl
    except AttributeError:
        raise InvalidInput(f"PyTorch has no hook for {name} before 2.11; call autotune.bench.attn.attention") from None
    try:
        activate(_HOOKS[name])
    except Exception as error:
        raise InvalidInput(f"PyTorch's hook for {name} does not work with what is installed: {error}") from error
    undo = _first("FLASH_ATTENTION")

    def back() -> None:
        undo()
        restore()

    return back


def case_of(
    q: Tensor, k: Tensor, v: Tensor, *, causal: bool, window: int, dropout: float, direction: str | None
) -> AttentionCase:
    """Return the case of tensors q [B, H, Sq, D], k [B, Hkv, Skv, D], v [B, Hkv, Skv, Dv]; its layout is that of q.

    Without a direction it is ``fwd+bwd`` where one of them wants a gradient.
    """
    wants = any(tensor.requires_grad for tensor in (q, k, v))
    names = {f"torch.{name}": short for short, name in DTYPES.items()}
    dtype = names.get(str(q.dtype))
    if dtype is None:
        raise InvalidInput(f"attention takes {', '.join(DTYPES.values())}, got {q.dtype}")
    batch, heads, seq_q, d_k = (int(size) for size in q.shape)
    return AttentionCase(
        batch=batch,
        heads=heads,
        kv_heads=int(k.shape[1]),
        seq_q=seq_q,
        seq_kv=int(k.shape[2]),
        d_k=d_k,
        d_v=int(v.shape[3]),
        dtype=dtype,
        causal=causal,
        window=window,
        direction=direction or ("fwd+bwd" if wants else "fwd"),
        dropout=dropout,
        layout="bshd" if q.transpose(1, 2).is_contiguous() else "bhsd",
    )


def runner(name: str, case: AttentionCase, device: str) -> Forward:
    """Return ``(q, k, v) -> out`` of a backend, with its kernel forced by position where it can be."""
    backend = table.load(table.target(name))
    forward = backend.forward(case, device)
    if name not in _KERNELS:
        return forward

    def forced(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        with backend.active():
            return forward(q, k, v)

    return forced
