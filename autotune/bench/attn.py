"""``select_fastest_backend``: which attention backend to use for a shape on this machine, right first and then fast."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from autotune.bench import backends as table
from autotune.bench import cache as kept
from autotune.bench.case import AttentionCase, short_dtype
from autotune.bench.choose import Choice, choose
from autotune.bench.rows import Measurement
from autotune.errors import InvalidInput

__all__ = ["AttentionCase", "Choice", "measure", "select_fastest_backend"]


def select_fastest_backend(
    seq: int,
    heads: int,
    d_k: int,
    dtype: str = "bf16",
    *,
    batch: int = 1,
    kv_heads: int | None = None,
    seq_kv: int | None = None,
    causal: bool = False,
    direction: str = "fwd",
    device: str | None = None,
    backends: Sequence[str] | None = None,
    by: str = "gpu",
    margin: float = 0.02,
    budget_s: float = 10.0,
    cache: bool = True,
) -> Choice:
    """Return the fastest attention backend that is right for q [B, H, S, D] and k, v [B, Hkv, Skv, D].

    The result is a string (``"torch"``) that also has ``ties``, ``rows``, ``regret`` and ``explain()``. Within
    ``margin`` of the fastest PyTorch's own choice is preferred. ``budget_s`` bounds the timing, in seconds;
    ``by="gpu"`` compares time on the device (on a CPU, wall time).

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
        dtype=short_dtype(dtype),
        causal=causal,
        direction=direction,
    )
    if by != "gpu":
        raise InvalidInput(f"by must be 'gpu' (time on the device), the only one so far, got {by!r}")
    check_margin(margin)
    return choose(measure(case, device=device, backends=backends, budget_s=budget_s, cache=cache), margin)


def measure(
    case: AttentionCase,
    *,
    device: str | None = None,
    backends: Sequence[str] | None = None,
    budget_s: float = 10.0,
    cache: bool = True,
    remeasure: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> Measurement:
    """Return the rows of a case, from the cache where it has them.

    ``remeasure`` reads no cache but writes it; ``say`` is told what goes on.

    Raises:
        InvalidInput: no such backend or device, or PyTorch is not installed.
    """
    from autotune.bench.hardware import fingerprint, resolve_device
    from autotune.bench.measure import measure_case

    names = check_backends(backends)
    check_budget(budget_s)
    place = resolve_device(device)
    hardware = fingerprint(place, _packages())
    found = kept.load(hardware, case, names, budget_s) if cache and not remeasure else None
    if found is not None:
        return found
    rows = measure_case(case, place, names, budget_s, say)
    measurement = Measurement(case=case, device=place, hardware=hardware, budget_s=budget_s, rows=rows)
    if cache:
        kept.store(measurement)
    return measurement


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


def _packages() -> list[str]:
    """Return the distributions of all built-in backends: installing one makes a machine another."""
    return [package for target in table.BACKENDS.values() for package in table.load(target).packages]
