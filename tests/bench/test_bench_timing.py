"""Sampling and choice on synthetic clocks: the truth is known, nothing is slept, no machine matters."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from autotune.bench import kernels
from autotune.bench.choose import NoUsableBackend, choose
from autotune.bench.rows import Measurement, Row
from autotune.bench.sampling import SAMPLES, Samples, percentile, ratio, sample_in_rounds


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
    machine = Machine({"a": 1.0, "b": 1.01})
    sampled = machine.sample()
    assert {len(one.times_ms) for one in sampled.samples.values()} == {SAMPLES}
    assert sampled.stopped == "precise"
    assert machine.order[:4] == ["a", "b", "b", "a"]  # forth and back


def test_the_budget_ends_it_between_rounds_and_never_before_the_first():
    machine = Machine({"a": 100.0, "b": 110.0})
    sampled = machine.sample(budget_s=2.2)
    assert machine.now_s <= 2.2 + 1e-9
    assert sampled.stopped == "budget"
    assert {len(one.times_ms) for one in sampled.samples.values()} == {7}  # ten rounds, three of them warm-up
    assert {len(one.times_ms) for one in Machine({"a": 9.0}).sample(budget_s=1e-9).samples.values()} == {1}


def test_the_slow_are_dropped_the_sooner_the_slower_they_are():
    truth = {"best": 1.0, "level": 1.01, "close": 1.1, "half": 2.0, "math": 30.0}
    for seed in range(20):
        machine = Machine(truth, noise=0.02, outliers=0.02, seed=seed)
        taken = {name: len(one.times_ms) for name, one in machine.sample(most=60).samples.items()}
        assert taken["math"] <= 5
        assert taken["half"] <= 12
        assert taken["close"] < SAMPLES
        assert taken["best"] >= SAMPLES
        assert taken["level"] >= SAMPLES


def test_one_that_shall_be_kept_is_dropped_only_when_it_is_far_off():
    truth = {"best": 1.0, "default": 1.2, "other": 1.2}
    taken = Machine(truth, noise=0.01).sample(keep=["default"]).samples
    assert len(taken["default"].times_ms) >= SAMPLES > len(taken["other"].times_ms)
    assert len(Machine({"best": 1.0, "default": 9.0}).sample(keep=["default"]).samples["default"].times_ms) < SAMPLES


def test_it_goes_on_until_the_fastest_is_known_precisely():
    quiet = Machine({"a": 1.0, "b": 1.3}, noise=0.001).sample()
    noisy = Machine({"a": 1.0, "b": 1.3}, noise=0.05).sample()
    assert len(quiet.samples["a"].times_ms) == SAMPLES
    assert len(noisy.samples["a"].times_ms) > 2 * SAMPLES


def test_a_ratio_is_of_common_rounds_and_knows_its_interval():
    drifting = [1.0 + i / 10 for i in range(50)]
    found = ratio([2 * one for one in drifting], drifting)
    assert (found.median, found.low, found.high) == (2.0, 2.0, 2.0)
    assert ratio([3.0], drifting).median == 3.0


@pytest.mark.parametrize("gap", [1.05, 1.1])
def test_the_truth_is_found_under_drift_noise_and_outliers(make_case, gap):
    """Five candidates in random order on a clock that slows down by half and more."""
    right = 0
    for seed in range(40):
        truth = {"torch": gap, "torch-flash": 1.0, "torch-cudnn": gap * 1.1, "flex": 1.6, "torch-math": 20.0}
        names = list(truth)
        random.Random(seed).shuffle(names)
        machine = Machine({n: truth[n] for n in names}, noise=0.03, outliers=0.05, drift_per_s=0.5, seed=seed)
        sampled = machine.sample(budget_s=10.0, keep=["torch"])
        choice = choose(measurement(make_case(), {n: s.times_ms for n, s in sampled.samples.items()}), 0.02)
        right += choice == "torch-flash"
    assert right == 40


def test_drift_hits_all_alike(make_case):
    """The clock halves its speed meanwhile; measured one after another, the truly slower one would win."""
    machine = Machine({"torch": 105.0, "torch-flash": 100.0}, drift_per_s=0.1)
    sampled = machine.sample(most=60)
    assert ratio(sampled.samples["torch"].times_ms, sampled.samples["torch-flash"].times_ms).median == pytest.approx(
        1.05, rel=0.01
    )
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
        choice = choose(measurement(make_case(), {n: s.times_ms for n, s in sampled.samples.items()}), 0.01)
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


def test_two_names_of_one_kernel_are_not_two_votes(make_case):
    """The default's other name was a little faster than noise explains; it is the same kernel, so the default it is."""
    kernels = {"torch": ("cudnn_fprop",), "torch-cudnn": ("cudnn_fprop",), "torch-flash": ("flash_fwd",)}
    times = {"torch": 1.03, "torch-cudnn": 1.0, "torch-flash": 1.5}
    rows = tuple(
        Row(backend=name, state="ok", flops=1.0, times_ms=(time,) * 50, kernels=kernels[name])
        for name, time in times.items()
    )
    found = Measurement(case=make_case(), device="cpu", hardware={"device": "test"}, budget_s=1.0, rows=rows)
    assert choose(found, 0.02) == "torch"
    assert "as do torch-cudnn" in choose(found, 0.02).explain()


