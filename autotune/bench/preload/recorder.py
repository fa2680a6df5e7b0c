"""Counts the attention calls of a program, by shape, as they happen; runs inside the program, whatever Python that is.

The entry points of PyTorch and flash-attn are wrapped right after their modules have been imported, however late that
is. A fault in here must never be the program's: what cannot be recorded is not.
"""

from __future__ import annotations

import atexit
import functools
import inspect
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import ModuleType
from typing import Any

_FLASH = ("flash_attn_func", "flash_attn_varlen_func", "flash_attn_qkvpacked_func", "flash_attn_kvpacked_func")
# module -> (the backend that these functions are, their names)
ENTRIES: dict[str, tuple[str, tuple[str, ...]]] = {
    "torch.nn.functional": ("torch", ("scaled_dot_product_attention",)),
    "torch.nn.attention.flex_attention": ("flex", ("flex_attention",)),
    "flash_attn.flash_attn_interface": ("flash2", _FLASH),
    "flash_attn_interface": ("flash3", _FLASH),
    "flash_attn_3.flash_attn_interface": ("flash3", _FLASH),
    "flash_attn.cute.interface": ("flash4", _FLASH),
}
_OPTIMIZER = "torch.optim.optimizer"
_SDPA = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale", "enable_gqa")
_WRITE_EVERY_S = 1.0
_LARGEST_MASK = 1 << 27  # elements; a larger one is not looked into

Call = dict[str, Any]


class Recorder:
    """The counts of this process, and the file that they are written to."""

    def __init__(self, folder: str, steps: int) -> None:
        self.folder, self.most_steps = folder, steps
        self.reset()

    def reset(self) -> None:
        """Forget all; a forked child starts anew."""
        self.lock = threading.Lock()  # a new one: another thread may have held it at the fork
        self.counts: dict[tuple[Any, ...], Call] = {}
        self.by_optimizer: dict[int, int] = {}
        self.steps = 0
        self.first_s = self.last_s = self.first_step_s = self.last_step_s = self.written_s = 0.0

    def note(self, backend: str, named: dict[str, Any]) -> None:
        """Count one call; ``named`` are its arguments by name."""
        call = _described(backend, named)
        with self.lock:
            self.last_s = time.monotonic()
            self.first_s = self.first_s or self.last_s
            known = self.counts.setdefault(tuple(call.values()), {**call, "count": 0})
            known["count"] += 1
            if known["count"] == 1 or self.last_s - self.written_s > _WRITE_EVERY_S:
                self.write()

    def step(self, optimizer: Any, *_: Any) -> None:
        """Count an optimizer's step; of several optimizers the busiest counts. The last one wanted ends the program."""
        number = self.by_optimizer[id(optimizer)] = self.by_optimizer.get(id(optimizer), 0) + 1
        if number <= self.steps:
            return
        with self.lock:
            self.steps, self.last_step_s = number, time.monotonic()
            self.first_step_s = self.first_step_s or self.last_step_s
            if self.most_steps and number >= self.most_steps and self.counts:
                self.write()
                for stream in (sys.stdout, sys.stderr):
                    with suppress(Exception):
                        stream.flush()
                os._exit(0)  # not an orderly end, which could save a checkpoint over one that is worth keeping

    def write(self) -> None:
        """Write all counts so far, whole or not at all: the program may be killed at any moment."""
        if not self.counts:
            return
        self.written_s = time.monotonic()
        steps_s = self.last_step_s - self.first_step_s
        record = {
            "calls": list(self.counts.values()),
            "steps": self.steps,
            "step_s": steps_s / (self.steps - 1) if self.steps > 1 else None,
            "span_s": max(self.last_s, self.last_step_s) - self.first_s,
            "torch": str(getattr(sys.modules.get("torch"), "__version__", "")),
        }
        path = os.path.join(self.folder, f"{os.getpid()}.json")
        with suppress(OSError):
            with open(path + ".tmp", "w", encoding="utf-8") as file:
                json.dump(record, file)
            os.replace(path + ".tmp", path)


# What a call is


def _described(backend: str, named: dict[str, Any]) -> Call:
    """Return what a call is; equal ones are counted together."""
    import torch

    q, k, v = _tensors(named)
    backward = torch.is_grad_enabled() and any(one.requires_grad for one in (q, k, v))
    flags = {
        "backend": backend,
        "device": q.device.type,
        "dtype": str(q.dtype).replace("torch.", ""),
        "direction": "fwd+bwd" if backward else "fwd",
        "dropout": float(named.get("dropout_p") or 0.0),
        "causal": bool(named.get("is_causal") or named.get("causal")),
        **_sizes(backend, named, q, k, v),
    }
    return {**flags, **_mask(backend, named, flags)}


