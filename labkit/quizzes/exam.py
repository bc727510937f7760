"""The practice exam: questions about scenarios that no lab uses, spread over the objectives, with the answers only at
the end.

With each answer learners say how sure they are, so the report can compare what they expected with the result. Exam
answers are kept, but do not change the review schedule: exam questions do not come back in reviews.
"""

from __future__ import annotations

import asyncio
import html
import json
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from random import Random
from typing import Any

from labkit.common import InputError
from labkit.lab import find_lab, shipped_labs
from labkit.live import in_notebook
from labkit.progress import store
from labkit.quizzes import banks
from labkit.quizzes.answers import KNEW, MISSED, Put, check, put
from labkit.quizzes.markup import to_html
from labkit.quizzes.printed import answer_lines, options_text, wrapped
from labkit.quizzes.schema import Question
from labkit.quizzes.terminal import Ask, read, typed
from labkit.syllabus import LABS, OBJECTIVES

QUESTIONS = 20
SURE = {"a guess (25%)": 0.25, "even odds (50%)": 0.5, "fairly sure (75%)": 0.75, "sure (95%)": 0.95}
LEFT = 'style="text-align: left"'


@dataclass(frozen=True)
class Answered:
    """A question of an exam, what was given, whether it was right, and how sure the learner was (0 to 1), if they said."""

    put: Put
    given: Any
    right: bool
    sure: float | None


def exam(questions: int = QUESTIONS, *, minutes: float | None = None) -> None:
    """A practice exam of so many questions, optionally with a time limit in minutes. It begins with a click, and
    reports at the end: by objective, with the sections to read again, and how well the learner knew what he knew.
    """
    check_minutes(minutes)
    bank = banks.load(banks.folder() / f"{banks.EXAM}.yaml")
    chosen = sample(bank, questions, Random(time.time_ns()))
    told = f"A practice exam of {len(chosen)} questions" + (f" in {minutes:g} minutes" if minutes else "")
    if not in_notebook():
        print(f"{told}. `labkit quiz exam` asks them in a terminal.")
        return
    from labkit.quizzes.widget import show

    puts = [put(question, f"{time.time_ns()}") for question in chosen]
    bundle = {"text/plain": f"{told}. Run this cell to begin."}
    show(bundle | {"text/html": f"<p>{bundle['text/plain']}</p>"}, Exam(puts, told, minutes).box)


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


def graded(put: Put, given: Any, sure: float | None) -> Answered:
    """An answer with its verdict; a missing or unreadable answer is wrong."""
    empty = given is None or given == "" or (isinstance(given, dict) and not any(given.values()))
    right = not empty and check(put, given).right
    return Answered(put, given, right, None if empty else sure)


def keep(answers: Sequence[Answered], seconds: float) -> None:
    """Keep an exam's answers, with its time divided equally."""
    for each in answers:
        store().add_answer(
            each.put.question.id,
            place="exam",
            correct=each.right,
            rating=KNEW if each.right else MISSED,
            seconds=seconds / len(answers),
            details={"given": each.given, "drawn": each.put.drawn, "sure": each.sure},
        )


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
    """The report for a notebook: each question's answer is folded, the sections are links."""
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
        said = html.escape(json.dumps(each.given, ensure_ascii=False)) if each.given else "nothing"
        lines = "".join(f"<p>{to_html(line)}</p>" for line in answer_lines(each.put))
        parts.append(
            f"<details><summary>{number}. {'✓ right' if each.right else '✗ not right'}</summary>"
            f"<p>{to_html(each.put.text)}</p><p>You said: <code>{said}</code></p>{lines}</details>"
        )
    return "\n".join(parts)


def as_text(answers: Sequence[Answered]) -> str:
    """The report for a terminal."""
    lines = list(summary(answers))
    for name, right, asked, missed in by_objective(answers):
        lines.append(f"{name}: {right} of {asked}")
        for what, to in sorted({section(question) for question in missed}):
            lines.append(f"  read again: {what}" + (f" ({to.partition('#')[0]})" if to else ""))
    for number, each in enumerate(answers, start=1):
        if not each.right:
            lines += ["", *wrapped(f"{number}. ", each.put.text)]
            lines += [line for text in answer_lines(each.put) for line in wrapped("   ", text)]
    return "\n".join(lines)


