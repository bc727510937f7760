"""From a submitted notebook to one that can be graded: the source of its exercise cells, and probes.

Nothing else of the file is used: no outputs, metadata, tags, other cells. The notebook made here resets the namespace
for each exercise (`%reset -f` and its preamble), then comes the learner's cell unchanged, then a probe cell for each
group; the reference's answers are that cell's stored output, which never goes to a kernel.
"""

from __future__ import annotations

import ast
import json
import math
import re
from dataclasses import dataclass
from typing import Any

from labkit.common import InputError
from labkit.exercises import catalogue
from labkit.exercises.engine import expected_outcomes, fingerprint
from labkit.exercises.kinds import Exercise, Outcome, literal
from labkit.grading.inside import ANSWER

MAX_CELLS, MAX_SOURCE = 5_000, 100_000  # of a notebook; characters of an exercise's cell
MAX_PARSED = 2_000_000  # characters of all cells that name an exercise: a million takes a second or two to parse
EXERCISE = r"""\bexercise\(\s*["']([\w.]+)["']"""
RESET = "%reset -f\n"
ADDED = "\n\n# The learner's cell ends here.\n"


def lab_exercises(lab: str) -> list[Exercise]:
    """The exercises of a lab, given by its number."""
    return [exercise for exercise in catalogue().values() if exercise.lab == lab]


def read_cells(data: bytes) -> list[str]:
    """The sources of a notebook's code cells, of any version of the format. Raises `InputError` in one line."""
    if data.startswith(b"PK"):
        raise InputError("the file is not a notebook: it is a zip, or a word processor document")
    try:
        notebook = json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise InputError("the file is not a notebook: it is not even text") from None
    except (ValueError, RecursionError) as error:
        short = data.lstrip().startswith(b"{") and not data.rstrip().endswith(b"}")
        reason = "its end is missing" if short else f"{type(error).__name__}: {str(error)[:80]}"
        raise InputError(f"the file is not a notebook ({reason})") from None
    cells: Any = notebook.get("cells") if isinstance(notebook, dict) else None
    if isinstance(notebook, dict) and isinstance(notebook.get("worksheets"), list):  # nbformat 3
        sheets = [sheet.get("cells") for sheet in notebook["worksheets"] if isinstance(sheet, dict)]
        cells = [cell for sheet in sheets if isinstance(sheet, list) for cell in sheet]
    if not isinstance(cells, list):
        raise InputError("the file is JSON, but not a notebook: it has no list of cells")
    if len(cells) > MAX_CELLS:
        raise InputError(f"the notebook has {len(cells):,} cells; at most {MAX_CELLS:,} are read")
    return [source for cell in cells if (source := _source(cell)) is not None]


def _source(cell: Any) -> str | None:
    if not isinstance(cell, dict) or cell.get("cell_type") != "code":
        return None
    source = cell.get("source", cell.get("input"))
    if isinstance(source, list) and all(isinstance(line, str) for line in source):
        source = "".join(source)
    if not isinstance(source, str):
        return None
    return source.replace("\r\n", "\n").encode("utf-8", "replace").decode()  # half a surrogate pair is not valid text


def exercise_cells(sources: list[str], exercises: list[Exercise]) -> dict[str, str]:
    """{exercise: the last cell that defines it}: by the decorator's id, or, if no cell has that, by the name."""
    by_id: dict[str, str] = {}
    by_name: dict[str, str] = {}
    parsed = 0
    for source in sources:
        if len(source) > MAX_SOURCE or not any(exercise.name in source for exercise in exercises):
            continue
        parsed += len(source)
        if parsed > MAX_PARSED:
            raise InputError(
                f"more than {MAX_PARSED // 1_000_000} MB of code name an exercise; hand in the lab's own cells"
            )
        source = python_of(source)
        ids, names = _defined(source)
        for exercise in exercises:
            if exercise.id in ids:
                by_id[exercise.id] = source
            elif exercise.name in names:
                by_name[exercise.id] = f"{source.rstrip()}{ADDED}lk.exercise({exercise.id!r})({exercise.name})\n"
    found = by_name | by_id
    return {exercise.id: found[exercise.id] for exercise in exercises if exercise.id in found}


def lines_of(source: str) -> int:
    """How many lines of an exercise's cell are the learner's own."""
    return len(source.partition(ADDED)[0].splitlines())


def too_long(sources: list[str], exercises: list[Exercise]) -> set[str]:
    """The exercises named in a cell that is too long to be read."""
    named = {id for source in sources if len(source) > MAX_SOURCE for id in re.findall(EXERCISE, source)}
    return named & {exercise.id for exercise in exercises}


