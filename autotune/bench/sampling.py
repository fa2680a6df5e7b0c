"""Sampling: candidates in turns, so that a clock that drifts or a chip that heats up hits all of them alike.

Two candidates are compared by the ratios of their times in the same rounds, not by their medians: what slows a whole
round down cancels. The slow ones are dropped as soon as that is sure, and the rest goes on until it can be told apart
or is known to be level.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

WARM_UP_ROUNDS = 3
SAMPLES = 50  # of every candidate that is not dropped, before anything may stop early
MOST_SAMPLES = 400
PRECISION = 0.005  # the half-width of the fastest's interval, as a part of its median, that is enough
# After so many samples a candidate is dropped that is, at 95 %, so many times slower than the fastest.
DROPS = ((3, 5.0), (5, 1.5), (12, 1.15), (25, 1.05))


@dataclass(frozen=True, slots=True)
class Samples:
    """Times of one candidate in milliseconds, a round each; the figures are derived from them."""

    times_ms: tuple[float, ...]

    @property
    def median_ms(self) -> float:
        return statistics.median(self.times_ms)

    @property
    def p20_ms(self) -> float:
        return percentile(self.times_ms, 20)

    @property
    def p80_ms(self) -> float:
        return percentile(self.times_ms, 80)

    @property
    def interval_ms(self) -> tuple[float, float]:
        return median_interval(self.times_ms)


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % confidence interval of the median, by ranks: no assumption about how the values are spread."""
    ordered = sorted(values)
    half = 1.96 * math.sqrt(len(ordered)) / 2
    low = max(0, math.floor(len(ordered) / 2 - half))
    high = min(len(ordered), math.ceil(len(ordered) / 2 + half)) - 1
    return ordered[low], ordered[max(low, high)]


def percentile(values: Sequence[float], percent: float) -> float:
    """Return a percentile, linear between the two nearest values."""
    ordered = sorted(values)
    at = (len(ordered) - 1) * percent / 100
    low = math.floor(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times slower than another: the median over common rounds, and its 95 % interval."""

    median: float
    low: float
    high: float


def ratio(times_ms: Sequence[float], other_ms: Sequence[float]) -> Ratio:
    """Compare two candidates over the rounds that both took part in; round i is the i-th time of each."""
    ratios = [a / b for a, b in zip(times_ms, other_ms)]
    return Ratio(statistics.median(ratios), *median_interval(ratios))


def fastest(times_ms: Mapping[str, Sequence[float]]) -> str:
    """Return the candidate with the least median among those that were sampled to the end."""
    most = max(len(times) for times in times_ms.values())
    return min((name for name, times in times_ms.items() if len(times) == most), key=_median_of(times_ms))


def _median_of(times_ms: Mapping[str, Sequence[float]]) -> Callable[[str], float]:
    return lambda name: statistics.median(times_ms[name])


@dataclass(frozen=True, slots=True)
class Sampled:
    """What a sampling came to: samples of those that ran, and what the others raised."""

    samples: dict[str, Samples] = field(default_factory=dict)
    raised: dict[str, Exception] = field(default_factory=dict)
    stopped: str = ""  # why it ended: budget, precise, samples


def sample_in_rounds(
    names: Sequence[str],
    measure: Callable[[str], float],
    clock: Callable[[], float],
    *,
    budget_s: float,
    margin: float = 0.02,
    samples: int = SAMPLES,
    most: int = MOST_SAMPLES,
    keep: Sequence[str] = (),
    fixed: bool = False,
    on_round: Callable[[int, int], None] = lambda done, total: None,
) -> Sampled:
    """Measure every candidate once a round until each can be told apart or is level, or a next round would overrun.

    ``measure(name)`` returns milliseconds; ``clock()`` returns seconds. Every second round runs backwards: the one
    before a candidate is not always the same, and a steady drift cancels. The first rounds are warm-up and dropped,
    except where the budget ended with few. A candidate that raises leaves the field to the others. Those in ``keep``
    are dropped last. With ``fixed`` nothing is dropped and only the budget stops it early: a stop that looks at the
    times would bend the interval of an A/B comparison.
    """
    times: dict[str, list[float]] = {name: [] for name in names}
    raised: dict[str, Exception] = {}
    active = list(names)
    start = last = clock()
    stopped = "samples"
    for number in range(most + WARM_UP_ROUNDS):
        for name in active[:: -1 if number % 2 else 1]:
            try:
                times[name].append(measure(name))
            except Exception as error:  # noqa: BLE001 - a backend may raise anything
                raised[name] = error
                del times[name]
        active = [name for name in active if name not in raised]
        now = clock()
        on_round(number + 1, most + WARM_UP_ROUNDS)
        if not active or (now - start) + (now - last) > budget_s:
            stopped = "budget"
            break
        last = now
        if fixed:
            continue
        active = _without_slow({name: times[name] for name in active}, keep)
        if number + 1 - WARM_UP_ROUNDS >= samples and _settled({name: times[name] for name in active}, margin):
            stopped = "precise"
            break
    return Sampled({name: Samples(tuple(_kept(values))) for name, values in times.items()}, raised, stopped)


def _kept(values: Sequence[float]) -> Sequence[float]:
    return values[WARM_UP_ROUNDS:] if len(values) > WARM_UP_ROUNDS + 1 else values


def _without_slow(times: Mapping[str, Sequence[float]], keep: Sequence[str]) -> list[str]:
    """Return the candidates that may still be the fastest, or level with it."""
    kept = {name: _kept(values) for name, values in times.items()}
    best = fastest(kept)
    number = len(kept[best])
    limit = max((factor for least, factor in DROPS if number == least), default=None)
    if limit is None or len(kept) == 1:
        return list(times)

    def slow(name: str) -> bool:
        # What shall be kept goes only when it is far off: its figure is what the choice is held against.
        return ratio(kept[name], kept[best]).low > (max(limit, 1.5) if name in keep else limit)

    return [name for name in times if name == best or not slow(name)]


def _settled(times: Mapping[str, Sequence[float]], margin: float) -> bool:
    """Whether the fastest is known precisely, and of each other whether it is within half the margin of it or not.

    Half of it is where the choice is made; see choose.choose.
    """
    kept = {name: _kept(values) for name, values in times.items()}
    best = fastest(kept)
    low, high = median_interval(kept[best])
    if (high - low) / 2 > PRECISION * statistics.median(kept[best]):
        return False
    others = [ratio(kept[name], kept[best]) for name in kept if name != best]
    edge = 1 + margin / 2
    return all(other.low > edge or other.high <= edge for other in others)
