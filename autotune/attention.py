"""What a study file may say under ``attention:``: attention shapes, and how they are measured."""

from __future__ import annotations

from autotune.options import Number, OneOrMore, Table, Text, YesNo

_SIZES = OneOrMore(Number(low=1, whole=True, example=512))
_NAMES = OneOrMore(Text("bf16"))
# What the names may be is known to autotune.bench, which judges them when the study is planned.
ATTENTION = Table(
    (
        *((name, _SIZES) for name in ("seq", "heads", "d_k", "d_v", "batch", "kv_heads", "seq_kv")),
        ("window", OneOrMore(Number(whole=True))),
        ("causal", OneOrMore(YesNo())),
        ("dropout", OneOrMore(Number(example=0.1))),
        *((name, _NAMES) for name in ("dtype", "mask", "layout", "direction", "suite", "backends")),
        *((name, Text("gpu")) for name in ("by", "device")),
        ("budget", Number(exclusive=True, example=10)),
        ("margin", Number(example=0.02)),
    ),
    example="{seq: [512, 2048], heads: 16, d_k: 64}",
)