BODIES = ("capture", "prun", "time", "timeit")  # cell magics that run their cell as Python
KEPT = ("env", "prun", "set_env", "time")  # line magics that can define something


def python_of(source: str) -> str:
    """The cell as Python, as IPython itself reads it, which is how it ran in the learner's notebook.

    A line of IPython whose result is not used (`%matplotlib inline`, `!pip list`, `jaccard?`) becomes `pass`; the
    others (`x = !ls`, `%time f()`) become calls of `get_ipython()`, which the sandbox has. Line numbers stay. Source
    that is already Python, and source that IPython cannot read either, stays as it is.
    """
    if _parsed(source):
        return source
    from IPython.core.inputtransformer2 import TransformerManager

    rest, above = source, 0  # lines removed above: blank ones, and cell magics, after which the cell starts again
    while True:
        blank = rest[: len(rest) - len(rest.lstrip())]
        blank = blank[: blank.rfind("\n") + 1]
        above, rest = above + blank.count("\n"), rest[len(blank) :]
        magic = re.match(r"%%(\w+)[^\n]*(\n|$)", rest)
        if magic is None or magic[1] not in BODIES:
            break
        above, rest = above + 1, rest[magic.end() :]
    try:
        rest = TransformerManager().transform_cell(rest)
    except (SyntaxError, RuntimeError, ValueError, RecursionError):  # it ends no string, or is never complete
        return source
    tree = _parsed(rest)
    return "\n" * above + _without_unused(rest, tree) if tree else source


def _without_unused(source: str, tree: ast.Module) -> str:
    """The source with `pass` for each statement that is only a call of `get_ipython()`, except magics that define
    something.
    """
    lines = source.split("\n")
    for node in ast.walk(tree):
        match node:
            case ast.Expr(
                value=ast.Call(func=ast.Attribute(value=ast.Call(func=ast.Name(id="get_ipython")), attr=attr)) as call,
                end_col_offset=int() as end,
            ):
                name = call.args[0].value if call.args and isinstance(call.args[0], ast.Constant) else None
                if node.lineno == node.end_lineno and not (attr == "run_line_magic" and name in KEPT):
                    line = lines[node.lineno - 1].encode()
                    # as many bytes, so that the rest of the line keeps its place
                    filled = b"pass".ljust(end - node.col_offset)
                    lines[node.lineno - 1] = (line[: node.col_offset] + filled + line[end:]).decode()
    return "\n".join(lines)


