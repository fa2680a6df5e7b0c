"""``torch``: PyTorch's ``scaled_dot_product_attention`` as it stands, with the kernel that it picks itself."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from autotune.bench import sdpa
from autotune.bench.case import AttentionCase
from autotune.bench.inputs import Forward, Inputs, Outputs, in_direction


class TorchDefault:
    """What a user gets who chooses nothing."""

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
        return nullcontext()