def _tensors(named: dict[str, Any]) -> tuple[Any, Any, Any]:
    if "qkv" in named:
        return tuple(named["qkv"].unbind(2))
    if "kv" in named:
        return (named["q"], *named["kv"].unbind(2))
    names = ("query", "key", "value") if "query" in named else ("q", "k", "v")
    return tuple(named[name] for name in names)


def _sizes(backend: str, named: dict[str, Any], q: Any, k: Any, v: Any) -> Call:
    """Return the sizes of q [B, H, Sq, D], or of flash-attn's [B, S, H, D] and, with lengths, [total, H, D]."""
    seq, head = (-2, -3) if backend in ("torch", "flex") else (-3, -2)
    batch = 1 if "cu_seqlens_q" in named else q.numel() // max(1, q.shape[-1] * q.shape[seq] * _at(q, head))
    sizes: Call = {"batch": batch, "heads": _at(q, head), "kv_heads": _at(k, head)}
    # [B, H, S, D] in memory, or as a projection leaves it, which flash-attn always takes
    rows = backend in ("torch", "flex") and q.stride(-2) == q.shape[-1] and _at(q, head) > 1
    sizes["layout"] = "bhsd" if rows else "bshd"
    return {**sizes, "seq_q": q.shape[seq], "seq_kv": k.shape[seq], "d_k": q.shape[-1], "d_v": v.shape[-1]}


def _at(tensor: Any, place: int) -> int:
    return int(tensor.shape[place]) if tensor.dim() >= -place else 1


def _window(named: dict[str, Any]) -> tuple[Any, Any]:
    """Return how many keys flash-attn looks back and ahead; None or -1 is all."""
    left, right = named.get("window_size") or (None, None)
    return left, right


def _mask(backend: str, named: dict[str, Any], flags: Call) -> Call:
    """Return what the call's mask means: ``causal``, ``window``, ``mask`` (one without a name: ``other: why``)."""
    plain = {"causal": flags["causal"], "window": 0, "mask": "none"}
    if backend in ("torch", "flex") and named.get("score_mod") is not None:
        return {**plain, "mask": "other: a score_mod"}
    if named.get("softcap"):
        return {**plain, "mask": "other: softcap"}
    if named.get("alibi_slopes") is not None:
        return {**plain, "mask": "alibi"}
    if "cu_seqlens_q" in named:
        same = flags["seq_q"] == flags["seq_kv"]
        documents = f"documents:{len(named['cu_seqlens_q']) - 1}"
        return {**plain, "mask": documents if same else "other: packed lengths of queries and keys that differ"}
    left, right = _window(named)
    if left not in (None, -1):
        exact = flags["causal"] or right == 0
        found = {"causal": True, "window": int(left) + 1, "mask": "none"}
        return found if exact else {**plain, "mask": "other: a window that looks ahead"}
    mask = named.get("attn_mask") if backend == "torch" else named.get("block_mask")
    if mask is None:
        top_left = backend == "torch" and flags["causal"] and flags["seq_q"] != flags["seq_kv"]
        return {**plain, "mask": "other: causal from the first query and key on"} if top_left else plain
    return {**plain, **_known_meaning(mask, named["query"].device, flags["seq_q"], flags["seq_kv"])}


_known: Any = None  # mask -> {(version, place): what it means}: to look costs a wait for the GPU


def _known_meaning(mask: Any, device: Any, seq_q: int, seq_kv: int) -> Call:
    """Return what a mask tensor or a BlockMask means; the layers of a model share one, or views of one."""
    global _known
    import torch
    from torch.utils.weak import WeakIdKeyDictionary

    _known = WeakIdKeyDictionary() if _known is None else _known
    owner = mask
    place: tuple[Any, ...] = (seq_q, seq_kv)
    if isinstance(mask, torch.Tensor) and type(mask).__name__ != "CausalBias":
        owner = mask if mask._base is None else mask._base
        place = (mask._version, tuple(mask.shape), mask.stride(), mask.storage_offset())
    found = _known.setdefault(owner, {})
    if place not in found:
        found[place] = meaning(_seen(mask, device, seq_q, seq_kv))
    known: Call = found[place]
    return known


def _seen(mask: Any, device: Any, seq_q: int, seq_kv: int) -> Any:
    """Return a mask as a tensor [..., Sq, Skv]: where True, or 0 if it is added, is seen; None if it is too large."""
    if type(mask).__name__ == "CausalBias":
        return mask._materialize(device)
    if seq_q * seq_kv > _LARGEST_MASK:
        return None
    if type(mask).__name__ != "BlockMask":
        return mask
    from torch.nn.attention.flex_attention import create_mask

    return create_mask(mask.mask_mod, 1, 1, seq_q, seq_kv, device=device)