def _parsed(source: str) -> ast.Module | None:
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _defined(source: str) -> tuple[set[str], set[str]]:
    """(ids in a call of `exercise`, names of the functions defined at the top level)."""
    tree = _parsed(source)
    if tree is None:  # the cell's own error is reported when it runs
        return set(re.findall(EXERCISE, source)), set()
    ids = {
        node.args[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and (getattr(node.func, "attr", None) or getattr(node.func, "id", None)) == "exercise"
        and node.args
        and isinstance(node.args[0], ast.Constant)
        and isinstance(node.args[0].value, str)
    }
    return ids, {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@dataclass(frozen=True)
class Part:
    """What a cell of the assembled notebook is: `begin`, `learner` or `probe`, and of which exercise and group."""

    what: str
    exercise: str
    group: str = ""


def notebook(cells: dict[str, str], seed: int, only: set[tuple[str, str]] | None = None) -> tuple[dict, list[Part]]:
    """(the notebook to run, what each of its cells is). `only` keeps these groups, as (exercise, group)."""
    made, parts = [], []
    for exercise in (e for e in catalogue().values() if e.id in cells):
        groups = {
            name: members
            for name, members in grouped(exercise, seed).items()
            if only is None or (exercise.id, name) in only
        }
        if not groups:
            continue
        made.append(_code(RESET + exercise.preamble(cells[exercise.id])))
        made.append(_code(cells[exercise.id]))
        parts += [Part("begin", exercise.id), Part("learner", exercise.id)]
        probes, expected = exercise.draw(seed), expected_outcomes(exercise, seed)
        for group, members in groups.items():
            calls = "".join(f"    {literal(probes[i].args)},\n" for i in members)
            answers = {"answers": [encoded(expected[i], probes[i].args) for i in members]}
            made.append(_code(f"lk.answer({exercise.id!r}, [\n{calls}])", answers))
            parts.append(Part("probe", exercise.id, group))
    metadata = {"kernelspec": {"name": "labkit-grade", "display_name": "Grading (sandbox)", "language": "python"}}
    for number, cell in enumerate(made):
        cell["id"] = f"cell-{number}"
    return {"cells": made, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}, parts


def kept(notebook: dict, student: str) -> str:
    """The file of an assembled notebook that an instructor keeps, with a note on how to run it."""
    said = (
        f"Handed in by {student}: each exercise's cell, followed by the calls that try it; their outputs are the reference's "
        "answers.\n\n**Read it here; run it in a terminal:** `labkit check-lab FILE --kernel labkit-grade`. "
        "The code runs in the sandbox, but what it displays would run in your browser, with your rights."
    )
    word = {"cell_type": "markdown", "id": "read-first", "metadata": {}, "source": said}
    return json.dumps(notebook | {"cells": [word, *notebook["cells"]]}, indent=1)


def grouped(exercise: Exercise, seed: int) -> dict[str, list[int]]:
    """{group: its probes' places}, in the order of the probes."""
    groups: dict[str, list[int]] = {}
    for index, probe in enumerate(exercise.draw(seed)):
        groups.setdefault(probe.group, []).append(index)
    return groups


def encoded(outcome: Outcome, args: tuple) -> dict:
    """What the sandbox displays for a call with this outcome that leaves its arguments as they are."""
    if outcome.error is not None:
        return {"error": outcome.error}
    return {"value": outcome.value, "args": fingerprint(args)}


def decoded(display: dict, calls: list[tuple]) -> list[tuple[Outcome, str | None]]:
    """(outcome, fault) for each of a group's calls, from what the sandbox displayed. Anything in another form earns
    nothing. Whether a call changed its arguments is not the sandbox's word: they are compared here, by fingerprint.
    """
    count = len(calls)
    parts = (display.get("data"), display.get("metadata"))
    said, words = (part.get(ANSWER) if isinstance(part, dict) else None for part in parts)
    said, words = said if isinstance(said, dict) else {}, words if isinstance(words, list) else []
    answers = said.get("answers")
    if not isinstance(answers, list) or len(answers) != count:
        return [_decoded(said.get("failed"), words[0] if words else None)] * count
    words = words if len(words) == count else [None] * count
    return [_decoded(answer, word, args) for answer, word, args in zip(answers, words, calls)]


def _decoded(answer: Any, words: Any, args: tuple | None = None) -> tuple[Outcome, str | None]:
    if isinstance(answer, dict) and "value" in answer and _is_plain(answer["value"]):
        unchanged = args is not None and answer.get("args") == fingerprint(args)
        return Outcome(value=answer["value"]), ("shared" if "fault" in answer else None) if unchanged else "changed"
    if isinstance(answer, dict) and isinstance(answer.get("error"), str) and answer["error"].isidentifier():
        message, line = words if isinstance(words, list) and len(words) == 2 else ("", None)
        return Outcome(
            error=answer["error"][:60],
            message=message[:200] if isinstance(message, str) else "",
            line=line if type(line) is int and 0 < line < MAX_SOURCE else None,
        ), None
    return Outcome(error="NoAnswer", message="the probe gave no answer"), None


def _is_plain(value: Any, depth: int = 0) -> bool:
    """Whether JSON from the sandbox has the form that `kinds.plain` gives, so that a comparison cannot fail on it."""
    if value is None or isinstance(value, (bool, int, str)):
        return True
    if isinstance(value, float):
        return math.isfinite(value)
    if not isinstance(value, dict) or depth > 40:
        return False
    match value:
        case {"list": list(items)} | {"set": list(items)} if len(value) == 1:
            return all(_is_plain(item, depth + 1) for item in items)
        case {"dict": list(pairs)} if len(value) == 1:
            plain = all(isinstance(p, list) and len(p) == 2 and all(_is_plain(x, depth + 1) for x in p) for p in pairs)
            return plain and len({repr(key) for key, _ in pairs}) == len(pairs)  # the only key that is known, for all
        case {"array": list(items), "shape": list(shape), "dtype": str(), **rest} if rest in ({}, {"grad": True}):
            sized = all(type(n) is int and n >= 0 for n in shape) and len(shape) <= 20
            return sized and math.prod(shape) == len(items) and all(_is_number(item) for item in items)
        case {"float": "nan" | "inf" | "-inf"} if len(value) == 1:
            return True
        case {"other": str()} | {"bytes": str()} if len(value) == 1:
            return "bytes" not in value or re.fullmatch("(?:[0-9a-f]{2})*", value["bytes"]) is not None
    return False


def _is_number(value: Any) -> bool:
    return isinstance(value, (bool, int, float)) or (
        isinstance(value, dict) and set(value) == {"float"} and _is_plain(value)
    )


def _code(source: str, answers: dict | None = None) -> dict:
    shown = [] if answers is None else [{"output_type": "display_data", "metadata": {}, "data": {ANSWER: answers}}]
    count = None if answers is None else 1
    return {"cell_type": "code", "source": source, "metadata": {}, "outputs": shown, "execution_count": count}
