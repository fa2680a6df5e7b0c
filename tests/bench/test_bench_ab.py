"""A/B comparison: the verdict on synthetic clocks whose truth is known, then the command with the real thing."""

from __future__ import annotations

import json
import random

import pytest

from autotune.bench import backends as table
from autotune.bench.ab import FASTER, SAME, UNCLEAR, compare, judge, sentence, two_backends
from autotune.bench.rows import Measurement, Row
from autotune.bench.sampling import MOST_SAMPLES, sample_in_rounds
from autotune.errors import InvalidInput


class Clock:
    """Two candidates on one machine: ``ratio`` is the second's true time over the first's."""

    def __init__(self, ratio, *, noise=0.0, outliers=0.0, drift_per_s=0.0, seed=0):
        self.truth_ms = {"a": 1.0, "b": ratio}
        self.noise, self.outliers, self.drift_per_s = noise, outliers, drift_per_s
        self.random, self.now_s = random.Random(seed), 0.0

    def measure(self, name):
        time_ms = self.truth_ms[name] * (1 + self.drift_per_s * self.now_s) * (1 + self.random.gauss(0, self.noise))
        time_ms *= 20 if self.random.random() < self.outliers else 1
        self.now_s += time_ms / 1000
        return time_ms

    def times(self, **options):
        sampled = sample_in_rounds(["a", "b"], self.measure, lambda: self.now_s, fixed=True, **options)
        return [sampled.samples[name].times_ms for name in "ab"]

    def verdict(self, margin=0.02, budget_s=1e9):
        return judge(*self.times(budget_s=budget_s), margin)


ROUGH = {"noise": 0.05, "outliers": 0.1, "drift_per_s": 0.5}  # by the end the clock runs a third slower


def test_both_are_sampled_equally_often_and_no_stop_looks_at_the_times():
    for ratio in (1.0, 1.5, 30.0):
        assert [len(times) for times in Clock(ratio).times(budget_s=1e9)] == [MOST_SAMPLES] * 2
    few = Clock(30.0).times(budget_s=0.5)
    assert len(few[0]) == len(few[1]) < MOST_SAMPLES


@pytest.mark.parametrize("ratio", [1.1, 1 / 1.1])
def test_a_true_difference_is_found_under_noise_drift_and_outliers(ratio):
    for seed in range(30):
        verdict, found = Clock(ratio, **ROUGH, seed=seed).verdict()
        assert verdict == FASTER
        assert (found.median > 1) == (ratio > 1)


def test_equals_are_never_called_different():
    verdicts = [Clock(1.0, **ROUGH, seed=seed).verdict()[0] for seed in range(100)]
    assert verdicts.count(FASTER) == 0
    assert verdicts.count(SAME) > 85


def test_the_interval_holds_the_truth_as_often_as_it_says():
    for truth in (1.0, 1.1):
        found = [Clock(truth, **ROUGH, seed=seed).verdict()[1] for seed in range(150)]
        held = sum(one.low <= truth <= one.high for one in found)
        assert held >= 0.90 * 150  # 95 %, less three standard deviations


def test_a_difference_at_the_margin_is_hardly_ever_called_the_wrong_way():
    """A truth just inside the margin must not be called faster, nor one just outside the same."""
    inside = [Clock(1.019, noise=0.05, seed=seed).verdict()[0] for seed in range(100)]
    outside = [Clock(1.021, noise=0.05, seed=seed).verdict()[0] for seed in range(100)]
    assert inside.count(FASTER) <= 0.05 * 100
    assert outside.count(SAME) <= 0.05 * 100
    assert UNCLEAR in inside and UNCLEAR in outside


def test_a_budget_for_few_pairs_is_not_enough_to_tell():
    verdict, found = Clock(3.0).verdict(budget_s=0.03)
    assert (verdict, round(found.median, 3)) == (UNCLEAR, 3.0)
    assert judge([], [1.0], 0.02) == (UNCLEAR, None)
    assert Clock(1.01, noise=0.3).verdict(budget_s=0.1)[0] == UNCLEAR


def test_drift_alone_is_no_difference():
    """One after another, the second would look 1.5 times slower."""
    assert Clock(1.0, drift_per_s=1.25).verdict()[0] == SAME


def measured(case, *rows):
    return Measurement(case=case, device="cpu", hardware={"device": "test"}, budget_s=1.0, rows=rows)


def row(name, time_ms, state="ok", reason=None):
    return Row(backend=name, state=state, flops=1.0, times_ms=(time_ms,) * 9 if time_ms else (), reason=reason)


def test_the_winner_is_named_and_by_how_much(make_case):
    found = compare(measured(make_case(), row("torch", 1.5), row("flash4", 1.0)), ("torch", "flash4"), 0.02)
    assert (found.verdict, found.faster, found.pairs) == (FASTER, "flash4", 9)
    assert sentence(found) == "flash4 is 1.500 times as fast (1.500 to 1.500)"
    other = compare(measured(make_case(), row("flash4", 1.0), row("torch", 1.5)), ("flash4", "torch"), 0.02)
    assert sentence(other) == sentence(found)
    same = compare(measured(make_case(), row("torch", 1.01), row("flash4", 1.0)), ("torch", "flash4"), 0.02)
    assert sentence(same) == "same (0.990 to 0.990)"
    assert same.faster is None


def test_what_did_not_run_is_told_and_what_is_unsafe_too(make_case):
    rows = (row("torch", 1.0), row("flash4", None, "unsupported", "needs a CUDA device"))
    found = compare(measured(make_case(), *rows), ("torch", "flash4"), 0.02)
    assert sentence(found) == "can't tell: flash4 is unsupported: needs a CUDA device"
    rows = (row("torch", 1.0, "incorrect", "NaN at the length 704"), row("flash4", 2.0))
    found = compare(measured(make_case(), *rows), ("torch", "flash4"), 0.02)
    assert sentence(found).endswith("(but torch is incorrect: NaN at the length 704)")


def test_the_command(torch, bench_attn, capsys, own_cache, planted, monkeypatch):
    monkeypatch.setitem(table.BACKENDS, "sleepy", planted("Sleepy"))
    line = "--seq 32 --heads 2 --d-k 16 --dtype fp32 --device cpu --budget 6"
    assert bench_attn(line + " --ab torch,sleepy") == 0
    out = capsys.readouterr().out
    assert "sleepy / torch" in out
    assert "B1 H2 S32 D16 fp32 fwd" in out
    assert "torch is " in out and " times as fast (" in out
    assert not own_cache.exists()
    assert bench_attn(line + " --ab sleepy,torch --json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["schema_version"] == 1
    (one,) = answer["results"]
    assert (one["verdict"], one["faster"], one["backends"]) == (FASTER, "torch", ["sleepy", "torch"])
    assert one["ratio"]["high"] < 0.9
    assert [row["samples"] for row in one["measurement"]["rows"]] == [one["pairs"]] * 2


def test_one_that_does_not_run_is_status_1(torch, bench_attn, capsys):
    assert bench_attn("--seq 32 --heads 1 --d-k 16 --device cpu --budget 0.3 --ab torch,flash4") == 1
    assert "can't tell: flash4 is unsupported: needs a CUDA device" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["torch", "torch,torch", "a,b,c", ""])
def test_two_different_backends_are_needed(text):
    with pytest.raises(InvalidInput, match="--ab must be two different backends"):
        two_backends(text)


def test_ab_takes_no_list_of_backends(bench_attn):
    with pytest.raises(InvalidInput, match="--ab names the backends"):
        bench_attn("--seq 32 --heads 1 --d-k 16 --ab torch,flash4 --backends torch")
