"""``torch-flash``: the FlashAttention kernel that PyTorch carries (on a CPU its own blocked kernel)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from autotune.bench import sdpa
from autotune.bench.case import AttentionCase
from autotune.bench.inputs import Forward, Inputs, Outputs, in_direction


class TorchFlash:
    """SDPA that may use the flash kernel and no other."""

    packages: tuple[str, ...] = ()
    install = "pip install 'autotune[torch]'"
    recompiles = False

    def unsupported(self, case: AttentionCase, device: str) -> str | None:
        if sdpa.needs_mask_tensor(case) or (sdpa.rectangular(case) and device == "cpu"):
            return "the flash kernel of PyTorch takes no mask tensor, and this case needs one"
        if case.dropout and device == "cpu":
            return "PyTorch's flash kernel for CPUs has no dropout"
        if case.d_v != case.d_k:
            return "the flash kernel of PyTorch wants d_v as d_k"
        if device.startswith("cuda") and case.dtype == "fp32":
            return "the flash kernel is for fp16 and bf16"
        return None

    def forward(self, case: AttentionCase, device: str) -> Forward:
        return sdpa.forward(case, device)

    def prepare(self, case: AttentionCase, inputs: Inputs) -> Callable[[], Outputs]:
        return in_direction(case, inputs, self.forward(case, str(inputs.q.device)))

    def active(self) -> AbstractContextManager[None]:
        return sdpa.only("FLASH_ATTENTION")
