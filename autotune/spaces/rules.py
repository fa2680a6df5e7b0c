"""What ties the parameters of a space together: conditions, forbidden points, pairs; checked when the space is made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from autotune.errors import InvalidSpace
from autotune.expressions import Expression
from autotune.spaces.checks import hint, keys, show
from autotune.spaces.parameters import Parameter


def conditions(parameters: Mapping[str, Parameter], where: str) -> dict[str, Expression]:
    """Return the parsed ``when`` of each parameter that has one."""
    given = {name: parameter.when for name, parameter in parameters.items() if parameter.when is not None}
    return {name: _over(text, parameters, f"{where}: {name}: `when`") for name, text in given.items()}


def forbidden(texts: object, parameters: Mapping[str, Parameter], where: str) -> tuple[Expression, ...]:
    """Return the parsed ``forbid``."""
    if isinstance(texts, str) or not isinstance(texts, Iterable):
        raise InvalidSpace(f"{where}: `forbid` must be a list of expressions, got {show(texts)}; write ['tp * pp > 8']")
    return tuple(_over(text, parameters, f"{where}: `forbid`") for text in texts)


def decision_order(parameters: Mapping[str, Parameter], when: Mapping[str, Expression], where: str) -> tuple[str, ...]:
    """Return the names such that each follows those that its condition names, else as declared."""
    order: dict[str, None] = {}

    def place(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            circle = " -> ".join((*path[path.index(name) :], name))
            raise InvalidSpace(f"{where}: conditions must not go in a circle, got {circle}; remove one `when` of these")
        if name not in order:
            needed = when[name].names if name in when else ()
            for other in parameters:
                if other in needed:
                    place(other, (*path, name))
            order[name] = None

    for name in parameters:
        place(name, ())
    return tuple(order)


def axes(groups: object, parameters: Mapping[str, Parameter], where: str) -> tuple[tuple[str, ...], ...]:
    """Return the names that share each coordinate, in declared order of the first; most stand alone."""
    if isinstance(groups, str | Mapping) or not isinstance(groups, Iterable):
        raise InvalidSpace(f"{where}: `zip` must be a list of lists of names, got {show(groups)}; write [[a, b]]")
    together: dict[str, Sequence[str]] = {}
    for group in groups:
        if isinstance(group, str | Mapping) or not isinstance(group, Iterable):
            raise InvalidSpace(f"{where}: `zip` must be a list of lists of names, got {show(group)} in it; [[a, b]]")
        names = list(group)
        _check_pair(names, together, parameters, where)
        together |= dict.fromkeys(names, sorted(names, key=list(parameters).index))
    return tuple(tuple(together.get(name, (name,))) for name in parameters if together.get(name, (name,))[0] == name)


def _check_pair(names: list[str], taken: Mapping[str, object], parameters: Mapping[str, Parameter], where: str) -> None:
    for name in names:
        if name not in parameters:
            raise InvalidSpace(
                f"{where}: `zip` must name parameters, got {show(name)}{hint(name, parameters)}; "
                f"known: {keys(parameters)}"
            )
        if name in taken or names.count(name) > 1:
            raise InvalidSpace(f"{where}: `zip` must name a parameter once, got {show(name)} twice; remove one")
        if parameters[name].size is None:
            raise InvalidSpace(
                f"{where}: `zip` pairs values by their place, so they must be countable, but {name} is a "
                f"{parameters[name].kind}; give it a `step`, or use a choice or an int"
            )
    sizes = {name: parameters[name].size for name in names}
    if len(names) < 2 or len(set(sizes.values())) > 1:
        got = ", ".join(f"{name} with {show(size)}" for name, size in sizes.items()) or "none"
        raise InvalidSpace(f"{where}: `zip` must pair two or more parameters with equally many values, got {got}")


def _over(text: object, parameters: Mapping[str, Parameter], where: str) -> Expression:
    """Parse an expression over parameters."""
    expression = Expression(text, where)  # type: ignore[arg-type]  # it refuses what is no text
    for name in sorted(expression.names):
        if name not in parameters:
            close = hint(name, [*parameters, "True", "False", "None"]) or f"; quote it if it is a value: '{name}'"
            raise InvalidSpace(f"{where}: `{expression.text}` must name parameters, got {name!r}, which is none{close}")
    if not expression.names:
        raise InvalidSpace(f"{where}: `{expression.text}` must name at least one parameter; known: {keys(parameters)}")
    return expression
