"""``reference``: float64 by the textbook. Every other backend is held against it; it is never chosen."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

from autotune.bench.case import AttentionCase
from autotune.bench.exact import exact_attention
from autotune.bench.inputs import Forward, Inputs, Outputs


class Reference:
    """Outputs and gradients in float64, whatever the dtype of the inputs."""

    packages: tuple[str, ...] = ()
    install = "pip install 'autotune[torch]'"
    recompiles = False

    def unsupported(self, case: AttentionCase, device: str) -> str | None:
        return "the reference has no dropout" if case.dropout else None

    def forward(self, case: AttentionCase, device: str) -> Forward:
        one_way = replace(case, direction="fwd")
        return lambda q, k, v: exact_attention(one_way, Inputs(q, k, v, None))[0]["out"]

    def prepare(self, case: AttentionCase, inputs: Inputs) -> Callable[[], Outputs]:
        return lambda: exact_attention(case, inputs)[0]

    def active(self) -> AbstractContextManager[None]:
        return nullcontext()
