"""What can be said about a learner's cell from its source alone, without revealing a hidden input."""

from __future__ import annotations

import ast
import builtins
import inspect

from labkit.exercises.kinds import MODULES, Exercise

THERE = {*MODULES, "lk", "np", "torch", "__name__", "display", "get_ipython", "exit", "quit"}  # before the cell
MOST_NAMES, MOST_LETTERS = 5, 40


def remarks(source: str, exercise: Exercise) -> list[str]:
    """Lines on what stops a cell from running, or its function from being called or from returning something."""
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        line = f"line {error.lineno} of your cell" if error.lineno else "your cell"
        return [f"Python cannot read {line} ({error.msg}), so none of it ran."]
    except (ValueError, RecursionError, MemoryError):
        return ["Python cannot read the cell, so none of it ran."]
    lines = []
    if unknown := _unknown(tree, THERE | {each.name for each in exercise.earlier}):
        named = ", ".join(f"`{name[:MOST_LETTERS]}`" for name in unknown[:MOST_NAMES])
        lines.append(f"The cell uses names that it does not define: {named}.")
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == exercise.name]
    if functions:
        lines += _of(functions[-1], exercise)
    return lines


def _of(function: ast.FunctionDef, exercise: Exercise) -> list[str]:
    lines, wanted = [], inspect.signature(exercise.reference).parameters
    arguments = function.args
    most = len(arguments.posonlyargs) + len(arguments.args)
    least = most - len(arguments.defaults)
    if least > len(wanted) or (most < len(wanted) and arguments.vararg is None):
        lines.append(
            f"It is called as `{exercise.name}({', '.join(wanted)})`; yours takes {most} argument{'s' * (most != 1)}."
        )
    if not any(isinstance(node, (ast.Return, ast.Yield, ast.YieldFrom, ast.Raise)) for node in ast.walk(function)):
        lines.append("It returns nothing: there is no `return`.")
    return lines


def _unknown(tree: ast.Module, there: set[str]) -> list[str]:
    """Names that are used but never defined, in their order. None if an import brings names that cannot be seen."""
    used: dict[str, None] = {}
    defined = set(there)
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Load()):
                used[name] = None
            case ast.Name(id=name) | ast.arg(arg=name) | ast.ClassDef(name=name):
                defined.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                defined.add(name)
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                defined.add(name)
            case ast.MatchMapping(rest=str(name)):
                defined.add(name)
            case ast.alias(name="*"):
                return []
            case ast.alias(name=name, asname=other):
                defined.add(other or name.split(".")[0])
    return [name for name in used if name not in defined and not hasattr(builtins, name)]
