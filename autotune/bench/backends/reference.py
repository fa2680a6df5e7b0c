"""``reference``: float64 by the textbook. Every other backend is held against it; it is never chosen."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from autotune.bench.case import AttentionCase
from autotune.bench.exact import exact_attention
from autotune.bench.inputs import Inputs, Outputs


class Reference:
    """Outputs and gradients in float64, whatever the dtype of the inputs."""

    packages: tuple[str, ...] = ()

    def unsupported(self, case: AttentionCase, device: str) -> str | None:
        return None

    def prepare(self, case: AttentionCase, inputs: Inputs) -> Callable[[], Outputs]:
        return lambda: exact_attention(case, inputs)[0]

    def active(self) -> AbstractContextManager[None]:
        return nullcontext()
