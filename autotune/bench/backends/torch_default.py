"""``torch``: PyTorch's ``scaled_dot_product_attention`` as it stands, with the kernel that it picks itself."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from autotune.bench import sdpa
from autotune.bench.case import AttentionCase
from autotune.bench.inputs import Inputs, Outputs


class TorchDefault:
    """What a user gets who chooses nothing."""

    packages: tuple[str, ...] = ()

    def unsupported(self, case: AttentionCase, device: str) -> str | None:
        return None

    def prepare(self, case: AttentionCase, inputs: Inputs) -> Callable[[], Outputs]:
        return sdpa.prepare(case, inputs)

    def active(self) -> AbstractContextManager[None]:
        return nullcontext()
