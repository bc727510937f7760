"""The pages that people read: a learner's feedback, and the report on a class. Plain HTML, no script, nothing from outside.

All that comes from a submission is escaped and cut. Hidden inputs are shown only in a released feedback.
"""

from __future__ import annotations

import builtins
import re
from collections import Counter
from collections.abc import Iterable
from html import escape
from urllib.parse import quote

from labkit.exercises import catalogue, find
from labkit.exercises.engine import call_as_text, expected_outcomes
from labkit.exercises.kinds import shown

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --right: #0072b2; --named: #e69f00; --other: #cc79a7; --none: #8a8a8a; }}
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem; }}
h2 {{ margin: 2.2rem 0 .4rem; font-size: 1.2rem; }}
p {{ margin: .4rem 0; max-width: 42rem; }}
table {{ border-collapse: collapse; margin: 1rem 0; }}
th, td {{ text-align: left; padding: .3rem 1rem .3rem 0; border-bottom: 1px solid #767676; vertical-align: top; }}
tbody th {{ font-weight: normal; }}
code {{ overflow-wrap: anywhere; }}
summary {{ cursor: pointer; }} p + details {{ margin: -.3rem 0 .8rem; font-size: .9rem; }}
.bar {{ display: flex; width: min(14rem, 22vw); height: 1rem; margin-top: .25rem; }}
.bar i, .key {{ background: var(--none); }}
.key {{ display: inline-block; width: .8rem; height: .8rem; margin-right: .3rem; }}
.said {{ white-space: nowrap; margin-right: 1rem; }}
.right {{ background: var(--right) !important; }} .named {{ background: var(--named) !important; }}
.other {{ background: var(--other) !important; }}
</style>
</head>
<body>
<main>
<h1>{title}</h1>
{body}
</main>
</body>
</html>
"""
IN_A_WORD = {
    "passed": "right",
    "missing": "no cell",
    "not attempted": "not attempted",
    "misconception": "a known mistake",
    "raised": "raised an error",
    "changed": "changes its argument",
    "shared": "hands back its argument",
    "slow": "takes too long",
    "memory": "takes too much memory",
    "ended": "ended its kernel",
    "long": "too long to read",
}
ALONE = {
    "NameError": "A cell is tried by itself: before it there are `math`, `labkit as lk`, `numpy as np`, and `torch` where the "
    "exercise uses it. Import or define in the cell whatever else it uses.",
    "AttributeError": "If it was an attribute of `lk`: a cell is tried by itself, and may use `lk.exercise` only.",
    "ModuleNotFoundError": "Where a cell is tried there are the packages of the kit, and of labkit only `lk.exercise`.",
}
ALONE["ImportError"] = ALONE["ModuleNotFoundError"]
NO_ERRORS = {  # the sandbox's own words, under names of errors
    "TooMuchPrinted": "It prints too much; take the print out of the loop.",
    "TooMuch": "Its results are too long; give back only what is asked for.",
    "NoAnswer": "It gave no answer.",
    "NothingDefined": "Nothing in the cell stands under `@lk.exercise({id!r})`; leave that line above your `def`.",
}
ERRORS = {name for name, each in vars(builtins).items() if isinstance(each, type) and issubclass(each, BaseException)}
NOT_TRIED = ("missing", "not attempted")


def feedback(row: dict, name: str) -> str:
    """What a learner reads about one lab. `row` is a line of the ledger; hidden inputs are shown if it was released."""
    released = row.get("released", False)
    parts = [f"<p>{escape(_name(row))}: <strong>{row['points']:g} of {row['possible']:g} points</strong>.</p>"]
    if row.get("machine"):
        parts.append("<p>It has not been graded yet, and that is no fault of yours.</p>\n<h2>What to do next</h2><p>Nothing: it will be "
                     "graded again.</p>")
        return PAGE.format(title=f"Feedback: lab {escape(name)}", body="\n".join(parts))
    if row["outcome"] != "graded":
        parts.append(f"<p>It could not be graded: {escape(row['outcome'])}.</p>\n<h2>What to do next</h2><p>Open your notebook in "
                     "JupyterLab, see that it is all there, save it, and hand in the file that ends in .ipynb (in Colab: <em>File, "
                     "Download, Download .ipynb</em>). If that is what you did, ask.</p>")
        return PAGE.format(title=f"Feedback: lab {escape(name)}", body="\n".join(parts))
    parts.append("<table><thead><tr><th scope='col'>Exercise</th><th scope='col'>Points</th><th scope='col'>What came of it</th>"
                 "</tr></thead><tbody>")
    for id, got in row["exercises"].items():
        parts.append(f"<tr><th scope='row'><a href='#{escape(id)}'>{escape(id)}</a></th><td>{got['points']:g} of "
                     f"{got['possible']:g}</td><td>{IN_A_WORD.get(got['kind'], 'wrong')}</td></tr>")
    parts.append("</tbody></table>")
    for id, got in row["exercises"].items():
        parts.append(f"<h2 id='{escape(id)}'>{escape(id)}</h2>")
        parts += [f"<p>{_text(line)}</p>" for line in said(id, got)]
        if released and got["kind"] not in (*NOT_TRIED, "long"):
            parts.append(_hidden(id, got, row["seed"]))
    if row["points"] < row["possible"]:
        again = ", ".join(f"<code>{escape(id)}</code>" for id, got in row["exercises"].items() if got["points"] < got["possible"])
        parts.append(f"<h2>What to do next</h2><p>Open the lab again and go to {again}. The check under the cell says what is "
                     "wrong for inputs that you can see; the hints there go from a nudge to nearly the answer.</p>")
    else:
        parts.append("<h2>What to do next</h2><p>All of it is right.</p>")
    return PAGE.format(title=f"Feedback: lab {escape(name)}", body="\n".join(parts))


def said(id: str, got: dict) -> list[str]:
    """What is said of an exercise without showing a hidden input, in lines."""
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
        lines += [f"Your results are those of a known mistake: {known.get(got.get('misconception'), '')}".rstrip(": ")]
        lines.append(f"Hint: {exercise.hints[0]}")
    elif kind == "raised":
        line = f" in line {got['line']} of your cell" if got.get("line") else ""
        error = str(got.get("error"))  # of one that the learner named, the name could be a hidden input
        raised = f"It raised {error if error in ERRORS else 'an error'}{line}."
        lines.append(NO_ERRORS.get(error, raised).format(id=id))
        if error in ALONE:
            lines.append(ALONE[error])
        elif not got.get("remarks"):
            lines.append(f"Hint: {exercise.hints[0]}")
    elif kind == "changed":
        lines.append("It changes its argument; build a new object and leave what came in as it is.")
    elif kind == "shared":
        lines.append("It gives back its argument itself, so that changing one changes the other; return a new object.")
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


def _text(words: str) -> str:
    """Words as HTML, with what stands between backticks as code."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", escape(words))


def _hidden(id: str, got: dict, seed: int) -> str:
    exercise = find(id)
    rows = []
    for probe, expected in zip(exercise.draw(seed), expected_outcomes(exercise, seed)):
        right = f"raises {expected.error}" if expected.error else shown(expected.value, 200)
        rows.append(f"<tr><td>{escape(probe.group)}</td><td><code>{escape(call_as_text(exercise, probe.args, 300))}</code></td>"
                    f"<td><code>{escape(right)}</code></td></tr>")
    subject = {"raised": "It ", "wrong": ""}.get(got["kind"])  # of other kinds all is said already
    more = "" if subject is None else f"<p>{subject}{escape(got['text'][:600])}</p>\n"
    return (
        f"{more}<details><summary>The inputs and what is right</summary>\n<table><thead><tr>"
        "<th scope='col'>Group</th><th scope='col'>Call</th><th scope='col'>Right</th></tr></thead><tbody>"
        + "\n".join(rows) + "</tbody></table></details>"
    )


def report(rows: Iterable[dict], names: dict[str, str], missing: list[str], faults: list[str]) -> str:
    """What a class gets wrong, by exercise and misconception, and who. `names` are those of the labs, by number."""
    kinds: dict[str, Counter] = {}
    mistakes: dict[tuple[str, str], list[str]] = {}  # (exercise, misconception): who made it
    others: dict[str, dict[str, list[str]]] = {}  # exercise: {in a word: who}
    points: dict[str, float] = Counter()
    learners, labs, count, unreadable = set(), set(), 0, []
    for row in rows:
        learners.add(row["student"])
        labs.add(row["lab"])
        count += 1
        if row["outcome"] != "graded":
            unreadable.append(f"{row['student']}, lab {row['lab']}: {row['outcome']}")
        who = _who(row, names[row["lab"]])
        for id, got in row["exercises"].items():
            kinds.setdefault(id, Counter())[got["kind"]] += 1
            points[id] += got["points"]
            if "misconception" in got:
                mistakes.setdefault((id, got["misconception"]), []).append(who)
            elif got["kind"] not in ("passed", *NOT_TRIED):
                word = f"raised {got.get('error')}" if got["kind"] == "raised" else IN_A_WORD.get(got["kind"], "wrong")
                others.setdefault(id, {}).setdefault(word, []).append(who)
    parts = [f"<p>{count} notebooks of {len(learners)} learners.</p>"]
    keys = (("right", "right"), ("named", "a mistake that has a name"), ("other", "another mistake"), ("", "not tried"))
    legend = " ".join(f"<span class='said'><span class='key {name}'></span>{words}</span>" for name, words in keys)
    parts.append(f"<p aria-hidden='true'>{legend}</p>")
    parts.append("<table><thead><tr><th scope='col'>Exercise</th><th scope='col'>Learners</th><th scope='col'>Right</th>"
                 "<th scope='col'>Tried</th><th scope='col'>Mean points</th></tr></thead><tbody>")
    order = [id for id in catalogue() if id in kinds]
    for id in order:
        counts, total = kinds[id], kinds[id].total()
        tried = total - sum(counts[kind] for kind in NOT_TRIED)
        shares = {"right": counts["passed"], "named": counts["misconception"]}
        shares |= {"other": tried - sum(shares.values()), "": total - tried}
        bar = "".join(f"<i class='{name}' style='flex: {number}'></i>" for name, number in shares.items() if number)
        said = ", ".join(f"{words} {number}" for (_, words), number in zip(keys, shares.values()))
        parts.append(f"<tr><th scope='row'>{escape(id)}</th><td><div class='bar' role='img' aria-label='{said}'>{bar}</div></td>"
                     f"<td>{counts['passed']}</td><td>{tried} of {total}</td><td>{points[id] / total:.2f} of {find(id).points}</td></tr>")
    parts.append("</tbody></table>\n<h2>For the next lesson</h2>")
    if mistakes:
        parts.append("<p>The mistakes that have a name, the commonest first, and what those who made them were told.</p>")
    else:
        parts.append("<p>Nobody made a mistake that has a name.</p>")
    for (id, name), those in sorted(mistakes.items(), key=lambda each: (-len(each[1]), order.index(each[0][0]))):
        known = next((each for each in find(id).misconceptions if each.name == name), None)
        words = known.message if known else name
        number = f"{len(those)} learner" + "s" * (len(those) > 1)
        parts.append(f"<p><strong>{number}</strong>, {escape(id)}, <em>{escape(name)}</em>: {_text(words)}</p>{_details(those)}")
    if others:
        parts.append("<h2>Other mistakes</h2>")
        for id in filter(others.get, order):
            words = sorted(others[id].items(), key=lambda each: -len(each[1]))
            listed = ", ".join(f"{escape(word)} {len(those)}" for word, those in words)
            parts.append(f"<p>{escape(id)}: {listed}</p>{_details([who for _, those in words for who in those])}")
    for title, lines in (("Not handed in", missing), ("Not graded", unreadable), ("To look at", faults)):
        if lines:
            parts.append(f"<h2>{title}</h2><ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>")
    title = f"Report: {', '.join(names[lab] for lab in sorted(labs))}"
    return PAGE.format(title=escape(title), body="\n".join(parts))


def _who(row: dict, name: str) -> str:
    page = quote(f"feedback/{row['student']}/{name}.html")
    return f"<a href='{page}'>{escape(_name(row))}</a>"


def _name(row: dict) -> str:
    return row["person"]["Student"] if row.get("person") else row["student"]


def _details(those: list[str]) -> str:
    return f"<details><summary>who</summary><p>{', '.join(those)}</p></details>"
