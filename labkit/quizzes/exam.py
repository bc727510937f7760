"""The practice exam: questions mostly about situations that no lab shows, spread over the objectives, with the answers
only at the end. It may be interrupted at any moment: `sitting` keeps it.

With each answer learners say how sure they are, so the report can compare what they expected with the result. Exam
answers are kept, but do not change the review schedule: exam questions do not come back in reviews.
"""

from __future__ import annotations

import asyncio
import html
import json
import re
import time
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cache, partial
from random import Random
from typing import TYPE_CHECKING, Any

from labkit.common import InputError
from labkit.lab import find_lab, shipped_labs
from labkit.live import in_notebook, show_widget
from labkit.quizzes import banks
from labkit.quizzes.answers import Put, check, put
from labkit.quizzes.markup import to_html
from labkit.quizzes.printed import LETTERS, options_text, wrapped
from labkit.quizzes.schema import Question
from labkit.quizzes.sitting import Answered, Sitting, drop, filled, unfinished
from labkit.quizzes.terminal import Ask, read, typed
from labkit.quizzes.typed import read_number, with_unit
from labkit.syllabus import LABS, OBJECTIVES

if TYPE_CHECKING:
    from labkit.quizzes.widget import Fields

QUESTIONS = 20
SURE = {"a guess (25%)": 0.25, "even odds (50%)": 0.5, "fairly sure (75%)": 0.75, "sure (95%)": 0.95}
LEFT = 'style="text-align: left"'


def exam(questions: int = QUESTIONS, *, minutes: float | None = None, new: bool = False) -> None:
    """A practice exam of so many questions, optionally with a time limit in minutes. It begins with a click, and
    reports at the end: by objective, with the sections to read again, and how well the learner knew what they knew.
    One that was interrupted goes on, unless a `new` one is asked for.
    """
    begun = None if new else unfinished_exam()
    sitting = begun or drawn(questions, minutes)
    told = title(sitting)
    if not in_notebook():
        print(f"{told}. `labkit quiz exam` asks them in a terminal.")
        return

    bundle = {"text/plain": f"{told}. Run this cell to {'go on' if begun else 'begin'}."}
    box = Exam(sitting.puts, told, sitting.minutes, sitting).box
    show_widget(box, bundle | {"text/html": f"<p>{bundle['text/plain']}</p>"})


def drawn(questions: int, minutes: float | None) -> Sitting:
    """A new sitting. Raises `InputError` for a time or a number of questions that cannot be."""
    check_minutes(minutes)
    seed = time.time_ns()
    chosen = sample(_bank(), questions, Random(seed))
    return Sitting([put(question, str(seed)) for question in chosen], minutes)


def unfinished_exam() -> Sitting | None:
    """The exam that was interrupted, if there is one."""
    return unfinished({question.id: question for question in _bank()})


def title(sitting: Sitting) -> str:
    limit = f" in {sitting.minutes:g} minutes" if sitting.minutes else ""
    return f"A practice exam of {_count(len(sitting.puts), 'question')}{limit}"


def _bank() -> Sequence[Question]:
    return banks.load(banks.folder() / f"{banks.EXAM}.yaml")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def check_minutes(minutes: float | None) -> None:
    """Raises `InputError` for an invalid time."""
    if minutes is not None and not 0 < minutes <= 600:
        raise InputError(f"minutes is {minutes}; give more than 0 and at most 600, or leave it out")


def sample(bank: Sequence[Question], count: int, draw_from: Random) -> list[Question]:
    """So many questions, spread evenly over the objectives, in random order. Raises `InputError` for too many."""
    if not 1 <= count <= len(bank):
        raise InputError(f"{count} questions were requested; the exam can have 1 to {len(bank)}")
    groups = [[question for question in bank if question.objective == objective] for objective in OBJECTIVES]
    for group in groups:
        draw_from.shuffle(group)
    draw_from.shuffle(groups)  # who gets one more, if the count does not divide evenly
    chosen: list[Question] = []
    while len(chosen) < count:
        for group in groups:
            if group and len(chosen) < count:
                chosen.append(group.pop())
    draw_from.shuffle(chosen)
    return chosen


def by_objective(answers: Sequence[Answered]) -> list[tuple[str, int, int, list[Question]]]:
    """[(objective, right, asked, the questions that were missed)]."""
    groups = defaultdict(list)
    for each in answers:
        groups[each.put.question.objective].append(each)
    return [
        (name, sum(each.right for each in own), len(own), [each.put.question for each in own if not each.right])
        for name, own in sorted(groups.items())
    ]


