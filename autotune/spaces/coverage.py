"""How the points of a plan cover a space: the part that is feasible, and what each parameter is given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from autotune.spaces.parameters import Parameter
from autotune.spaces.space import Params, SearchSpace

SAMPLED_POINTS = 10_000  # of the unit cube: 0.5 s with several conditions
MOST_PARTS = 16  # of the coordinate of a parameter with more values
_MOST_NAMED = 6  # values that are counted by name


@dataclass(frozen=True)
class ParameterCoverage:
    """What the points of a plan give one parameter.

    Attributes:
        name: of the parameter.
        active: part of the feasible space in which it is active, 0 to 1, by a sample.
        parts: the number of its values, or of equal parts of its coordinate where it has more than `MOST_PARTS`.
        covered: how many of them some point has.
        counts: points by value, for a parameter of few values; else empty.
    """

    name: str
    active: float
    parts: int
    covered: int
    counts: dict[str, int]


def feasible_part(space: SearchSpace) -> tuple[float, dict[str, float]]:
    """Return the part of the unit cube that is feasible, and the part of that in which each parameter is active.

    Both are of the same sample every time.
    """
    rng = Random(0)
    points = (space.from_unit([rng.random() for _ in space.axes]) for _ in range(SAMPLED_POINTS))
    feasible = [params for params in points if space.is_feasible(params)]
    active = Counter(name for params in feasible for name in params)
    return len(feasible) / SAMPLED_POINTS, {name: active[name] / max(len(feasible), 1) for name in space.names}


def cover(space: SearchSpace, points: Sequence[Params], active: dict[str, float]) -> list[ParameterCoverage]:
    """Return what points give each parameter; ``active`` is of `feasible_part`."""
    return [
        _cover(name, parameter, [params[name] for params in points if name in params], active[name])
        for name, parameter in space.parameters.items()
    ]


def _cover(name: str, parameter: Parameter, values: Sequence[object], active: float) -> ParameterCoverage:
    parts = MOST_PARTS if parameter.size is None else min(parameter.size, MOST_PARTS)
    if parameter.size is not None and parameter.size <= _MOST_NAMED:
        counts = {str(value): 0 for value in parameter.grid(2)}
        counts |= Counter(map(str, values))
        return ParameterCoverage(name, active, parts, sum(count > 0 for count in counts.values()), counts)
    if parameter.size == parts:
        return ParameterCoverage(name, active, parts, len(set(values)), {})
    covered = {min(int(parameter.to_unit(value) * parts), parts - 1) for value in values}
    return ParameterCoverage(name, active, parts, len(covered), {})
