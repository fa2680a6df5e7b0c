"""The space: named parameters, the conditions under which they are active, and the points that are forbidden.

The parameters of a point are those that are active, in declared order; then two points are the same if and only if
their parameters are equal, and a point is called canonical. A coordinate belongs to one parameter, or to several that
are zipped.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn, cast, final

from autotune.errors import InvalidSpace
from autotune.expressions import Expression
from autotune.spaces import rules
from autotune.spaces.checks import Scalar, end, keys, show
from autotune.spaces.parameters import TYPES, Countable, Parameter, make_parameter

if TYPE_CHECKING:
    from random import Random

Params = dict[str, Scalar]

_MOST_STEPS = 100_000  # of listing a space: values tried for some parameter, a second with several conditions
_MOST_MISSES = 20_000  # forbidden points in a row, until the space is taken for empty
_MISSES_TO_LIST = 500  # until the feasible points are listed, where they can be


@final
class SearchSpace:
    """Named parameters, immutable; their order counts, as it decides a grid's order and whose each coordinate is.

    Args:
        parameters: the parameters by name; one with ``when`` is active only where that expression over other
            parameters is true. One that names an inactive parameter is false.
        forbid: expressions over parameters; where one is true, the point is forbidden. One that names an inactive
            parameter is false.
        zip: groups of parameters with equally many values, which go through them together and share a coordinate.
        where: a file or key, which opens the sentence of an InvalidSpace.
    """

    __slots__ = (
        "_axes",
        "_conditions",
        "_draws",
        "_forbidden",
        "_is_plain",
        "_names",
        "_order",
        "_parameters",
        "_zipped",
    )

    def __init__(
        self,
        parameters: Mapping[str, Parameter],
        forbid: Sequence[str] = (),
        zip: Sequence[Sequence[str]] = (),  # noqa: A002  # the key in the study file
        *,
        where: str = "space",
    ) -> None:
        _check_mapping(parameters, where)
        for name, parameter in parameters.items():
            if type(parameter) not in TYPES.values():
                known = keys(dict.fromkeys(cls.__name__ for cls in TYPES.values()))
                raise InvalidSpace(
                    f"{where}: {name}: a parameter must be one of {known}, "
                    f"got {show(parameter)}; use SearchSpace.from_dict for the JSON form"
                )
        self._parameters = dict(parameters)
        self._names = tuple(parameters)
        self._draws = tuple(parameter.from_unit for parameter in parameters.values())
        self._conditions = rules.conditions(self._parameters, where)
        self._order = rules.decision_order(self._parameters, self._conditions, where)
        beside = where.removesuffix(": space")  # these keys stand beside `space` in the file
        self._forbidden = rules.forbidden(forbid, self._parameters, beside)
        self._axes = rules.axes(zip, self._parameters, beside)
        self._zipped = {name: cast("Countable", self._parameters[name]) for axis in self.zip for name in axis}
        self._is_plain = not self._conditions and len(self._axes) == len(self._names)

    @classmethod
    def from_dict(
        cls,
        mapping: Mapping[str, Any],
        where: str = "space",
        forbid: Sequence[str] = (),
        zip: Sequence[Sequence[str]] = (),  # noqa: A002  # the key in the study file
    ) -> SearchSpace:
        """Make a space from its JSON form; ``where`` (a file or key) opens the sentence of an InvalidSpace."""
        _check_mapping(mapping, where)
        parameters = {name: make_parameter(spec, f"{where}: {name}") for name, spec in mapping.items()}
        return cls(parameters, forbid, zip, where=where)

    @classmethod
    def from_study(cls, study: Mapping[str, Any]) -> SearchSpace:
        """Make the space of a study from the content of its ``study.json``."""
        mapping = {name: study["space"][name] for name in study["parameters"]}
        return cls.from_dict(mapping, "study.json: space", study.get("forbid", ()), study.get("zip", ()))

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """The parameters by name, read-only, in declared order."""
        return MappingProxyType(self._parameters)

    @property
    def names(self) -> list[str]:
        """The names in declared order."""
        return list(self._names)

    @property
    def axes(self) -> tuple[tuple[str, ...], ...]:
        """The names of the parameters that each coordinate belongs to: one, or those that are zipped."""
        return self._axes

    @property
    def dimensions(self) -> int:
        """The number of coordinates of a point."""
        return len(self._axes)

    @property
    def forbid(self) -> tuple[str, ...]:
        """The expressions of forbidden points."""
        return tuple(expression.text for expression in self._forbidden)

    @property
    def zip(self) -> tuple[tuple[str, ...], ...]:
        """The groups of names that go together."""
        return tuple(axis for axis in self._axes if len(axis) > 1)

    @property
    def has_conditions(self) -> bool:
        """Whether the space is more than its parameters: one has a ``when``, points are forbidden, or zipped."""
        return not self._is_plain or bool(self._forbidden)

    def from_unit(self, point: Sequence[float]) -> Params:
        """Return the canonical parameters at a point of the unit cube, forbidden or not.

        Raises:
            InvalidSpace: it has not one coordinate for each of `axes`.
        """
        if len(point) != len(self._axes):
            raise InvalidSpace(f"a point must have {len(self._axes)} coordinates, one a parameter, got {len(point)}")
        if self._is_plain:
            return {name: draw(u) for name, draw, u in zip(self._names, self._draws, point, strict=True)}
        drawn: Params = {}
        for axis, u in zip(self._axes, point, strict=True):
            if len(axis) == 1:
                drawn[axis[0]] = self._parameters[axis[0]].from_unit(u)
            else:
                index = _place(u, self._zipped[axis[0]].size)
                drawn |= {name: self._zipped[name].at(index) for name in axis}
        return self._active(drawn)

    def to_unit(self, params: Params) -> list[float | None]:
        """Return a point of the unit cube that has these canonical parameters: one coordinate for each of `axes`.

        A coordinate is None where none of its parameters is active; one of a countable parameter is the middle of its
        part.
        """
        return [self._coordinate([name for name in axis if name in params], params) for axis in self._axes]

    def is_feasible(self, params: Mapping[str, Scalar]) -> bool:
        """Return whether no ``forbid`` is true of canonical parameters."""
        return not any(_holds(expression, params) for expression in self._forbidden)

    def contains(self, params: object) -> bool:
        """Return whether these are values for exactly the active parameters, each within its own, and not forbidden."""
        if not isinstance(params, Mapping):
            return False
        if self._is_plain:
            if params.keys() != self._parameters.keys():
                return False
            inside = all(parameter.contains(params[name]) for name, parameter in self._parameters.items())
        else:
            inside = self._is_canonical(params)
        return inside and (not self._forbidden or self.is_feasible(params))

    def feasible(self, points: Iterable[Sequence[float]]) -> Iterator[Params]:
        """Yield the canonical parameters of those points of the unit cube that are not forbidden.

        Where almost all are, the feasible ones are listed, and the first coordinate of each point chooses among them.

        Raises:
            InvalidSpace: almost all are forbidden, and the feasible ones cannot be listed.
        """
        if not self._forbidden:
            yield from map(self.from_unit, points)
            return
        points, misses = iter(points), 0
        listed: list[Params] | None = None
        for point in points:
            params = self.from_unit(point)
            if self.is_feasible(params):
                misses = 0
                yield params
                continue
            misses += 1
            if misses == _MISSES_TO_LIST and (listed := _feasible_points(self)) is not None:
                break
            if misses == _MOST_MISSES:
                self._refuse(f"none of {_MOST_MISSES} points in a row is")
        if listed is None:
            return
        if not listed:
            self._refuse("none of its points is")
        for point in points:
            yield dict(listed[_place(point[0], len(listed))])

    def sample(self, rng: Random, n: int) -> list[Params]:
        """Return ``n`` feasible canonical points, drawn independently by ``rng.random()``; see `feasible`."""
        cube = ([rng.random() for _ in self._axes] for _ in itertools.count())
        return list(itertools.islice(self.feasible(cube), n))

    def refuse_empty(self) -> None:
        """Raise InvalidSpace where no point, or almost none, is feasible; see `feasible`."""
        if self._forbidden:
            from random import Random

            self.sample(Random(0), 1)

    def count(self, limit: int) -> int | None:
        """Return the number of distinct feasible canonical points.

        None where they cannot be counted, are more than ``limit``, or hide among too many forbidden ones.
        """
        sizes = self._sizes()
        if not self.has_conditions and sizes is not None:
            total = math.prod(sizes)
            return total if total <= limit else None
        listed = self._listed(limit + 1)
        return None if listed is None or len(listed) > limit else len(listed)

    def grid_size(self, points: int) -> int:
        """Return the number of points of the full grid with ``points`` values for each continuous parameter.

        With conditions and forbidden points it is a bound: `grid` may have fewer.
        """
        sizes = [self._parameters[axis[0]].size for axis in self._axes]
        return math.prod(points if size is None else size for size in sizes)

    def grid(self, points: int, most_steps: int | None = None) -> Iterator[Params]:
        """Return the feasible canonical points of the grid, each once, row-major: the last parameter changes fastest.

        A parameter that another one's condition names comes before that one.

        Raises:
            InvalidSpace: a parameter has too many values to list; or with conditions, ``most_steps`` values were tried.
        """
        values = {name: parameter.grid(points) for name, parameter in self._parameters.items()}
        if self.has_conditions:
            return self._walk(values, most_steps)
        return (dict(zip(self._names, row, strict=True)) for row in itertools.product(*values.values()))

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Return the JSON form of the parameters, in declared order (which a file with sorted keys does not keep).

        `forbid` and `zip` stand beside it.
        """
        return {name: parameter.to_dict() for name, parameter in self._parameters.items()}

    def __len__(self) -> int:
        return len(self._axes)

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, SearchSpace) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        rules_ = "".join(f", {key}={value!r}" for key, value in (("forbid", self.forbid), ("zip", self.zip)) if value)
        return f"SearchSpace({self._parameters!r}{rules_})"

    def _sizes(self) -> list[int] | None:
        """Return the number of values of each axis; None where one cannot be counted."""
        sizes = [size for axis in self._axes if (size := self._parameters[axis[0]].size) is not None]
        return sizes if len(sizes) == len(self._axes) else None

    def _listed(self, most: int | None = None) -> list[Params] | None:
        """Return all feasible canonical points, or ``most`` of them; None where they cannot be listed in good time."""
        # A parameter of too many values does not matter where it is never active.
        listable = {name: p.size is not None and p.size <= _MOST_STEPS for name, p in self._parameters.items()}
        if not all(listable.values()) and not self._conditions:
            return None
        values = {name: p.grid(2) if listable[name] else None for name, p in self._parameters.items()}
        try:
            return list(itertools.islice(self._walk(values, _MOST_STEPS), most))
        except _TooManySteps:
            return None

    def _refuse(self, found: str) -> NoReturn:
        rules_ = " or ".join(f"`{text}`" for text in self.forbid)
        raise InvalidSpace(f"a space must have feasible points, but {found}; loosen {rules_}")

    def _key(self) -> tuple[object, ...]:
        return tuple(self._parameters.items()), self._forbidden, self._axes

    def _is_active(self, name: str, decided: Mapping[str, Scalar]) -> bool:
        """Return whether a parameter is active, given the active ones before it in `_order`."""
        return name not in self._conditions or _holds(self._conditions[name], decided)

    def _active(self, drawn: Params) -> Params:
        decided: Params = {}
        for name in self._order:
            if self._is_active(name, decided):
                decided[name] = drawn[name]
        return {name: decided[name] for name in self._names if name in decided}

    def _is_canonical(self, params: Mapping[Any, Any]) -> bool:
        decided: Params = {}
        for name in self._order:
            if self._is_active(name, decided):
                if name not in params or not self._parameters[name].contains(params[name]):
                    return False
                decided[name] = params[name]
        if params.keys() != decided.keys():
            return False
        return all(
            len({self._zipped[name].index(params[name]) for name in axis if name in params}) <= 1 for axis in self.zip
        )

    def _coordinate(self, active: list[str], params: Params) -> float | None:
        if not active:
            return None
        name = active[0]
        if name in self._zipped:
            countable = self._zipped[name]
            return (countable.index(params[name]) + 0.5) / countable.size
        return self._parameters[name].to_unit(params[name])

    def _walk(self, values: Mapping[str, Sequence[Scalar] | None], most_steps: int | None) -> Iterator[Params]:
        """Yield the points of `grid`, one parameter after the other, and none below a part that is forbidden."""
        decided: Params = {}
        chosen: dict[tuple[str, ...], int] = {}  # of the axes that are zipped
        steps = itertools.count(1)
        axis_of = {name: axis for axis in self._axes for name in axis}
        rank = {name: place for place, name in enumerate(self._order)}
        last = [(max(rule.names, key=rank.__getitem__), rule) for rule in self._forbidden]
        ending = {name: [rule for end_, rule in last if end_ == name] for name in self._order}

        def walk(depth: int) -> Iterator[Params]:
            if depth == len(self._order):
                yield {name: decided[name] for name in self._names if name in decided}
                return
            name = self._order[depth]
            if not self._is_active(name, decided):
                yield from walk(depth + 1)
                return
            axis, options = axis_of[name], values[name]
            if options is None:
                raise _TooManySteps(f"the grid must have few values of {name}; use random")
            is_first = axis not in chosen
            for index in range(len(options)) if is_first else (chosen[axis],):
                if most_steps is not None and next(steps) > most_steps:
                    raise _TooManySteps(f"the grid must show its feasible points within {most_steps} steps; use random")
                chosen[axis], decided[name] = index, options[index]
                if not any(_holds(rule, decided) for rule in ending[name]):
                    yield from walk(depth + 1)
            del decided[name]
            if is_first:
                del chosen[axis]

        return walk(0)


class _TooManySteps(InvalidSpace):
    """A grid takes too long to look through."""


@functools.lru_cache(maxsize=8)
def _feasible_points(space: SearchSpace) -> list[Params] | None:
    """Return all feasible points of a space in which they are few, None where they cannot be listed; kept."""
    return space._listed()


def _holds(expression: Expression, params: Mapping[str, Scalar]) -> bool:
    """Return whether an expression is true of the parameters; it is false where it names an inactive one."""
    return expression.names <= params.keys() and bool(expression.evaluate(params))


def _place(u: float, size: int) -> int:
    return int(u * size) if 0.0 <= u < 1.0 else end(u, 0, size - 1)


def _check_mapping(mapping: object, where: str) -> None:
    if not isinstance(mapping, Mapping):
        raise InvalidSpace(f"{where}: a space must be a mapping from names to parameters, got {show(mapping)}")
    if not mapping:
        raise InvalidSpace(f"{where}: a space must have at least one parameter, got none; add one")
    for name in mapping:
        if type(name) is not str or not name:
            raise InvalidSpace(f"{where}: a parameter's name must be a non-empty string, got {show(name)}; quote it")