def meaning(mask: Any) -> Call:
    """Return what a mask tensor, broadcast over [B, H, Sq, Skv], means; None is one that was not looked into.

    Looked at are the first head and the first eight entries of the batch.
    """
    import torch

    if mask is None:
        return {"mask": "other: a mask too large to be looked into"}
    with torch.no_grad():
        seen = mask if mask.dtype == torch.bool else mask > -1e4
        if mask.dtype != torch.bool and bool(mask.masked_fill(~seen, 0).any()):
            return {"mask": "other: a bias"}
        while seen.dim() < 4:
            seen = seen[None]
        found = [_meaning_of_one(entry) for entry in seen[:8, 0]]
    if all(one == found[0] for one in found):
        return found[0]
    padded = all(one.get("mask") in ("none", "padding") and not one.get("causal") for one in found)
    return {"mask": "padding" if padded else "other: a mask that differs from entry to entry"}


def _meaning_of_one(seen: Any) -> Call:
    """Return what a mask [Sq, Skv] means; [1, Skv] holds for all queries."""
    import torch

    rows, keys = seen.shape
    key = torch.arange(keys, device=seen.device)
    at = torch.arange(rows, device=seen.device) + keys - rows
    first = seen.int().argmax(1)
    last = keys - 1 - seen.flip(1).int().argmax(1)
    if not torch.equal((key >= first[:, None]) & (key <= last[:, None]), seen):
        return {"mask": "other: a mask with holes"}
    causal = rows > 1 and torch.equal(last, at)
    if int(first.max()) == 0 and (causal or int(last.min()) == int(last.max())):
        return {"causal": causal, "mask": "none" if causal or int(last[0]) == keys - 1 else "padding"}
    window = int((at - first).max()) + 1
    if causal and torch.equal(first, (at - window + 1).clamp(min=0)):
        return {"causal": True, "window": window, "mask": "none"}
    # A document begins where its own queries begin; without a causal mask they all see to the same end.
    if rows == keys and torch.equal(first[first], first) and (causal or torch.equal(last[first], last)):
        return {"causal": causal, "mask": f"documents:{len(first.unique())}"}
    return {"mask": "other: a mask of no kind that is known"}


# Getting there


def _wrapped(recorder: Recorder, module: ModuleType, name: str, backend: str) -> Callable[..., Any]:
    original = getattr(module, name)
    with suppress(ValueError):  # a builtin has no signature
        signature = inspect.signature(original)

    def named(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        if name == "scaled_dot_product_attention":
            return {**dict(zip(_SDPA, args)), **kwargs}
        return dict(signature.bind(*args, **kwargs).arguments)

    @functools.wraps(original)
    def recorded(*args: Any, **kwargs: Any) -> Any:
        torch: Any = sys.modules["torch"]
        if torch.compiler.is_compiling():  # traced (torch.export, say): nothing of this belongs into the graph
            return original(*args, **kwargs)
        with suppress(Exception):  # a call that cannot be recorded still has to be made
            recorder.note(backend, named(args, kwargs))
        if not torch.overrides.has_torch_function((*args, *kwargs.values())):
            return original(*args, **kwargs)
        setattr(module, name, original)  # what a tensor's own class does for this function it knows it by
        try:
            return original(*args, **kwargs)
        finally:
            setattr(module, name, recorded)

    recorded.__module__, recorded.__qualname__ = module.__name__, name  # so that it can be pickled
    return recorded


def _patch(recorder: Recorder, module: ModuleType) -> None:
    if module.__name__ == _OPTIMIZER:
        module.register_optimizer_step_post_hook(recorder.step)
        return
    backend, names = ENTRIES[module.__name__]
    for name in names:
        if name in vars(module):
            setattr(module, name, _wrapped(recorder, module, name, backend))


class _Finder:
    """Lets the other finders find a module, and has it patched as soon as it has been executed."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name not in ENTRIES and name != _OPTIMIZER:
            return None
        others = (finder.find_spec(name, path, target) for finder in sys.meta_path if finder is not self)
        spec = next((spec for spec in others if spec is not None), None)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def execute_and_patch(module: ModuleType) -> None:
            execute(module)
            with suppress(Exception):
                _patch(self._recorder, module)

        spec.loader.exec_module = execute_and_patch  # type: ignore[method-assign]
        return spec


def install(folder: str, steps: int) -> None:
    """Record from now on into ``folder``; with ``steps`` end the program after so many of an optimizer's."""
    recorder = Recorder(folder, steps)
    sys.meta_path.insert(0, _Finder(recorder))
    for name in (*ENTRIES, _OPTIMIZER):
        if name in sys.modules:  # a .pth file may have imported it already
            _patch(recorder, sys.modules[name])
    atexit.register(recorder.write)
    os.register_at_fork(after_in_child=recorder.reset)
