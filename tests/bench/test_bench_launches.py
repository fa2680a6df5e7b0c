"""A sample must not hang on how many launches came before it: a made-up GPU, whose truth is known."""

from __future__ import annotations

import pytest

from autotune.bench import kernels, timing


class Gpu:
    """Stands in for ``torch.cuda``: of four launches in a row some take longer, as seen on an H100."""

    def __init__(self, slow, before):
        self.slow, self.launched, self.now_ms = slow, before, 0.0

    def launch(self, ms):
        self.now_ms += ms + (0.0009 if self.launched % 4 in self.slow else 0.0)
        self.launched += 1

    def _sleep(self, cycles):
        self.launch(cycles * 1e-6)

    def zero_(self):  # the buffer that flushes the L2 cache
        self.launch(0.1)

    def synchronize(self):
        pass

    def Event(self, *, enable_timing):  # noqa: N802  # as in torch.cuda
        return Event(self)


class Event:
    def __init__(self, gpu):
        self.gpu = gpu

    def record(self):
        self.at_ms = self.gpu.now_ms

    def query(self):
        return False  # the spin kernel is still running

    def synchronize(self):
        pass

    def elapsed_time(self, end):
        return end.at_ms - self.at_ms


def sample(call_ms, launches, slow, before):
    """Time a call of some launches on a GPU that has had others before."""
    gpu = Gpu(slow, before)
    timer = object.__new__(timing.CudaTimer)
    timer._cuda, timer._flush, timer._cycles_per_ms, timer.overhead_ms = gpu, gpu, 1e6, 0.0
    timer._spin_ms, timer._turns = {}, {}

    def call():
        for _ in range(launches):
            gpu.launch(call_ms / launches)

    return timer(call)


@pytest.mark.parametrize("slow", [{0}, {1}, {0, 1}, {1, 3}, set()], ids=str)
@pytest.mark.parametrize("launches", range(1, 7))
def test_a_short_sample_is_the_same_whatever_ran_before(launches, slow):
    truth_ms = 0.017 + 0.0009 * launches * len(slow) / 4
    for before in range(4):
        assert sample(0.017, launches, slow, before) == pytest.approx(truth_ms, abs=1e-9)


def test_a_long_call_is_timed_once_a_sample():
    assert timing._TURNS_BELOW_MS < 0.3
    assert {sample(0.3, 1, {0}, before) > 0.3005 for before in range(4)} == {True, False}


def test_launches_ahead_of_a_call_are_none_of_its_kernels():
    activities, now = [], 0.0
    for turn in range(2 * timing.TURNS):
        names = ["Memset (Device)", *["spin_kernel"] * (1 + timing.launches_ahead(turn)), "kernel"]
        for name in names:
            length = 10.0 + turn % 2 if name == "kernel" else 1.0
            activities.append(kernels.Activity(name, now, now + length))
            now += length + 1
    seen = kernels.summarize(activities)
    assert seen.names == ("kernel",)
    assert seen.span_ms == pytest.approx(0.0105)  # a mean of both states: the median could be either
