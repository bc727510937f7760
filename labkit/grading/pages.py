"""The pages that people read: a learner's feedback, and the report on a class. Plain HTML, no script, nothing from
outside.

What they say is gathered here; how it looks is in `templates/`, where Jinja2 escapes everything that comes from a
submission. Hidden inputs are shown only in a released feedback.
"""

from __future__ import annotations

import builtins
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from statistics import mean, median
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from labkit.exercises import catalogue, find
from labkit.exercises.engine import call_as_text, expected_outcomes
from labkit.exercises.kinds import shown

IN_A_WORD = {
    "passed": "right",
    "missing": "no cell",
    "not attempted": "not attempted",
    "misconception": "a known mistake",
    "raised": "raised an error",
    "changed": "changes its argument",
    "shared": "returns its argument",
    "slow": "takes too long",
    "memory": "takes too much memory",
    "ended": "ended its kernel",
    "long": "too long to read",
}
ALONE = {
    "NameError": "A cell is tried by itself: before it there are `math`, `labkit as lk`, `numpy as np`, and `torch` where the "
    "exercise uses it. Import or define in the cell whatever else it uses.",
    "AttributeError": "A cell is tried by itself, and of `lk` it may use only `lk.exercise`.",
    "ModuleNotFoundError": "When a cell is tried, the packages of the kit are there, and of labkit only `lk.exercise`.",
}
ALONE["ImportError"] = ALONE["ModuleNotFoundError"]
NO_ERRORS = {  # the sandbox's own words, under names of errors
    "TooMuchPrinted": "It prints too much; take the print out of the loop.",
    "TooMuch": "Its results are too long; return only what is asked for.",
    "NoAnswer": "It gave no answer.",
    "NothingDefined": "No function in the cell is under `@lk.exercise({id!r})`; keep that line above your `def`.",
}
ERRORS = {name for name, each in vars(builtins).items() if isinstance(each, type) and issubclass(each, BaseException)}
MAX_CALL = 20_000  # characters: whole, unless the call holds a book
NOT_TRIED = ("missing", "not attempted")
# of the report's bars: a part's class, and in words
KEYS = (("right", "right"), ("named", "a known mistake"), ("other", "another mistake"), ("", "not tried"))
Who = tuple[str, str]  # a learner's name, and the address of their feedback


def feedback(row: dict, name: str) -> str:
    """What a learner reads about one lab. `row` is a line of the ledger; hidden inputs are shown if it was released."""
    released = row.get("released", False)
    exercises = [
        {
            "id": id,
            "got": got,
            "word": IN_A_WORD.get(got["kind"], "wrong"),
            "lines": said(id, got),
            "shows_answers": "answers" in got,
            "hidden": _hidden(id, got, row["seed"]) if released and got["kind"] not in (*NOT_TRIED, "long") else None,
        }
        for id, got in (row["exercises"].items() if row["outcome"] == "graded" else ())
    ]
    again = [each["id"] for each in exercises if each["got"]["points"] < each["got"]["possible"]]
    return _page("feedback.html", f"Feedback: lab {name}", row=row, name=_name(row), exercises=exercises, again=again)


