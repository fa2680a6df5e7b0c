"""Sampling and choice on synthetic clocks: the truth is known, nothing is slept, no machine matters."""

from __future__ import annotations

import random

import pytest

from autotune.bench.choose import NoUsableBackend, choose
from autotune.bench.rows import Measurement, Row
from autotune.bench.timing import SAMPLES, Samples, percentile, sample_in_rounds


class Machine:
    """A clock that moves by what is measured, times a drift that grows while it runs."""

    def __init__(self, truth_ms, *, noise=0.0, drift_per_s=0.0, outliers=0.0, seed=0):
        self.truth_ms, self.noise, self.drift_per_s, self.outliers = truth_ms, noise, drift_per_s, outliers
        self.random = random.Random(seed)
        self.now_s = 0.0
        self.order = []

    def clock(self):
        return self.now_s

    def measure(self, name):
        time_ms = self.truth_ms[name] * (1 + self.drift_per_s * self.now_s) * (1 + self.random.gauss(0, self.noise))
        if self.random.random() < self.outliers:
            time_ms *= 20
        self.now_s += time_ms / 1000
        self.order.append(name)
        return time_ms

    def sample(self, budget_s=1e9, **options):
        return sample_in_rounds(list(self.truth_ms), self.measure, self.clock, budget_s=budget_s, **options)


def measurement(case, times, **rows):
    ok = [Row(backend=name, state="ok", flops=1.0, times_ms=tuple(values)) for name, values in times.items()]
    other = [Row(backend=name.replace("_", "-"), state=state, flops=1.0, reason="x") for name, state in rows.items()]
    return Measurement(case=case, device="cpu", hardware={"device": "test"}, budget_s=1.0, rows=(*ok, *other))


def test_figures_are_those_of_the_samples():
    samples = Samples((5.0, 1.0, 2.0, 4.0, 3.0))
    assert (samples.median_ms, samples.p20_ms, samples.p80_ms) == (3.0, 1.8, 4.2)
    assert percentile([7.0], 20) == 7.0
    assert Samples((1.0, 9.0)).interval_ms == (1.0, 9.0)  # two samples tell nothing narrower
    low, high = Samples(tuple(float(i) for i in range(100))).interval_ms
    assert (low, high) == (40.0, 59.0)  # ranks 41 to 60 of 100 hold the median with 95 %


def test_every_candidate_gets_enough_samples_without_the_warm_up():
    machine = Machine({"a": 1.0, "b": 2.0})
    sampled = machine.sample()
    assert {len(one.times_ms) for one in sampled.samples.values()} == {SAMPLES}
    assert machine.order[:4] == ["a", "b", "b", "a"]  # forth and back


def test_the_budget_ends_it_between_rounds_and_never_before_the_first():
    machine = Machine({"a": 100.0, "b": 300.0})
    sampled = machine.sample(budget_s=4.0)
    assert machine.now_s <= 4.0 + 1e-9
    assert {len(one.times_ms) for one in sampled.samples.values()} == {7}  # ten rounds, three of them warm-up
    assert {len(one.times_ms) for one in Machine({"a": 9.0}).sample(budget_s=1e-9).samples.values()} == {1}


def test_drift_hits_all_alike(make_case):
    """The clock halves its speed meanwhile; measured one after another, the truly slower one would win."""
    machine = Machine({"torch": 105.0, "torch-flash": 100.0}, drift_per_s=0.1)
    sampled = machine.sample()
    ratio = sampled.samples["torch"].median_ms / sampled.samples["torch-flash"].median_ms
    assert ratio == pytest.approx(1.05, rel=0.01)
    cool = Machine({"torch": 105.0, "torch-flash": 100.0}, drift_per_s=0.1)
    sequential = {name: sorted(cool.measure(name) for _ in range(50))[25] for name in cool.truth_ms}
    assert sequential["torch"] < sequential["torch-flash"]


def test_outliers_do_not_move_the_choice(make_case):
    wins = 0
    for seed in range(20):
        machine = Machine({"torch": 1.0, "torch-flash": 0.8}, noise=0.05, outliers=0.2, seed=seed)
        sampled = machine.sample()
        wins += (
            choose(measurement(make_case(), {n: s.times_ms for n, s in sampled.samples.items()}), 0.02) == "torch-flash"
        )
    assert wins == 20


def test_one_kernel_under_two_names_is_a_tie(make_case):
    for seed in range(20):
        machine = Machine({"torch-flash": 1.0, "torch": 1.0, "torch-math": 4.0}, noise=0.05, seed=seed)
        sampled = machine.sample()
        choice = choose(measurement(make_case(), {n: s.times_ms for n, s in sampled.samples.items()}), 0.0)
        assert choice == "torch"
        assert set(choice.ties) == {"torch", "torch-flash"}


def test_one_that_raises_leaves_the_field_to_the_others():
    machine = Machine({"a": 1.0, "b": 1.0})
    answers = iter([1.0, 1.0])

    def measure(name):
        return machine.measure(name) if name == "a" else next(answers)

    sampled = sample_in_rounds(["a", "b"], measure, machine.clock, budget_s=1e9)
    assert list(sampled.samples) == ["a"]
    assert isinstance(sampled.raised["b"], StopIteration)
    assert len(sampled.samples["a"].times_ms) == SAMPLES


def test_inside_the_margin_the_default_is_preferred_then_fewer_packages(make_case):
    case = make_case()
    assert choose(measurement(case, {"flash2": [1.00] * 9, "torch": [1.019] * 9}), 0.02) == "torch"
    assert choose(measurement(case, {"flash2": [1.00] * 9, "torch": [1.021] * 9}), 0.02) == "flash2"
    choice = choose(measurement(case, {"flash2": [1.00] * 9, "torch-cudnn": [1.01] * 9, "torch": [1.5] * 9}), 0.02)
    assert choice == "torch-cudnn"
    assert choice.ties == ("flash2", "torch-cudnn")
    assert choice.regret == pytest.approx(0.5)
    assert "level with flash2" in choice.explain()


def test_what_is_incorrect_is_never_chosen(make_case):
    choice = choose(measurement(make_case(), {"torch": [2.0]}, flash2="incorrect", torch_cudnn="failed"), 0.02)
    assert choice == "torch"
    assert "flash2: incorrect: x" in choice.explain()
    with pytest.raises(NoUsableBackend, match=r"no attention backend can do .* here: flash2: x"):
        choose(measurement(make_case(), {}, flash2="incorrect"), 0.02)


def test_a_row_has_what_its_state_says():
    for fields in ({"state": "ok"}, {"state": "ok", "times_ms": (1.0,), "reason": "x"}, {"state": "failed"}):
        with pytest.raises(ValueError, match="a row that is"):
            Row(backend="torch", flops=1.0, **fields)
    with pytest.raises(ValueError, match="state must be one of"):
        Row(backend="torch", flops=1.0, state="fine", times_ms=(1.0,))


def test_row_json_round_trip():
    row = Row(backend="torch", state="ok", flops=4e9, times_ms=(1.0, 3.0, 2.0), max_error=1e-3, peak_bytes=5)
    record = row.to_json()
    assert Row.from_json(record) == row
    assert (record["median_ms"], record["samples"], record["tflops"]) == (2.0, 3, 2.0)
