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


class WrongAt129(Right):
    """Right on every length but the one that is 1 past a multiple of 128."""

    def prepare(self, case, inputs):
        call = sdpa_call(case, inputs)
        return lambda: {name: value * (1.5 if case.seq_kv == 129 else 1) for name, value in call().items()}


class WrongAt255(Right):
    """Right on every length but the one that is 127 past a multiple of 128."""

    def prepare(self, case, inputs):
        call = sdpa_call(case, inputs)
        return lambda: {name: value * (1.5 if case.seq_kv == 255 else 1) for name, value in call().items()}


class Overflow(Right):
    """Gives infinity for a logit above 60, as a softmax that does not take its maximum off."""

    def prepare(self, case, inputs):
        call = sdpa_call(case, inputs)

        def spoiled():
            outputs = call()
            q, k = inputs.q.detach().float(), inputs.k.detach().float()
            if float((q @ k.mT).max()) / case.d_k**0.5 > 60:
                outputs["out"] = outputs["out"] * float("inf")
            return outputs

        return spoiled


class FirstKeyWins(Right):
    """Gives the first of several equal keys all of their weight."""

    def prepare(self, case, inputs):
        call = sdpa_call(case, inputs)

        def spoiled():
            outputs = call()
            if bool((inputs.k.detach() == inputs.k.detach()[:, :, :1]).all()):
                outputs["out"] = inputs.v.detach()[:, :, :1].expand_as(outputs["out"])
            return outputs

        return spoiled


class TopLeftCausal(Right):
    """Aligns causal to the first query and the first key, which is the same on squares."""

    def prepare(self, case, inputs):
        from torch.nn.functional import scaled_dot_product_attention

        return in_direction(case, inputs, lambda q, k, v: scaled_dot_product_attention(q, k, v, is_causal=case.masked))


class NanWhereBlind(Right):
    """Gives NaN to queries that see no key, as a softmax over minus infinity does."""

    spoils = "out"

    def prepare(self, case, inputs):
        from autotune.bench import masks

        call = sdpa_call(case, inputs)
        seen = masks.dense(case, "cpu")

        def spoiled():
            outputs = call()
            if seen is not None and self.spoils in outputs:
                blind = ~seen.any(-1, keepdim=True)
                outputs[self.spoils] = outputs[self.spoils].masked_fill(blind, float("nan"))
            return outputs

        return spoiled


class NanGradientWhereBlind(NanWhereBlind):
    """Gives zeros to queries that see no key, and NaN to their gradient."""

    spoils = "dq"


class Dropping(Right):
    """Dropout by the textbook; the ones below change one thing."""

    def keep(self, shape, share):
        import torch

        return torch.rand(shape) >= share

    def backward_keep(self, forward_keep, share):
        return forward_keep

    def scale(self, share):
        return 1 / (1 - share)

    def prepare(self, case, inputs):
        def forward(q, k, v):
            weights = (q.float() @ k.float().mT / case.d_k**0.5).softmax(-1)
            keep = self.keep(weights.shape, case.dropout)
            one = (weights * keep * self.scale(case.dropout)) @ v.float()
            other = (weights * self.backward_keep(keep, case.dropout) * self.scale(case.dropout)) @ v.float()
            return (other + (one - other).detach()).to(q.dtype)

        return in_direction(case, inputs, forward)


class DropsNothing(Dropping):
    """Takes no notice of it."""

    def keep(self, shape, share):
        import torch

        return torch.ones(shape)

    def scale(self, share):
        return 1.0


class DropsHalfAsMuch(Dropping):
    """Drops the wrong share."""

    def keep(self, shape, share):
        import torch

        return torch.rand(shape) >= share / 2


class DropsTheSame(Dropping):
    """Drops the same weights at every call."""

    def keep(self, shape, share):
        import torch

        return torch.rand(shape, generator=torch.Generator().manual_seed(0)) >= share


class ScalesNothing(Dropping):
    """Leaves out the factor that makes up for what was dropped."""

    def scale(self, share):
        return 1.0


class OtherMaskBackwards(Dropping):
    """Drops other weights in the backward pass."""

    def backward_keep(self, forward_keep, share):
        return self.keep(forward_keep.shape, share)


class Sleepy(Right):
    """Right, and a tenth of a second late."""

    def prepare(self, case, inputs):
        import time

        call = sdpa_call(case, inputs)

        def slept():
            time.sleep(0.1)
            return call()

        return slept
