"""The pages that people read: a learner's feedback, and the report on a class. Plain HTML, no script, nothing from outside.

All that comes from a submission is escaped and cut. Hidden inputs are shown only in a released feedback.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from html import escape

from labkit.exercises import catalogue, find
from labkit.exercises.engine import _called, _expected
from labkit.exercises.kinds import shown

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; color: #1a1a1a; background: #fff; }}
h2 {{ margin-top: 2rem; }}
table {{ border-collapse: collapse; }}
th, td {{ text-align: left; padding: .2rem .8rem .2rem 0; border-bottom: 1px solid #767676; vertical-align: top; }}
code {{ overflow-wrap: anywhere; }}
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


def feedback(row: dict, name: str, released: bool = False) -> str:
    """What a learner reads about one lab. `row` is a line of the ledger."""
    parts = [f"<p>{escape(row['student'])}: <strong>{row['points']:g} of {row['possible']:g} points</strong>.</p>"]
    if row["outcome"] != "graded":
        parts.append(f"<p>It could not be graded: {escape(row['outcome'])}. Hand it in again, or ask.</p>")
    parts.append("<table><thead><tr><th scope='col'>Exercise</th><th scope='col'>Points</th></tr></thead><tbody>")
    for id, got in row["exercises"].items():
        parts.append(f"<tr><th scope='row'>{escape(id)}</th><td>{got['points']:g} of {got['possible']:g}</td></tr>")
    parts.append("</tbody></table>")
    for id, got in row["exercises"].items():
        parts.append(f"<h2>{escape(id)}</h2>")
        parts += [f"<p>{escape(line)}</p>" for line in said(id, got)]
        if released and got["kind"] not in ("missing", "not attempted"):
            parts.append(_hidden(id, got, row["seed"]))
    if row["points"] < row["possible"]:
        again = " and ".join(f"<code>{escape(id)}</code>" for id, got in row["exercises"].items() if got["points"] < got["possible"])
        parts.append(f"<h2>What to do next</h2><p>Open the lab again and go to {again}. The check under the cell says what is "
                     "wrong for inputs that you can see; the hints there go from a nudge to nearly the answer.</p>")
    else:
        parts.append("<h2>What to do next</h2><p>All of it is right. Go on with the next lab.</p>")
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
        lines.append(f"It raised {got.get('error') or 'an error'}{line}, for an input or on its own.")
    elif kind == "changed":
        lines.append("It changes its argument; build a new object and leave what came in as it is.")
    elif kind == "shared":
        lines.append("It hands its argument itself back, so that changing one changes the other; return a new object.")
    elif kind in ("slow", "memory", "ended"):
        lines.append(f"It {got['text']}." if not got["text"].startswith("the ") else f"{got['text'].capitalize()}.")
    else:
        lines.append("Wrong for some hidden inputs.")
        lines.append(f"Hint: {exercise.hints[0]}")
    if 0 < earned < groups:
        right = ", ".join(name for name, earns in got["groups"].items() if earns)
        lines.append(f"Right: {right} ({earned} of {groups} groups of inputs).")
    return lines


def _hidden(id: str, got: dict, seed: int) -> str:
    exercise = find(id)
    rows = []
    for probe, expected in zip(exercise.draw(seed), _expected(exercise, seed)):
        right = f"raises {expected.error}" if expected.error else shown(expected.value, 200)
        rows.append(f"<tr><td>{escape(probe.group)}</td><td><code>{escape(_called(exercise, probe.args, 300))}</code></td>"
                    f"<td><code>{escape(right)}</code></td></tr>")
    return (
        f"<p>{escape(got['text'][:600])}</p>\n<details><summary>The inputs and what is right</summary>\n<table><thead><tr>"
        "<th scope='col'>Group</th><th scope='col'>Call</th><th scope='col'>Right</th></tr></thead><tbody>"
        + "\n".join(rows) + "</tbody></table></details>"
    )


def report(rows: Iterable[dict], missing: list[str], faults: list[str]) -> str:
    """What a class gets wrong, by exercise and misconception."""
    kinds: dict[str, Counter] = {}
    mistakes: dict[str, Counter] = {}
    points: dict[str, float] = Counter()
    learners, count, unreadable = set(), 0, []
    for row in rows:
        learners.add(row["student"])
        count += 1
        if row["outcome"] != "graded":
            unreadable.append(f"{row['student']}, lab {row['lab']}: {row['outcome']}")
        for id, got in row["exercises"].items():
            kinds.setdefault(id, Counter())[got["kind"]] += 1
            points[id] += got["points"]
            if "misconception" in got:
                mistakes.setdefault(id, Counter())[got["misconception"]] += 1
    parts = [f"<p>{count} notebooks of {len(learners)} learners.</p>"]
    parts.append("<table><thead><tr><th scope='col'>Exercise</th><th scope='col'>Tried</th><th scope='col'>Right</th>"
                 "<th scope='col'>Mean points</th></tr></thead><tbody>")
    order = [id for id in catalogue() if id in kinds]
    for id in order:
        counts = kinds[id]
        total = sum(counts.values())
        tried = total - counts["missing"] - counts["not attempted"]
        parts.append(f"<tr><th scope='row'>{escape(id)}</th><td>{tried} of {total}</td><td>{counts['passed']}</td>"
                     f"<td>{points[id] / total:.2f} of {find(id).points}</td></tr>")
    parts.append("</tbody></table>\n<h2>For the next lesson</h2>")
    for id in order:
        for name, number in mistakes.get(id, Counter()).most_common():
            known = next((each for each in find(id).misconceptions if each.name == name), None)
            who = f"{number} learner" + ("s" if number > 1 else "")
            words = known.message if known else name
            parts.append(f"<p><strong>{escape(id)}</strong>, {who}: {escape(words)}</p>")
    if not mistakes:
        parts.append("<p>Nobody made a mistake that has a name.</p>")
    other = {id: kinds[id] - Counter({"passed": 10**9, "missing": 10**9, "not attempted": 10**9, "misconception": 10**9}) for id in order}
    if any(other.values()):
        parts.append("<h2>Other mistakes</h2><ul>")
        for id in order:
            if other[id]:
                listed = ", ".join(f"{escape(kind)} {number}" for kind, number in other[id].most_common())
                parts.append(f"<li>{escape(id)}: {listed}</li>")
        parts.append("</ul>")
    for title, lines in (("Handed in nothing", missing), ("Not graded", unreadable + faults)):
        if lines:
            parts.append(f"<h2>{title}</h2><ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>")
    return PAGE.format(title="Report", body="\n".join(parts))
