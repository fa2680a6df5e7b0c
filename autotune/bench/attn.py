"""``select_fastest_backend``: which attention backend to use for a shape on this machine, right first and then fast."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from autotune.bench import backends as table
from autotune.bench import cache as kept
from autotune.bench.case import AttentionCase, short_dtype
from autotune.bench.choose import Choice, NoUsableBackend, choose
from autotune.bench.rows import Measurement
from autotune.bench.timing import CLOCKS
from autotune.errors import InvalidInput

__all__ = ["AttentionCase", "Choice", "attention", "measure", "select_fastest_backend"]

_REVALIDATE_S = 2.0  # of timing, for the stored winner, the one behind it and the default


def select_fastest_backend(
    seq: int,
    heads: int,
    d_k: int,
    dtype: str = "bf16",
    *,
    batch: int = 1,
    kv_heads: int | None = None,
    seq_kv: int | None = None,
    d_v: int | None = None,
    causal: bool = False,
    window: int = 0,
    mask: str = "none",
    direction: str = "fwd",
    dropout: float = 0.0,
    layout: str = "bshd",
    device: str | None = None,
    backends: Sequence[str] | None = None,
    by: str = "gpu",
    margin: float = 0.02,
    budget_s: float = 10.0,
    cache: bool = True,
    revalidate: bool = False,
) -> Choice:
    """Return the fastest attention backend that is right for q [B, H, S, D], k [B, Hkv, Skv, D], v [B, Hkv, Skv, Dv].

    The result is a string (``"torch"``) that also has ``ties``, ``rows``, ``regret``, ``explain()`` and ``apply()``.
    Within half of ``margin`` PyTorch's own choice is preferred to the fastest. ``budget_s`` bounds the timing.
    ``by`` says which time counts: ``"gpu"`` on the device, ``"eager"`` with the host, ``"graph"`` in a CUDA graph (on
    a CPU there is only wall time). ``revalidate`` times a kept winner once more, and all of them where it is stale.
    In a distributed job the first rank measures, and all ranks get its answer.

    Raises:
        InvalidInput: an argument is impossible, or PyTorch is not installed.
        NoUsableBackend: every backend refused, failed or was wrong.
    """
    case = AttentionCase(
        batch=batch,
        heads=heads,
        kv_heads=heads if kv_heads is None else kv_heads,
        seq_q=seq,
        seq_kv=seq if seq_kv is None else seq_kv,
        d_k=d_k,
        d_v=d_k if d_v is None else d_v,
        dtype=short_dtype(dtype),
        causal=causal,
        window=window,
        mask=mask,
        direction=direction,
        dropout=dropout,
        layout=layout,
    )
    check_margin(margin)
    limits: dict[str, Any] = {"budget_s": budget_s, "margin": margin, "by": by, "cache": cache}

    def measured() -> Measurement:
        return measure(case, device=device, backends=backends, revalidate=revalidate, say=_warn_stale, **limits)

    return choose(_on_first_rank(measured), margin)


def measure(
    case: AttentionCase,
    *,
    device: str | None = None,
    backends: Sequence[str] | None = None,
    budget_s: float = 10.0,
    margin: float = 0.02,
    by: str = "gpu",
    cache: bool = True,
    remeasure: bool = False,
    revalidate: bool = False,
    fixed: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> Measurement:
    """Return the rows of a case, from the cache where it has them.

    ``remeasure`` reads no cache but writes it; ``revalidate`` checks what it read by a quick probe; ``say`` is told
    what goes on. With ``fixed`` all backends are sampled equally often; that is for no cache.
    Inside ``autotune.bench.isolate.session()`` one process measures all cases; otherwise each starts one.

    Raises:
        InvalidInput: no such backend, device or clock, or PyTorch is not installed.
    """
    from autotune.bench.hardware import fingerprint, resolve_device
    from autotune.bench.isolate import measure_isolated, session

    names = check_backends(backends)
    check_budget(budget_s)
    check_clock(by)
    place = resolve_device(device)
    if place == "cpu" and by == "graph":
        raise InvalidInput("by='graph' is for CUDA graphs, and a CPU has none; 'gpu' and 'eager' are wall time there")
    by = "gpu" if place == "cpu" else by
    hardware = fingerprint(place, packages())
    targets = {name: table.target(name) for name in names}
    with session():
        found = kept.load(hardware, case, names, budget_s, by) if cache and not remeasure else None
        if found is not None and (not revalidate or _still_true(found, targets, margin, say)):
            return found
        rows, conditions = measure_isolated(
            case, place, targets, budget_s=budget_s, margin=margin, by=by, say=say, profile=True, fixed=fixed
        )
    measurement = Measurement(
        case=case, device=place, hardware=hardware, budget_s=budget_s, rows=rows, by=by, conditions=conditions
    )
    if cache:
        kept.store(measurement)
    return measurement


def _still_true(found: Measurement, targets: dict[str, str], margin: float, say: Callable[[str], None]) -> bool:
    """Whether a stored winner still wins against the one behind it and the default, by a quick probe."""
    from autotune.bench.isolate import measure_isolated

    try:
        before = choose(found, margin)
    except NoUsableBackend:
        return False
    nearest = sorted(before.ratios, key=lambda name: before.ratios[name].median)[:3]
    names = dict.fromkeys([str(before), *nearest, *([table.DEFAULT] if table.DEFAULT in before.ratios else [])])
    rows, conditions = measure_isolated(
        found.case,
        found.device,
        {name: targets[name] for name in names},
        budget_s=_REVALIDATE_S,
        margin=margin,
        by=found.by,
        profile=False,
        say=say,
    )
    try:
        now = choose(_like(found, rows, conditions), margin)
    except NoUsableBackend:
        now = None
    if now is not None and str(before) in now.ties:
        return True
    say(f"stale: {before} was kept for {found.case}, but now {now or 'none of the best'} is faster; measuring again")
    return False


def _like(found: Measurement, rows: Any, conditions: dict[str, Any]) -> Measurement:
    from dataclasses import replace

    return replace(found, rows=rows, conditions=conditions)


def _warn_stale(text: str) -> None:
    if text.startswith("stale:"):
        warnings.warn(text, stacklevel=4)


def _on_first_rank(make: Callable[[], Measurement]) -> Measurement:
    """Let rank 0 measure and give all ranks its answer: ranks that choose apart would compute apart."""
    dist: Any = sys.modules.get("torch.distributed")
    if dist is None or not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
        return make()
    box: list[Any] = [None]
    if dist.get_rank() == 0:
        try:
            box = [make().to_json()]
        except Exception as error:  # noqa: BLE001 - the others wait for an answer and must get one
            box = [error]
    dist.broadcast_object_list(box, src=0)
    if isinstance(box[0], Exception):
        raise box[0]
    return Measurement.from_json(box[0])


def attention(
    q: Any,
    k: Any,
    v: Any,
    *,
    causal: bool = False,
    window: int = 0,
    dropout: float = 0.0,
    direction: str | None = None,
    **options: Any,
) -> Any:
    """Return attention of q [B, H, Sq, D] over k [B, Hkv, Skv, D] and v [B, Hkv, Skv, Dv] by the fastest backend here.

    The first call of a shape chooses (``options`` as of ``select_fastest_backend``), later ones look it up. Inside a
    traced region (torch.compile) only the call is left: choose before, by one call outside of it.

    Raises:
        InvalidInput: the tensors make no case, or a new shape is met inside a traced region.
    """
    from autotune.bench.apply import case_of, runner

    case = case_of(q, k, v, causal=causal, window=window, dropout=dropout, direction=direction)
    key = (case, str(q.device))
    if key not in _runners:
        import torch

        if torch.compiler.is_compiling():
            raise InvalidInput(f"attention must be called once outside of the traced region first, for {case}")
        shape = {name: getattr(case, name) for name in _SHAPE}
        choice = select_fastest_backend(
            case.seq_q, case.heads, case.d_k, case.dtype, device=str(q.device), **shape, **options
        )
        _runners[key] = runner(str(choice), case, str(q.device))
    return _runners[key](q, k, v)


_SHAPE = ("batch", "kv_heads", "seq_kv", "d_v", "causal", "window", "direction", "dropout", "layout")
_runners: dict[tuple[AttentionCase, str], Callable[[Any, Any, Any], Any]] = {}


def check_backends(backends: Sequence[str] | None) -> list[str]:
    """Return the names to compare, each once; None is all of them."""
    if backends is None:
        return table.candidates()
    if isinstance(backends, str) or not backends:
        raise InvalidInput(f"backends must be a list of names, got {backends!r}")
    for name in backends:
        table.target(name)
        if name == table.REFERENCE:
            raise InvalidInput(f"{name} is what the others are checked against, and cannot be chosen")
    return list(dict.fromkeys(backends))


def check_budget(budget_s: float) -> None:
    """Refuse a budget that is no time."""
    if not 0 < budget_s < float("inf"):
        raise InvalidInput(f"the budget must be a number of seconds above 0, got {budget_s!r}")


def check_margin(margin: float) -> None:
    """Refuse a margin that is no part of 1."""
    if not 0 <= margin < 1:
        raise InvalidInput(f"the margin must be at least 0 and below 1 (0.02 is 2 %), got {margin!r}")


def check_clock(by: str) -> None:
    """Refuse a clock that there is not."""
    if by not in CLOCKS:
        raise InvalidInput(f"by must be one of {', '.join(CLOCKS)}, got {by!r}")


def packages() -> list[str]:
    """Return the distributions of all built-in backends: installing one makes a machine another."""
    return [package for target in table.BACKENDS.values() for package in table.load(target).packages]