def calibration(answers: Sequence[Answered]) -> list[tuple[float, int, int]]:
    """[(how sure, right, asked)] for each degree that was chosen."""
    groups = defaultdict(list)
    for each in answers:
        if each.sure is not None:
            groups[each.sure].append(each.right)
    return [(sure, sum(right), len(right)) for sure, right in sorted(groups.items())]


def brier(answers: Sequence[Answered]) -> float | None:
    """The mean squared distance between how sure and how right (Brier 1950): 0 is perfect, 0.25 is even odds. None if
    no answer says how sure.
    """
    said = [(each.sure - each.right) ** 2 for each in answers if each.sure is not None]
    return sum(said) / len(said) if said else None


def summary(answers: Sequence[Answered]) -> list[str]:
    """The report's lines, without the links."""
    right = f"{sum(each.right for each in answers)} of {len(answers)} right."
    if unread := sum(bool(each.problem) for each in answers):
        right += f" {unread} could not be read."
    said = [each for each in answers if each.sure is not None]
    if not said:
        return [right]
    expected = sum(each.sure or 0.0 for each in said)
    return [
        f"{right} Of {len(said)} you said how sure you were: {expected:.1f} expected, "
        f"{sum(each.right for each in said)} right.",
        *(f"Where you were {sure:.0%} sure: {hit} of {asked} right." for sure, hit, asked in calibration(answers)),
        f"Brier score {brier(answers):.2f} (0 is perfect foresight, 0.25 is even odds throughout).",
    ]


def section(question: Question) -> tuple[str, str]:
    """(the heading to read again, its address relative to a lab; "" where that lab is not there)."""
    file = LABS[question.lab].file
    wanted = question.section or question.segment.replace("_", " ")
    if (headings := _headings(file)) is None:
        return f"{wanted}, in lab {file}", ""
    heading = next((found for found in headings if wanted.lower() in found.lower()), None)
    return (heading or wanted), f"{file}.ipynb" + (f"#{heading.replace(' ', '-')}" if heading else "")


@cache
def _headings(file: str) -> tuple[str, ...] | None:
    """The headings of a lab; None if it is not there."""
    try:
        notebook = json.loads(find_lab(shipped_labs(), file).read_text(encoding="utf-8"))
    except (InputError, OSError, ValueError):
        return None
    lines = [line for cell in notebook["cells"] if cell["cell_type"] == "markdown"
             for line in "".join(cell["source"]).splitlines()]  # fmt: skip
    return tuple(line.lstrip("#").strip() for line in lines if line.startswith("#"))


def as_html(answers: Sequence[Answered]) -> str:
    """The report for a notebook: for each question, folded, the own answer beside the right one; the sections are links."""
    parts = [f"<p>{html.escape(line)}</p>" for line in summary(answers)]
    parts.append(f"<table><thead><tr><th>objective</th><th>right</th><th {LEFT}>read again</th></tr></thead><tbody>")
    for name, right, asked, missed in by_objective(answers):
        links = sorted({section(question) for question in missed})
        again = "<br>".join(
            f'<a href="{html.escape(to, True)}">{html.escape(what)}</a>' if to else html.escape(what)
            for what, to in links
        )
        parts.append(f"<tr><td>{name}</td><td>{right} of {asked}</td><td {LEFT}>{again}</td></tr>")
    parts.append("</tbody></table>")
    for number, each in enumerate(answers, start=1):
        rows = "".join(
            f"<tr>{''.join(f'<td {LEFT}>{to_html(text)}</td>' for text in row)}</tr>" for row in side_by_side(each)
        )
        reasons = "".join(f"<p>{to_html(line)}</p>" for line in reasons_for(each))
        parts.append(
            f"<details><summary>{number}. {'✓ right' if each.right else '✗ not right'}</summary>"
            f"<p>{to_html(each.put.text)}</p><table><thead><tr><th></th><th {LEFT}>yours</th><th {LEFT}>right</th></tr>"
            f"</thead><tbody>{rows}</tbody></table>{reasons}</details>"
        )
    return "\n".join(parts)


