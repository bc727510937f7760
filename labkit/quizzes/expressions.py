"""Expressions over drawn numbers: `-log(p)`, `{{1 - p:.2f}}` in a text. A small language, not Python's `eval`.

Numbers, drawn names, + - * / ** ( ), log (natural), log2, exp, sqrt, min, max, round. Nothing else can be called or
reached, and no result is larger than a float can hold.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Mapping

LONGEST = 200  # characters of an expression
FUNCTIONS: dict[str, Callable[..., float]] = {
    "log": math.log, "log2": math.log2, "exp": math.exp, "sqrt": math.sqrt, "min": min, "max": max, "round": round,
}  # fmt: skip
OPERATORS: dict[type[ast.operator | ast.unaryop], Callable[..., float]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.Pow: math.pow,  # of floats: a power of integers could take all of the memory
    ast.USub: operator.neg, ast.UAdd: operator.pos,
}  # fmt: skip
HOLE = re.compile(r"\{\{(.*?)(?::(,?(?:\.\d{1,2})?[defg]?))?\}\}")  # {{expression}} or {{expression:format}}


def evaluate(
    expression: str | float, drawn: Mapping[str, float], functions: Mapping[str, Callable] = FUNCTIONS
) -> float:
    """The value of an expression. Raises `ValueError` with one line if it is not an expression, or has no finite value."""
    if isinstance(expression, (int, float)):
        return expression
    tree = _parsed(expression)
    try:
        value = _value(tree, drawn, functions)
    except (ArithmeticError, TypeError, ValueError) as error:
        raise ValueError(f"{expression!r} has no value: {error}") from None
    if not math.isfinite(value):
        raise ValueError(f"{expression!r} has the value {value}")
    return value


def _parsed(expression: str) -> ast.expr:
    if len(expression) > LONGEST:
        raise ValueError(f"an expression of {len(expression)} characters; {LONGEST} are the limit")
    try:
        return ast.parse(expression.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise ValueError(f"{expression!r} is not an expression; write it as in -log(p) or 2 * n ** 2") from None


def _value(node: ast.expr, drawn: Mapping[str, float], functions: Mapping[str, Callable]) -> float:
    match node:
        case ast.Constant(value=bool()):
            pass
        case ast.Constant(value=int() | float() as number) if abs(number) < 1e15:
            return number
        case ast.Name() if node.id in drawn:
            return drawn[node.id]
        case ast.Name():
            raise ValueError(f"{node.id!r} is not drawn" + (f"; drawn are {', '.join(drawn)}" if drawn else ""))
        case ast.UnaryOp() if type(node.op) in OPERATORS:
            return OPERATORS[type(node.op)](_value(node.operand, drawn, functions))
        case ast.BinOp() if type(node.op) in OPERATORS:
            left, right = (_value(side, drawn, functions) for side in (node.left, node.right))
            value = OPERATORS[type(node.op)](left, right)
            return int(value) if isinstance(left, int) and isinstance(right, int) and value == int(value) else value
        case ast.Call(func=ast.Name(id=name)) if name in functions and not node.keywords:
            return functions[name](*(_value(argument, drawn, functions) for argument in node.args))
    raise ValueError(f"{ast.unparse(node)!r} is not allowed in an expression")


def names(expression: str | float) -> set[str]:
    """The drawn names that an expression uses. Raises `ValueError` if it is not an expression."""
    if isinstance(expression, (int, float)):
        return set()
    found = (node.id for node in ast.walk(_parsed(expression)) if isinstance(node, ast.Name))
    return {name for name in found if name not in FUNCTIONS}


def fill(text: str, drawn: Mapping[str, float]) -> str:
    """The text with its holes `{{…}}` filled. Raises `ValueError` for a hole that has no value."""

    def filled(hole: re.Match) -> str:
        value = evaluate(hole[1], drawn)
        if not hole[2]:
            return written(value)
        return _minus(format(int(round(value)) if hole[2].endswith("d") else value, hole[2]))

    return HOLE.sub(filled, text)


def written(value: float) -> str:
    """A number as it is written in a text: an integer in full, another with at most four significant digits."""
    if abs(value) >= 1e4:
        return _minus(f"{value:,.0f}")
    return _minus(str(value) if isinstance(value, int) else f"{value:.4g}")


def _minus(number: str) -> str:
    """With the minus sign that texts use, which is not a hyphen."""
    return number.replace("-", "−", 1) if number.startswith("-") else number
