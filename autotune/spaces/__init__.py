"""The search space: parameters that turn a coordinate in [0, 1] into a plain JSON value, and their JSON form.

A parameter is immutable and knows nothing of searchers, files or other parameters. Each kind has

    kind, size          its name in JSON; how many values it has, None where they cannot be counted
    when                the condition under which it is active, as text; the space evaluates it
    from_unit(u)        the value at a coordinate; never outside the bounds, the first at 0 and the last at 1
    to_unit(value)      a coordinate of the value: the middle of its part where values can be counted
    at(i), index(value) by place, 0 to size - 1, where values can be counted
    contains(value)     whether a value is one of its own; a numpy scalar is no JSON value and so is not
    grid(points)        all values in order; of a continuous kind ``points`` evenly spaced ones, from bound to bound
    to_dict()           the JSON form

Making one raises `InvalidSpace` in one sentence where it makes no sense. A new kind is a class with these methods and
one line in `parameters.TYPES`. Nothing heavy is imported: numpy scalars become Python ones through their ``item()``.
"""

from autotune.spaces.checks import SCALAR_TYPES, Scalar
from autotune.spaces.continuous import LogNormal, LogUniform, Normal, Uniform
from autotune.spaces.discrete import MAX_GRID_VALUES, Choice, IntRange
from autotune.spaces.parameters import TYPES, Parameter
from autotune.spaces.space import Params, SearchSpace

__all__ = [
    "MAX_GRID_VALUES",
    "SCALAR_TYPES",
    "TYPES",
    "Choice",
    "IntRange",
    "LogNormal",
    "LogUniform",
    "Normal",
    "Parameter",
    "Params",
    "Scalar",
    "SearchSpace",
    "Uniform",
]