def said(id: str, got: dict) -> list[str]:
    """The report on an exercise, in lines, without a hidden input."""
    exercise, kind = find(id), got["kind"]
    earned, groups = sum(got["groups"].values()), len(got["groups"])
    lines = []
    if kind == "passed":
        lines.append("Right for all hidden inputs.")
    elif kind == "missing":
        lines.append("The notebook has no cell for it.")
    elif kind == "not attempted":
        lines.append("Not attempted: the function has no body yet.")
    elif kind == "misconception":
        known = {each.name: each.message for each in exercise.misconceptions}
        lines += [
            f"Your results are those of a known mistake: {known.get(got.get('misconception', ''), '')}".rstrip(": ")
        ]
        lines.append(f"Hint: {exercise.hints[0]}")
    elif kind == "raised":
        line = f" in line {got['line']} of your cell" if got.get("line") else ""
        error = str(got.get("error"))  # of one that the learner named, the name could be a hidden input
        raised = f"It raised {error if error in ERRORS else 'an error'}{line}."
        lines.append(NO_ERRORS.get(error, raised).format(id=id))
        if error in ALONE and (error != "AttributeError" or got.get("of_lk")):
            lines.append(ALONE[error])
        elif not got.get("remarks"):
            lines.append(f"Hint: {exercise.hints[0]}")
    elif kind == "changed":
        lines.append("It changes its argument; build a new object and leave what came in as it is.")
    elif kind == "shared":
        lines.append("It returns its argument itself, so that changing one changes the other; return a new object.")
    elif kind == "long":
        lines.append(f"Its cell {got['text']}. Keep data out of it.")
    elif kind in ("slow", "memory", "ended"):
        words = got["text"].capitalize() if got["text"].startswith("the ") else f"It {got['text']}"
        lines.append(words if words.endswith("?") else f"{words}.")
    else:
        lines.append("Wrong for some hidden inputs." if earned else "Wrong for some input of every group.")
        lines.append(f"Hint: {exercise.hints[0]}")
    if kind not in ("passed", *NOT_TRIED):
        lines += got.get("remarks", [])
    if 0 < earned < groups:
        right = ", ".join(name for name, earns in got["groups"].items() if earns)
        lines.append(f"Right: {right} ({earned} of {groups} groups of inputs).")
    return lines


def _hidden(id: str, got: dict, seed: int) -> dict:
    """What a released feedback shows: the ledger's words, and for each probe its group, its call, what is right, the
    learner's answer, and whether that is right.
    """
    exercise = find(id)
    rows = []
    answers = {group: iter(each) for group, each in got.get("answers", {}).items()}
    for probe, expected in zip(exercise.draw(seed), expected_outcomes(exercise, seed)):
        right = f"raises {expected.error}" if expected.error else shown(expected.value, 1_000)
        answer, holds = next(answers.get(probe.group, iter(())), ("no answer", False))
        rows.append((probe.group, call_as_text(exercise, probe.args, MAX_CALL), right, answer, holds))
    subject = {"raised": "It ", "wrong": ""}.get(got["kind"])  # for other kinds everything is said already
    return {"more": None if subject is None else subject + got["text"][:600], "rows": rows}


def report(rows: Iterable[dict], names: dict[str, str], missing: list[str], faults: list[str]) -> str:
    """What a class gets wrong, by exercise and misconception, and who. `names` are those of the labs, by number."""
    kinds: dict[str, Counter] = {}
    mistakes: dict[tuple[str, str], list[Who]] = {}  # (exercise, misconception): who made it
    others: dict[str, dict[str, list[Who]]] = {}  # exercise: {in a word: who}
    points: dict[str, float] = defaultdict(float)
    learners, labs, count, unreadable, empty = set(), set(), 0, [], []
    table: dict[str, dict[str, dict]] = {}  # by learner and lab: the cell of the last table
    for row in rows:
        learners.add(row["student"])
        labs.add(row["lab"])
        count += 1
        if row["outcome"] != "graded":
            unreadable.append(f"{row['student']}, lab {row['lab']}: {row['outcome']}")
        who = _name(row), quote(f"feedback/{row['student']}/{names[row['lab']]}.html")
        if row.get("empty"):
            empty.append(f"{row['student']}, lab {row['lab']}: no exercise of the lab is in it")
        cell: dict[str, Any] = {"page": who[1], "points": "not yet" if row.get("machine") else f"{row['points']:g}"}
        cell |= {
            "got": None if row.get("machine") else (row["points"], row["possible"]),
            "late": row.get("late", False),
        }
        if not row.get("outdated"):
            table.setdefault(row["student"], {})[row["lab"]] = cell | {"name": who[0]}
        for id, got in row["exercises"].items() if not row.get("machine") else ():
            kinds.setdefault(id, Counter())[got["kind"]] += 1
            points[id] += got["points"]
            if "misconception" in got:
                mistakes.setdefault((id, got["misconception"]), []).append(who)
            elif got["kind"] not in ("passed", *NOT_TRIED):
                word = f"raised {got.get('error')}" if got["kind"] == "raised" else IN_A_WORD.get(got["kind"], "wrong")
                others.setdefault(id, {}).setdefault(word, []).append(who)
    order = [id for id in catalogue() if id in kinds]
    named = sorted(mistakes.items(), key=lambda each: (-len(each[1]), order.index(each[0][0])))
    return _page(
        "report.html",
        f"Report: {', '.join(names[lab] for lab in sorted(labs))}",
        count=count,
        learners=len(learners),
        keys=KEYS,
        exercises=[_shares(id, kinds[id], points[id]) for id in order],
        mistakes=[{"id": id, "name": name, "words": _message(id, name), "those": those} for (id, name), those in named],
        others=[_other(id, others[id]) for id in order if id in others],
        lists=[
            ("Not handed in", missing),
            ("Without an exercise", empty),
            ("Not graded", unreadable),
            ("To look at", faults),
        ],
        **_totals(table, names),
    )


