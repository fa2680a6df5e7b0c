"""Backends that are wrong, crash or refuse, each in one way, for the tests of the gate and the probe."""

from __future__ import annotations

import os
import signal
from contextlib import nullcontext

from autotune.bench import sdpa
from autotune.bench.inputs import in_direction


def sdpa_call(case, inputs):
    return in_direction(case, inputs, sdpa.forward(case, str(inputs.q.device)))


class Right:
    """PyTorch's own, under another name; the ones below change one thing."""

    packages = ()
    install = "nothing to install"
    recompiles = False

    def unsupported(self, case, device):
        return None

    def forward(self, case, device):
        return sdpa.forward(case, device)

    def prepare(self, case, inputs):
        return sdpa_call(case, inputs)

    def active(self):
        return nullcontext()


class OffByOneCausal(Right):
    """Every query also sees the key that comes after it."""

    def prepare(self, case, inputs):
        import torch
        from torch.nn.functional import scaled_dot_product_attention

        mask = torch.ones(case.seq_q, case.seq_kv, dtype=torch.bool).tril(case.seq_kv - case.seq_q + 1)
        return in_direction(case, inputs, lambda q, k, v: scaled_dot_product_attention(q, k, v, attn_mask=mask))


class NanGradient(Right):
    """NaN in one element of dq, and only where the logits are very negative (as in pytorch#196678)."""

    def prepare(self, case, inputs):
        call = sdpa_call(case, inputs)

        def spoiled():
            outputs = call()
            if (
                "dq" in outputs
                and float((inputs.q.detach()[..., 0, :] * inputs.k.detach()[..., 0, :]).sum(-1).max()) < -500
            ):
                outputs["dq"][0, 0, 0, 0] = float("nan")
            return outputs

        return spoiled


class Replay(Right):
    """Computes once and returns that for ever."""

    def prepare(self, case, inputs):
        call = sdpa_call(case, inputs)
        kept = []

        def replayed():
            if not kept:
                kept.append({name: value.detach().clone() for name, value in call().items()})
            return kept[0]

        return replayed


class LateReplay(Right):
    """Computes as often as a check may look, then replays: only the check after the timing sees it."""

    def prepare(self, case, inputs):
        call = sdpa_call(case, inputs)
        calls = []

        def replayed():
            calls.append(call() if len(calls) < 8 else calls[-1])
            return calls[-1]

        return replayed


class Crash(Right):
    """Kills its process."""

    def prepare(self, case, inputs):
        os.kill(os.getpid(), signal.SIGSEGV)


class Refuse(Right):
    """Is there and does not run, as a package whose library was built for another CUDA."""

    def prepare(self, case, inputs):
        raise NotImplementedError("No operator found for this attention")


class FailsAtSize(Right):
    """Runs in the probe and fails at the full size."""

    def prepare(self, case, inputs):
        if case.seq_q > 128:
            raise RuntimeError("no kernel image for this size\nand a second line")
        return sdpa_call(case, inputs)


class WrongDtype(Right):
    """Returns float32 whatever it was given."""

    def prepare(self, case, inputs):
        call = sdpa_call(case, inputs)
        return lambda: {name: value.float() for name, value in call().items()}


class IllegalAccess(Right):
    """Reads out of bounds on the GPU, which leaves the CUDA context of its process unusable."""

    def prepare(self, case, inputs):
        import torch

        call = sdpa_call(case, inputs)

        def spoiled():
            torch.zeros(4, device=inputs.q.device)[torch.tensor([1 << 20], device=inputs.q.device)].sum()
            return call()

        return spoiled


class Greedy(Right):
    """Wants more memory than there is."""

    def prepare(self, case, inputs):
        import torch

        return lambda: {"out": torch.empty(1 << 44, dtype=torch.int8, device=inputs.q.device)}


class Hang(Right):
    """Does not come back."""

    def prepare(self, case, inputs):
        import time

        time.sleep(3600)


class WrongBeside(Right):
    """Right on every length but one."""

    def prepare(self, case, inputs):
        call = sdpa_call(case, inputs)
        return lambda: {name: value * (float("nan") if case.seq_kv == 704 else 1) for name, value in call().items()}
