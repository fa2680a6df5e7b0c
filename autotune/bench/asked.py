"""What is asked for, as cells: flags of ``bench-attn`` and the block ``attention:`` of a study file mean the same."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

from autotune.bench.attn import check_backends, check_budget, check_clock, check_margin
from autotune.bench.case import AttentionCase, short_dtype
from autotune.bench.cells import Cell
from autotune.bench.suites import suite
from autotune.errors import InvalidInput, InvalidStudy

NEEDED = ("seq", "heads", "d_k")
# The options of a shape, slowest to vary first; each may be one value or a list, and all combinations are cases.
SHAPE = (
    *("seq", "heads", "d_k", "d_v", "batch", "kv_heads", "seq_kv", "window"),
    *("dtype", "causal", "mask", "dropout", "layout", "direction"),
)

# How it is measured, where that is not said.
METHOD: Mapping[str, Any] = {"backends": None, "device": None, "by": "gpu", "budget": 10.0, "margin": 0.02}


def method(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return how it is measured, as the fields of a Cell.

    Raises:
        InvalidInput: no such backend or clock, or a budget or margin that is none.
    """
    given = {**METHOD, **{name: options[name] for name in METHOD if options.get(name) is not None}}
    backends = given["backends"]
    names = None if backends is None else tuple(check_backends(_listed(backends)))
    found = {"budget_s": given["budget"], "margin": given["margin"], "by": given["by"], "device": given["device"]}
    found["backends"] = names
    check_budget(found["budget_s"])
    check_margin(found["margin"])
    check_clock(found["by"])
    return found


def cells(options: Mapping[str, Any], spelt: Callable[[str], str] = str) -> list[Cell]:
    """Return a cell for each case that the options ask for; an option that is missing or None has its default.

    ``spelt`` is how the user writes an option's name.

    Raises:
        InvalidInput: an option is missing or impossible.
    """
    how = method(options)
    return [Cell(case=case, **how) for case in dict.fromkeys(_cases(options, spelt))]


def _cases(options: Mapping[str, Any], spelt: Callable[[str], str]) -> list[AttentionCase]:
    if options.get("suite") is not None:
        dtypes = [short_dtype(name) for name in _listed(options.get("dtype") or "bf16")]
        return [case for name in _listed(options["suite"]) for dtype in dtypes for case in suite(name, dtype)]
    missing = [spelt(name) for name in NEEDED if options.get(name) is None]
    if missing:
        raise InvalidInput(
            f"bench-attn needs {', '.join(missing)}; for example {spelt('seq')} 512 {spelt('heads')} 16 "
            f"{spelt('d_k')} 64, or {spelt('suite')} train"
        )
    given = {name: _listed(options[name]) for name in SHAPE if options.get(name) is not None}
    return [_case(dict(zip(given, values))) for values in itertools.product(*given.values())]


def _case(fields: dict[str, Any]) -> AttentionCase:
    seq, heads = fields.pop("seq"), fields.pop("heads")
    dtype = short_dtype(fields.pop("dtype", "bf16"))
    return AttentionCase(**{"kv_heads": heads, "seq_kv": seq, **fields}, seq_q=seq, heads=heads, dtype=dtype)


def _listed(value: Any) -> list[Any]:
    """Return one value or several as a list; a text may have commas."""
    if isinstance(value, str):
        return [word.strip() for word in value.split(",")]
    return list(value) if isinstance(value, list | tuple) else [value]


def cells_of_study(attention: Mapping[str, Any], gpus: Any) -> list[Cell]:
    """Return the cells of a study's block ``attention:``; where its trials have GPUs, so have these.

    Raises:
        InvalidStudy: an option is missing or impossible.
    """
    device = attention.get("device") or ("cuda" if gpus else None)
    try:
        return cells({**attention, "device": device}) if attention else []
    except InvalidInput as error:
        raise InvalidStudy(f"`attention`: {error}") from None