def as_text(answers: Sequence[Answered]) -> str:
    """The report for a terminal: for each question the own answer, the right one, and the reasons."""
    lines = list(summary(answers))
    for name, right, asked, missed in by_objective(answers):
        lines.append(f"{name}: {right} of {asked}")
        for what, to in sorted({section(question) for question in missed}):
            lines.append(f"  read again: {what}" + (f" ({to.partition('#')[0]})" if to else ""))
    for number, each in enumerate(answers, start=1):
        lines += ["", *wrapped(f"{number}. {'✓' if each.right else '✗'} ", each.put.text)]
        for what, yours, wanted in side_by_side(each, letters=True):
            lines += wrapped("   ", what) if what else []
            lines += [*wrapped("   yours: ", yours), *wrapped("   right: ", wanted)]
        lines += [line for text in reasons_for(each) for line in wrapped("   ", text)]
    return "\n".join(lines)


def side_by_side(each: Answered, letters: bool = False) -> list[tuple[str, str, str]]:
    """[(the field, what was given, what is right)] of an answer, a row for each field; with the letters that stand
    before what there is to choose from, if so.
    """
    kind, given, right = each.put.question.kind, each.given, each.put.right
    letter = {text: f"{letter}. " if letters else "" for letter, text in zip(LETTERS, each.put.offered)}

    def shown(text: Any) -> str:
        return f"{letter.get(text, '')}{text}" if text else "nothing"

    if kind == "blanks":
        given = given or {}
        return [(f"({n})", shown(given.get(name)), right[name]) for n, name in enumerate(each.put.asked, start=1)]
    if kind in ("match", "order"):
        given = given or [None] * len(right)
        return [(left, shown(own), shown(wanted)) for left, own, wanted in zip(each.put.asked, given, right)]
    wanted = with_unit(right, each.put.question.unit) if each.put.question.kind == "number" else right
    return [("", shown(given), shown(wanted))]


def reasons_for(each: Answered) -> list[str]:
    """Why the answer is not right, if so, and why the right one is."""
    if each.problem:
        return [f"It could not be read. {each.problem}", each.put.rationale]
    wrong = [] if each.right or each.given is None else check(each.put, each.given).reasons
    return [*wrong, each.put.rationale]


def in_terminal(
    puts: Sequence[Put], minutes: float | None, ask: Ask = typed, sitting: Sitting | None = None
) -> list[Answered]:
    """Ask an exam's questions in a terminal, without showing the answers, and return what was answered or skipped, in
    order. What comes too late does not count, nor does what was not seen. The end of the input hands it in; an
    interruption (`KeyboardInterrupt`) leaves it to be continued.
    """
    sitting = sitting or Sitting(puts, minutes)
    sitting.keep()
    answers, spent = sitting.given()
    try:
        for number, each in enumerate(puts, start=1):
            if each.question.id in answers:
                continue
            began = time.monotonic()
            print()
            for line in (*wrapped(f"{number} of {len(puts)}. ", each.text), *options_text(each)):
                print(line)
            given = readable(each, ask)
            sure = None if given is None else _sure(ask)
            spent += (seconds := time.monotonic() - began)
            if minutes and spent > 60 * minutes:
                print("The time is over.")
                break
            answers[each.question.id] = sitting.add(each, given, sure, seconds)
    except EOFError:
        print()
    drop()
    return [answers[put.question.id] for put in puts if put.question.id in answers]


def readable(put: Put, ask: Ask) -> Any:
    """What somebody types, asked again until it can be read; None for an empty line."""
    while (given := read(put, ask)) is not None and (problem := check(put, given).problem):
        print(f"   … {problem}")
    return given


def read_sure(said: str) -> float | None:
    """How sure somebody is, from 0 to 1: `4`, `95%`, `95`, `0.95`, `sure`; None if it is something else."""
    said = said.strip().lower()
    names = [words.partition(" (")[0] for words in SURE]
    for named in (
        [said in (str(degree), name) for degree, name in enumerate(names, start=1)],
        [said in name.split() for name in names],
    ):
        if any(named):
            return list(SURE.values())[named.index(True)]
    value, problem = read_number(said)
    if value > 1 and not re.search("%|percent", said):
        value /= 100
    return round(value, 6) if not problem and 0 <= value <= 1 else None


def _sure(ask: Ask) -> float | None:
    """How sure they are; None after an empty line."""
    degrees = ", ".join(f"{number} {name}" for number, name in enumerate(SURE, start=1))
    while said := ask(f"   how sure are you? {degrees}: ").strip():
        if (sure := read_sure(said)) is not None:
            return sure
        print("   … Type a number from 1 to 4, or a percentage such as 80%.")
    return None


