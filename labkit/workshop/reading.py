"""How long the core of a lab takes a learner: an estimate from its source, by one rule for all labs.

The core is everything before the heading *Further*. Prose is read at 200 words a minute. Code is read at 10 lines a
minute, where a line is up to 75 characters of one statement, however it is wrapped; calls that only ask or record are
not code to be read. An exercise takes the minutes that it states; questions, guesses, figures and patients take what
`MINUTES` says. The rate for code is the one that makes the rule fit four labs that were worked through with a clock (01
to 04: 80, 70, 65 and 80 minutes, waiting included). Waiting is not in the estimate: `labkit bench labs` measures it.
"""

from __future__ import annotations

import ast
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WORDS_A_MINUTE = 200
LINES_A_MINUTE = 10
LINE = 75  # characters
MINUTES = {"questions": 0.75, "guesses": 0.5, "figures": 0.5, "patients": 2.0}
ASKED = {"before": 2, "during": 1, "after": 4}  # how many questions `lk.quiz` asks (`labkit quiz lint` sees to it)
NOT_READ = ("claim", "clinic", "doctor", "exercise", "measured", "my_runs", "predict", "quiz", "use")


@dataclass(frozen=True)
class Reading:
    """What the core of a lab holds, and the minutes that it takes."""

    words: int
    lines: int
    exercises: int  # minutes, as the exercises state them
    questions: int
    guesses: int
    figures: int
    patients: int

    @property
    def minutes(self) -> float:
        counted = sum(each * getattr(self, kind) for kind, each in MINUTES.items())
        return self.words / WORDS_A_MINUTE + self.lines / LINES_A_MINUTE + self.exercises + counted


def reading(source: Path) -> Reading:
    """Count the core of a lab's source."""
    from labkit.workshop.notebooks import read_source

    prose, code = "", ""
    for cell in read_source(source).cells:
        if cell.cell_type == "code":
            code += cell.source + "\n"
            continue
        core, further, _ = cell.source.partition("## Further\n")
        prose += core + "\n"
        if further:
            break
    calls = [name for statement in ast.parse(code).body if (name := _call(statement))]
    return Reading(
        words=sum(any(map(str.isalnum, word)) for word in prose.split()),
        lines=sum(_lines(statement) for statement in ast.parse(code).body),
        exercises=sum(map(int, re.findall(r"^\*[^*\n]*?(\d+) minutes?[.*]", prose, re.MULTILINE))),
        questions=sum(ASKED[when] for when in re.findall(r'^lk\.quiz\(.*when="(\w+)"', code, re.MULTILINE)),
        guesses=calls.count("lk.predict") // 2,
        figures=sum(name.startswith(("lk.plots.", "lk.pictures.", "lk.explorers.")) for name in calls),
        patients=calls.count("lk.clinic"),
    )


def _call(statement: ast.stmt) -> str:
    """`lk.quiz` for a statement that is that call, or a function under that decorator."""
    if isinstance(statement, ast.FunctionDef) and statement.decorator_list:
        call: ast.expr = statement.decorator_list[0]
    elif isinstance(statement, ast.Expr):
        call = statement.value
    else:
        return ""
    return ast.unparse(call.func) if isinstance(call, ast.Call) else ""


def _lines(statement: Any) -> int:
    """Lines to read of a statement, its body included; 0 for what only asks or records."""
    name = _call(statement)
    if name.startswith("lk.") and name.removeprefix("lk.") in NOT_READ:
        return 0
    blocks = [getattr(statement, field, []) for field in ("body", "orelse", "handlers", "finalbody")]
    inner = [each for block in blocks for each in block if isinstance(each, (ast.stmt, ast.ExceptHandler))]
    return 1 + sum(map(_lines, inner)) if inner else math.ceil(len(ast.unparse(statement)) / LINE)
