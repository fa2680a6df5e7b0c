"""``torch-flash``: the FlashAttention kernel that PyTorch carries (on a CPU its own blocked kernel)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from autotune.bench import sdpa
from autotune.bench.case import AttentionCase
from autotune.bench.inputs import Inputs, Outputs


class TorchFlash:
    """SDPA that may use the flash kernel and no other."""

    packages: tuple[str, ...] = ()

    def unsupported(self, case: AttentionCase, device: str) -> str | None:
        if sdpa.needs_mask_tensor(case):
            return "PyTorch's flash kernel takes no mask tensor, and causal with seq_q != seq_kv needs one"
        if device.startswith("cuda") and case.dtype == "fp32":
            return "the flash kernel is for fp16 and bf16"
        return None

    def prepare(self, case: AttentionCase, inputs: Inputs) -> Callable[[], Outputs]:
        return sdpa.prepare(case, inputs)

    def active(self) -> AbstractContextManager[None]:
        return sdpa.only("FLASH_ATTENTION")