def _totals(table: dict[str, dict[str, dict]], names: dict[str, str]) -> dict[str, Any]:
    """Of a class: each lab's mean and median, how many notebooks have which share of the points, a row for each learner."""
    labs = sorted({lab for cells in table.values() for lab in cells})
    totals, shares = [], Counter[int]()
    for lab in labs:
        got = [cells[lab]["got"] for cells in table.values() if lab in cells and cells[lab]["got"]]
        if not got:
            continue
        points, possible = [one for one, _ in got], max(most for _, most in got)
        shares.update(min(int(10 * one / most), 10) if most else 0 for one, most in got)
        about = {"mean": mean(points), "median": median(points), "possible": possible, "count": len(got)}
        totals.append((names[lab], about | {"full": sum(one == most for one, most in got)}))
    bands = [(f"{10 * n} to {10 * n + 9}%" if n < 10 else "100%", shares[n], max(shares.values()) - shares[n] + 0.001)
             for n in range(11)] if totals else []  # fmt: skip
    learners = [
        (
            next(iter(cells.values()))["name"],
            [cells.get(lab) for lab in labs],
            sum(c["got"][0] for c in cells.values() if c["got"]),
        )
        for _, cells in sorted(table.items())
    ]
    return {"columns": [names[lab] for lab in labs], "totals": totals, "distribution": bands, "table": learners}


def _shares(id: str, counts: Counter, points: float) -> dict:
    """A row of the report's table: how many were right, made a known mistake, made another, or did not try."""
    total = counts.total()
    tried = total - sum(counts[kind] for kind in NOT_TRIED)
    numbers = [counts["passed"], counts["misconception"]]
    numbers += [tried - sum(numbers), total - tried]
    return {
        "id": id,
        "shares": [(name, number) for (name, _), number in zip(KEYS, numbers)],
        "said": ", ".join(f"{words} {number}" for (_, words), number in zip(KEYS, numbers)),
        "right": counts["passed"],
        "tried": tried,
        "total": total,
        "mean": points / total,
        "possible": find(id).points,
    }


def _message(id: str, name: str) -> str:
    """The message for those who made a known mistake."""
    return next((each.message for each in find(id).misconceptions if each.name == name), name)


def _other(id: str, words: dict[str, list[Who]]) -> dict:
    ordered = sorted(words.items(), key=lambda each: -len(each[1]))
    those = [who for _, each in ordered for who in each]
    return {"id": id, "words": [(word, len(each)) for word, each in ordered], "those": those}


def _name(row: dict) -> str:
    return row["person"]["Student"] if row.get("person") else row["student"]


@cache
def _templates() -> Environment:
    """The templates; everything put into them is escaped, unless a filter here made it."""
    loader = FileSystemLoader(Path(__file__).with_name("templates"))
    made = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters["code"] = _with_code
    return made


def _with_code(words: str) -> Markup:
    """Text in which the parts between backticks become code."""
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(words))))


def _page(template: str, title: str, **about: Any) -> str:
    return _templates().get_template(template).render(title=title, **about)
