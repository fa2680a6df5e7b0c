"""Expressions that users write in study files: ``when``, ``forbid``, ``constraints``, ``resources``.

A small language, evaluated by simpleeval and never by Python: numbers, strings, True, False, None, lists; names;
``+ - * / // % **`` on numbers; comparisons, ``in``, ``and or not``; ``a if b else c``; the functions of `FUNCTIONS`.
What is not of it is refused when the expression is made, so that a study fails before anything runs.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, final

from autotune.errors import InvalidExpression, nearest

if TYPE_CHECKING:
    import ast

    from simpleeval import SimpleEval

FUNCTIONS = ("min", "max", "abs", "round", "int", "float", "ceil", "floor", "log2", "sqrt", "len")
_MOST_CHARACTERS = 1000
_MOST_POWER_BITS = 4096  # of the result of a power of integers
_MOST_DIGITS = 400  # of round(x, digits): no float has more
_ALLOWED = {
    *("Constant", "Name", "Load", "List", "Tuple", "IfExp", "Call"),
    *("UnaryOp", "Not", "USub", "UAdd", "BoolOp", "And", "Or"),
    *("BinOp", "Add", "Sub", "Mult", "Div", "FloorDiv", "Mod", "Pow"),
    *("Compare", "Eq", "NotEq", "Lt", "LtE", "Gt", "GtE", "In", "NotIn"),
}
_LANGUAGE = (
    f"numbers, strings, lists, names, + - * / // % **, comparisons, in, and, or, not, if else, {', '.join(FUNCTIONS)}"
)


@final
class Expression:
    """An expression over named values, parsed once; two of the same text are equal.

    Args:
        text: the expression, such as ``"tp * pp > 8"``.
        where: file and key, which open the sentence of an error.

    Attributes:
        names: the names that it needs values for.

    Raises:
        InvalidExpression: it is no expression of the language.
    """

    __slots__ = ("_evaluator", "_tree", "names", "text", "where")

    def __init__(self, text: str, where: str = "expression") -> None:
        if not isinstance(text, str) or not text.strip() or len(text) > _MOST_CHARACTERS:
            raise InvalidExpression(
                f"{where} must be an expression of 1 to {_MOST_CHARACTERS} characters, got {_short(repr(text))}; "
                "write it in quotes, as in 'tp * pp > 8'"
            )
        self.text, self.where = text.strip(), where
        self._tree = _parse(self.text, where)
        self.names = _names(self._tree, self.text, where)
        self._evaluator = _evaluator()

    def evaluate(self, values: Mapping[str, Any]) -> Any:
        """Return the value; InvalidExpression where a name has none, or where these values make no sense in it."""
        for name in self.names:
            if name not in values:
                hint = nearest(name, list(values)) or f"known: {', '.join(values) or 'nothing'}"
                raise InvalidExpression(f"{self.where}: `{self.text}` must have a value for {name!r}; {hint.strip()}")
        self._evaluator.names = values
        try:
            return self._evaluator.eval(self.text, previously_parsed=self._tree)
        except RecursionError:
            raise InvalidExpression(f"{self.where} must be nested less deeply, got `{_short(self.text)}`") from None
        except (ArithmeticError, TypeError, ValueError) as error:
            got = ", ".join(f"{name}={_short(repr(values[name]))}" for name in sorted(self.names)) or "no names"
            raise InvalidExpression(
                f"{self.where}: `{self.text}` must have a value for every trial, but with {got} there is "
                f"{type(error).__name__}: {error}"
            ) from None

    def __reduce__(self) -> tuple[type[Expression], tuple[str, str]]:
        return Expression, (self.text, self.where)

    def __eq__(self, other: object) -> bool:
        return self.text == other.text if isinstance(other, Expression) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"


def _parse(text: str, where: str) -> ast.expr:
    """Return the syntax tree of a text, of which every node belongs to the language."""
    import ast

    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        fault = error.msg if isinstance(error, SyntaxError) else str(error)
        raise InvalidExpression(
            f"{where} must be an expression such as `tp * pp > 8`, got `{_short(text)}`: {fault}"
        ) from None
    for node in ast.walk(tree):
        if type(node).__name__ not in _ALLOWED or (isinstance(node, ast.Constant) and not _is_plain(node.value)):
            found = ast.get_source_segment(text, node) if isinstance(node, ast.expr) else None
            raise InvalidExpression(
                f"{where}: `{_short(text)}` must not use {_short(found or type(node).__name__)!r}; "
                f"an expression knows {_LANGUAGE}"
            )
    return tree


def _names(tree: ast.expr, text: str, where: str) -> frozenset[str]:
    """Return the free names; refuse calls of anything but the functions of the language."""
    import ast

    called = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.id if isinstance(node.func, ast.Name) else ast.unparse(node.func)
        if name not in FUNCTIONS:
            raise InvalidExpression(
                f"{where}: `{_short(text)}` must not call {_short(name)!r}; {nearest(name, list(FUNCTIONS))}"
                f"the functions are {', '.join(FUNCTIONS)}"
            )
        called.add(node.func)
    return frozenset(node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and node not in called)


def _evaluator() -> SimpleEval:
    """Return an evaluator with the functions of the language, arithmetic of numbers alone, and lists."""
    from simpleeval import EvalWithCompoundTypes

    functions, operators = _tables()
    return EvalWithCompoundTypes(operators=dict(operators), functions=dict(functions))


@functools.cache
def _tables() -> tuple[dict[str, Callable[..., Any]], dict[Any, Callable[..., Any]]]:
    import ast
    import math
    import operator

    from simpleeval import DEFAULT_OPERATORS

    same = (min, max, abs, _round, int, float, math.ceil, math.floor, math.log2, math.sqrt, len)
    arithmetic = {
        ast.Add: operator.add,
        ast.Sub: operator.sub,
        ast.Mult: operator.mul,
        ast.Div: operator.truediv,
        ast.FloorDiv: operator.floordiv,
        ast.Mod: operator.mod,
        ast.Pow: _power,
    }
    numeric = {node: functools.partial(_of_numbers, function) for node, function in arithmetic.items()}
    return dict(zip(FUNCTIONS, same, strict=True)), {**DEFAULT_OPERATORS, **numeric}


def _of_numbers(function: Callable[[Any, Any], Any], a: object, b: object) -> Any:
    """Apply an operator to two numbers: on strings and lists ``*`` and ``%`` could fill the memory."""
    for value in (a, b):
        if not isinstance(value, int | float):
            raise TypeError(f"arithmetic is of numbers, got {_short(repr(value))}")
    return function(a, b)


def _power(base: float, exponent: float) -> float:
    if isinstance(base, int) and isinstance(exponent, int) and base.bit_length() * abs(exponent) > _MOST_POWER_BITS:
        raise ValueError(f"a power must have at most {_MOST_POWER_BITS} bits")
    value = base**exponent
    if isinstance(value, complex):
        raise ValueError("a negative number has no such power")
    return float(value) if isinstance(value, float) else int(value)


def _round(value: float, digits: int = 0) -> float:
    """Round to an integer, or with digits as Python does; ``round(1, -10**9)`` would compute a power of 10."""
    if abs(digits) > _MOST_DIGITS:
        raise ValueError(f"round takes at most {_MOST_DIGITS} digits")
    return round(value, digits) if digits else round(value)


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, str | int | float)


def _short(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "..."