def in_terminal(puts: Sequence[Put], minutes: float | None, ask: Ask = typed) -> list[Answered]:
    """Ask an exam's questions in a terminal, without showing the answers; what comes too late does not count."""
    began, answers = time.monotonic(), []
    try:
        for number, each in enumerate(puts, start=1):
            print()
            for line in (*wrapped(f"{number} of {len(puts)}. ", each.text), *options_text(each)):
                print(line)
            given = read(each, ask)
            degrees = ", ".join(f"{number} {name}" for number, name in enumerate(SURE, start=1))
            degree = ask(f"   how sure are you? {degrees}: ").strip()
            if minutes and time.monotonic() - began > 60 * minutes:
                print("The time is over.")
                break
            sure = list(SURE.values())[int(degree) - 1] if degree in {"1", "2", "3", "4"} else None
            answers.append(graded(each, given, sure))
    except EOFError:
        print()
    sat = bool(answers)
    answers += [graded(each, None, None) for each in puts[len(answers) :]]
    if sat:
        keep(answers, time.monotonic() - began)
    return answers


class Exam:
    """The exam as a widget: a button that begins it, the questions, a button that hands it in, the report."""

    def __init__(self, puts: Sequence[Put], title: str, minutes: float | None):
        import ipywidgets as widgets

        from labkit.quizzes.widget import heading

        self.puts, self.title, self.minutes, self.widgets = puts, title, minutes, widgets
        self.answers: list[Answered] | None = None
        self.note = widgets.HTML()
        self.button = widgets.Button(description="Begin", layout=widgets.Layout(width="10em"))
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
        """Show the questions; the time runs from here."""
        from labkit.quizzes.widget import Fields, Maker

        make = Maker()
        boxes = []
        for number, each in enumerate(self.puts, start=1):
            text = f"<div><strong>{number} of {len(self.puts)}.</strong> {to_html(each.text)}</div>"
            fields = Fields(each, make, lambda: None)
            options = [("choose …", None), *SURE.items()]
            sure = make(self.widgets.Dropdown, options=options, index=0, description="How sure are you?")
            box = make(self.widgets.VBox, [make(self.widgets.HTMLMath, text), *fields.box, sure])
            box.add_class("labkit-question")
            boxes.append(box)
            self.rows.append((fields, sure))
        self.began = time.monotonic()
        self.button.description = "Hand in"
        if self.minutes:
            until = datetime.now() + timedelta(minutes=self.minutes)
            self.note.value = f"<p>You have until {until:%H:%M:%S}; then it is handed in as it stands.</p>"
            self.timer = asyncio.get_running_loop().call_later(60 * self.minutes, self.finish)
        self.box.children = (self.box.children[0], *boxes, self.button, self.note)

    def hand_in(self) -> None:
        """Hand in; if answers are missing, only when the button is pressed a second time."""
        missing = sum(not _given(fields.given()) for fields, _ in self.rows)
        if missing and not self.warned and self.answers is None:
            self.warned = True
            self.note.value = f'<p role="alert">{missing} are not answered. Press again to hand in anyway.</p>'
            return
        self.finish()

    def finish(self) -> None:
        """Grade, keep, report; once."""
        if self.answers is not None:
            return
        if self.timer is not None:
            self.timer.cancel()
        self.answers = [graded(fields.put, fields.given(), sure.value) for fields, sure in self.rows]
        keep(self.answers, time.monotonic() - self.began)
        for fields, sure in self.rows:
            fields.close()
            sure.disabled = True
        self.note.value = '<p role="alert">Handed in. The report is below.</p>'
        report = self.widgets.Output()  # where links to other labs work, as in any output
        report.outputs = (
            {"output_type": "display_data", "data": {"text/html": as_html(self.answers)}, "metadata": {}},
        )
        self.box.children += (report,)


def _given(given: Any) -> bool:
    """Whether every field of an answer is filled."""
    parts = given.values() if isinstance(given, dict) else given if isinstance(given, list) else [given]
    return all(part not in (None, "") for part in parts)
