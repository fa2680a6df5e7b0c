"""``torch-math``: plain matrix products and a softmax; right nearly everywhere, fast nearly nowhere."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from autotune.bench import sdpa
from autotune.bench.case import AttentionCase
from autotune.bench.inputs import Forward, Inputs, Outputs, in_direction


class TorchMath:
    """SDPA that may use the math kernel and no other."""

    packages: tuple[str, ...] = ()
    install = "pip install 'autotune[torch]'"
    recompiles = False

    def unsupported(self, case: AttentionCase, device: str) -> str | None:
        return None

    def forward(self, case: AttentionCase, device: str) -> Forward:
        return sdpa.forward(case, device)

    def prepare(self, case: AttentionCase, inputs: Inputs) -> Callable[[], Outputs]:
        return in_direction(case, inputs, self.forward(case, str(inputs.q.device)))

    def active(self) -> AbstractContextManager[None]:
        return sdpa.only("MATH")
