"""The expression language of study files: what it computes, what it refuses, and in what words."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import time
from typing import Any

import pytest

from autotune.errors import InvalidExpression
from autotune.expressions import FUNCTIONS, Expression

VALUES: dict[str, Any] = {"tp": 4, "pp": 2, "lr": 1e-3, "optimizer": "sgd", "fused": True, "clip": None}

VALUES_OF = [
    ("tp * pp > 8", False),
    ("tp * pp >= 8", True),
    ("2 <= pp < tp", True),
    ("optimizer == 'sgd' and not fused", False),
    ("optimizer in ['adam', 'sgd'] or lr > 1", True),
    ("optimizer not in ('adam', 'sgd')", False),
    ("clip == None", True),
    ("4000 + 2 * tp", 4008),
    ("-tp + 7 // 2 - 7 % 4", -4),
    ("tp / pp", 2.0),
    ("2 ** 10", 1024),
    ("2 ** -1", 0.5),
    ("tp if fused else 0", 4),
    ("min(tp, pp) + max([1, 2]) + abs(-1)", 5),
    ("round(2.6) + round(2.64, 1)", 5.6),
    ("int(2.9) + float(1) + ceil(0.1) + floor(1.9)", 5.0),
    ("log2(8) + sqrt(16) + len('abc')", 10.0),
]


@pytest.mark.parametrize(("text", "value"), VALUES_OF)
def test_value(text: str, value: object) -> None:
    found = Expression(text).evaluate(VALUES)
    assert found == value
    assert type(found) is type(value)


def test_the_table_of_functions_is_tried_above() -> None:
    assert all(any(f"{name}(" in text for text, _ in VALUES_OF) for name in FUNCTIONS)


REFUSED = [
    ("__import__('os').system('true')", "must not use"),
    ("__import__('os')", "must not call '__import__'"),
    ("open('x')", "must not call 'open'; the functions are min, max"),
    ("mx(1, 2)", "must not call 'mx'; did you mean 'max'?"),
    ("().__class__", "must not use '().__class__'; an expression knows numbers"),
    ("tp.real", "must not use 'tp.real'"),
    ("tp[0]", "must not use 'tp[0]'"),
    ("[x for x in [1]]", "must not use"),
    ("lambda: 1", "must not use 'lambda: 1'"),
    ("f'{tp}'", "must not use"),
    ("min(tp, key=pp)", "must not use"),
    ("(x := 3)", "must not use 'x := 3'"),
    ("{1: 2}", "must not use '{1: 2}'"),
    ("[*tp]", "must not use '*tp'"),
    ("tp is None", "must not use 'Is'"),
    ("1j", "must not use '1j'"),
    ("b'a'", "must not use"),
    ("tp = 1", "must be an expression such as `tp * pp > 8`, got `tp = 1`: invalid syntax"),
    ("tp; pp", "invalid syntax"),
    ("tp >", "invalid syntax"),
    ("(" * 400 + "1" + ")" * 400, "too many nested parentheses"),
    ("", "must be an expression of 1 to 1000 characters, got ''"),
    ("1" + "+1" * 600, "must be an expression of 1 to 1000 characters"),
    (5, "must be an expression of 1 to 1000 characters, got 5; write it in quotes"),
    (True, "got True; write it in quotes"),
]


@pytest.mark.parametrize(("text", "message"), REFUSED, ids=range(len(REFUSED)))
def test_what_is_not_of_the_language_is_refused_when_it_is_made(text: Any, message: str) -> None:
    with pytest.raises(InvalidExpression) as caught:
        Expression(text, "study.yaml: `forbid`")
    assert message in str(caught.value)
    assert str(caught.value).startswith("study.yaml: `forbid`")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


NONSENSE = [
    ("1 / (tp - 4)", "with tp=4 there is ZeroDivisionError: division by zero"),
    ("optimizer > 3", "with optimizer='sgd' there is TypeError"),
    ("sqrt(-tp)", "ValueError"),
    ("(-tp) ** 0.5", "a negative number has no such power"),
    ("9 ** 9 ** 9", "a power must have at most 4096 bits"),
    ("9.9 ** 9999", "OverflowError"),
    ("'a' * 999999999", "arithmetic is of numbers, got 'a'"),
    ("'%999999999d' % tp", "arithmetic is of numbers"),
    ("[0] * 999999999", "arithmetic is of numbers, got [0]"),
    ("round(5, -999999999)", "round takes at most 400 digits"),
    ("int('x')", "ValueError"),
    ("-" * 990 + "1", "must be nested less deeply"),
    ("tp + ppp", "must have a value for 'ppp'; did you mean 'pp'?"),
]


@pytest.mark.parametrize(("text", "message"), NONSENSE)
def test_nonsense_for_some_values_is_one_sentence_and_costs_nothing(text: str, message: str) -> None:
    expression = Expression(text, "study.yaml: `forbid`")
    started = time.process_time()
    with pytest.raises(InvalidExpression) as caught:
        expression.evaluate(VALUES)
    assert time.process_time() - started < 0.5
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_names_are_what_it_needs_values_for() -> None:
    assert Expression("min(tp, 3) > pp and min != 'tp'").names == {"tp", "pp", "min"}
    assert Expression("1 + 1").names == set()


def test_equality_is_of_the_text() -> None:
    assert Expression(" tp > 1 ", "here") == Expression("tp > 1", "there")
    assert hash(Expression("tp > 1")) == hash(Expression("tp > 1"))
    assert Expression("tp > 1") != Expression("tp > 2")
    assert Expression("tp > 1") != "tp > 1"
    for again in (copy.deepcopy(Expression("tp > 1", "x")), pickle.loads(pickle.dumps(Expression("tp > 1", "x")))):
        assert (again, again.where, again.evaluate({"tp": 2})) == (Expression("tp > 1"), "x", True)


def test_values_of_one_expression_are_not_seen_by_another() -> None:
    first, second = Expression("tp > 1"), Expression("tp > 1")
    assert first.evaluate({"tp": 2}) is True
    assert second.evaluate({"tp": 0}) is False
    assert first.evaluate({"tp": 2}) is True


def test_the_library_is_imported_on_use_alone() -> None:
    code = "import sys, autotune.spaces, autotune.expressions; print('simpleeval' in sys.modules)"
    path = "import sys; sys.path[:0] = " + repr(sys.path) + "; "
    done = subprocess.run([sys.executable, "-c", path + code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