class Exam:
    """The exam as a widget: a button that begins it, the questions, a button that hands it in, the report."""

    def __init__(self, puts: Sequence[Put], title: str, minutes: float | None, sitting: Sitting | None = None):
        import ipywidgets as widgets

        from labkit.quizzes.widget import heading

        self.puts, self.title, self.minutes, self.widgets = puts, title, minutes, widgets
        self.sitting = sitting or Sitting(puts, minutes)
        self.answers: list[Answered] | None = None
        self.note = widgets.HTML()
        going_on = bool(self.sitting.fields or self.sitting.given()[0])
        self.button = widgets.Button(description="Go on" if going_on else "Begin", layout=widgets.Layout(width="10em"))
        self.button.on_click(self._press)
        self.rows: list[tuple] = []
        self.timer: asyncio.TimerHandle | None = None
        self.began = 0.0
        self.warned = False
        self.box = widgets.VBox([heading(title), self.button, self.note])
        self.box.add_class("labkit-quiz")

    def _press(self, _: object) -> None:
        from labkit.quizzes.widget import soon

        soon(self.hand_in if self.rows else self.begin)

    def begin(self) -> None:
        """Show the questions, with what was entered before; the time runs from here."""
        from labkit.quizzes.widget import Fields, Maker

        make = Maker()
        boxes = []
        given, spent = self.sitting.given()
        for number, each in enumerate(self.puts, start=1):
            text = f"<div><strong>{number} of {len(self.puts)}.</strong> {to_html(each.text)}</div>"
            fields = Fields(each, make, lambda: None)
            options = [("choose …", None), *SURE.items()]
            sure = make(self.widgets.Dropdown, options=options, index=0, description="How sure are you?")
            if each.question.id in given:
                fields.fill(given[each.question.id].given)
                fields.close()
                sure.disabled = True
            elif each.question.id in self.sitting.fields:
                entered, degree = self.sitting.fields[each.question.id]
                fields.fill(entered)
                sure.value = degree if degree in SURE.values() else None
            box = make(self.widgets.VBox, [make(self.widgets.HTMLMath, text), *fields.box, sure])
            box.add_class("labkit-question")
            boxes.append(box)
            self.rows.append((fields, sure))
            for field in (*fields.fields, sure):
                field.observe(partial(self._entered, fields, sure), "value")
        self.sitting.keep()
        self.began = time.monotonic()
        self.button.description = "Hand in"
        if self.minutes:
            left = max(1.0, 60 * self.minutes - spent)
            until = datetime.now() + timedelta(seconds=left)
            self.note.value = f"<p>You have until {until:%H:%M:%S}; then it is handed in as it stands.</p>"
            self.timer = asyncio.get_running_loop().call_later(left, self.finish)
        self.box.children = (self.box.children[0], *boxes, self.button, self.note)

    def _entered(self, fields: Fields, sure: Any, _: object) -> None:
        """Keep what stands in a question's fields."""
        if self.answers is None:
            self.sitting.fields[fields.put.question.id] = [fields.given(), sure.value]
            self.sitting.keep()

    def hand_in(self) -> None:
        """Hand in; if answers are missing or cannot be read, only when the button is pressed a second time."""
        given = [fields.given() for fields, _ in self.rows]
        missing = sum(not filled(each) for each in given)
        unread = [
            str(number)
            for number, (put, each) in enumerate(zip(self.puts, given), start=1)
            if filled(each) and check(put, each).problem
        ]
        if (missing or unread) and not self.warned and self.answers is None:
            self.warned = True
            told = [f"{_count(missing, 'question')} {'is' if missing == 1 else 'are'} not answered."] if missing else []
            told += [f"What you wrote cannot be read in {', '.join(unread)}."] if unread else []
            self.note.value = f'<p role="alert">{" ".join(told)} Press again to hand in anyway.</p>'
            return
        self.finish()

    def finish(self) -> None:
        """Grade, keep, report; once."""
        if self.answers is not None:
            return
        if self.timer is not None:
            self.timer.cancel()
        given, _ = self.sitting.given()
        seconds = (time.monotonic() - self.began) / len(self.rows)
        self.answers = [
            given.get(fields.put.question.id) or self.sitting.add(fields.put, fields.given(), sure.value, seconds)
            for fields, sure in self.rows
        ]
        drop()
        for fields, sure in self.rows:
            fields.close()
            sure.disabled = True
        self.note.value = '<p role="alert">Handed in. The report is below.</p>'
        report = self.widgets.Output()  # where links to other labs work, as in any output
        report.outputs = (
            {"output_type": "display_data", "data": {"text/html": as_html(self.answers)}, "metadata": {}},
        )
        self.box.children += (report,)