def test_level_ones_go_by_memory_then_packages(make_case):
    def rows(**peaks):
        return tuple(
            Row(backend=name, state="ok", flops=1.0, times_ms=(time,) * 50, peak_bytes=peaks[name.replace("-", "_")])
            for name, time in {"flash2": 1.0, "torch-cudnn": 1.004, "torch": 1.5}.items()
        )

    found = measurement(make_case(), {"torch": [1.0]})
    assert choose(replace(found, rows=rows(flash2=100, torch_cudnn=200, torch=1)), 0.02) == "flash2"
    assert choose(replace(found, rows=rows(flash2=100, torch_cudnn=101, torch=1)), 0.02) == "torch-cudnn"


def test_the_choice_goes_by_the_clock_that_is_asked_for(make_case):
    rows = tuple(
        Row(backend=name, state="ok", flops=1.0, times_ms=(gpu,) * 9, eager_times_ms=(eager,) * 9)
        for name, gpu, eager in (("torch", 1.2, 1.2), ("flash4", 1.0, 2.0))
    )
    found = replace(measurement(make_case(), {"torch": [1.0]}), rows=rows)
    assert choose(found, 0.02) == "flash4"
    assert choose(found, 0.02, by="eager") == "torch"
    with pytest.raises(NoUsableBackend, match="no times by graph"):
        choose(found, 0.02, by="graph")


def test_an_unsafe_default_is_not_chosen_but_its_time_is_told(make_case):
    rows = (
        Row(
            backend="torch", state="incorrect", flops=1.0, times_ms=(0.8,) * 9, reason="NaN at the length 704 beside it"
        ),
        Row(backend="flash4", state="ok", flops=1.0, times_ms=(1.0,) * 9),
    )
    choice = choose(replace(measurement(make_case(), {"torch": [1.0]}), rows=rows), 0.02)
    assert choice == "flash4"
    assert choice.regret == pytest.approx(-0.2)
    assert "takes 20.0% less than the fastest that is right and is not safe" in choice.explain()


def test_inside_half_the_margin_the_default_is_preferred_then_fewer_packages(make_case):
    """Half of it, so that at the margin of 2 % no choice loses more than 1 %; all within it are named as level."""
    case = make_case()
    assert choose(measurement(case, {"flash2": [1.00] * 9, "torch": [1.009] * 9}), 0.02) == "torch"
    spread = [1.007, 1.012] * 25  # 0.95 % at the median, and the interval goes beyond half the margin
    assert choose(measurement(case, {"flash2": [1.00] * 50, "torch": spread}), 0.02) == "flash2"
    unclear = [0.99, 1.012, 1.012] * 3  # nor can it be told from the fastest
    assert choose(measurement(case, {"flash2": [1.00] * 9, "torch": unclear}), 0.02) == "torch"
    level = choose(measurement(case, {"flash2": [1.00] * 9, "torch": [1.011] * 9}), 0.02)
    assert level == "flash2"
    assert level.ties == ("flash2", "torch")
    assert choose(measurement(case, {"flash2": [1.00] * 9, "torch": [1.021] * 9}), 0.02).ties == ("flash2",)
    choice = choose(measurement(case, {"flash2": [1.00] * 9, "torch-cudnn": [1.004] * 9, "torch": [1.5] * 9}), 0.02)
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


def profiled(*calls):
    """Make activities of calls, each behind a flush and a spin kernel; a call is a list of (name, start, end)."""
    found = []
    for i, call in enumerate(calls):
        found += [kernels.Activity("Memset (Device)", i * 1000, i * 1000 + 90)]
        found += [kernels.Activity("at::cuda::spin_kernel(long)", i * 1000 + 91, i * 1000 + 200)]
        found += [kernels.Activity(name, i * 1000 + start, i * 1000 + end) for name, start, end in call]
    return found


def test_the_profile_of_a_call_is_what_comes_between_spin_and_flush():
    backward = [("Memset (Device)", 201, 203), ("void small()", 204, 206), ("big<64>()", 207, 217)]
    seen = kernels.summarize(profiled(backward, backward, backward)[::-1])
    assert seen.names == ("big<64>()", "small()")
    assert seen.kernel_ms == pytest.approx(0.014)  # the kernels, and a memset that belongs to them
    assert seen.span_ms == pytest.approx(0.016)  # from the first thing that it does to the last
    assert kernels.summarize(profiled([])) is None


def test_a_launch_is_taken_off_only_where_it_is_one():
    seen = kernels.Profile(("k",), 0.009, 0.010)
    times, launch = kernels.without_launch((0.011, 0.0115, 0.012), seen)
    assert launch == pytest.approx(0.0015)
    assert Samples(times).median_ms == pytest.approx(0.010)
    assert kernels.without_launch((0.009,) * 3, seen) == ((0.009,) * 3, 0.0)  # less than the profiler saw
    assert kernels.without_launch((0.05,) * 3, seen)[1] == 0.0  # too much for a launch
    assert kernels.without_launch((0.05,) * 3, None)[1] == 0.0
