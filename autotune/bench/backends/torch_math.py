"""``torch-math``: plain matrix products and a softmax; right nearly everywhere, fast nearly nowhere."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from autotune.bench import sdpa
from autotune.bench.case import AttentionCase
from autotune.bench.inputs import Inputs, Outputs


class TorchMath:
    """SDPA that may use the math kernel and no other."""

    packages: tuple[str, ...] = ()

    def unsupported(self, case: AttentionCase, device: str) -> str | None:
        return None

    def prepare(self, case: AttentionCase, inputs: Inputs) -> Callable[[], Outputs]:
        return sdpa.prepare(case, inputs)

    def active(self) -> AbstractContextManager[None]:
        return sdpa.only("MATH")
