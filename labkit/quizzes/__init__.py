"""Quizzes: questions inside the page, whose answers come with reasons, and which come back days later.

Here are `quiz`, which a lab calls, and which questions it takes. A question is described in `schema`, read by `banks`,
asked and judged by `answers`, shown by `printed` (no kernel), `widget` (a notebook) and `terminal`. What is due is in
`schedule`, and asked by `review`; the practice exam is in `exam`, how banks are checked in `lint`, how they leave the
kit in `export`.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from labkit.common import InputError
from labkit.live import in_notebook, show_widget
from labkit.progress import store
from labkit.quizzes import banks, schedule
from labkit.quizzes.answers import put
from labkit.quizzes.printed import as_html, as_text
from labkit.quizzes.schema import Question
from labkit.syllabus import LABS

AFTER = 4  # questions after a lab
TITLES = {
    "before": "Before you begin: guessing is fine",
    "during": "Two questions on this part",
    "after": "After the lab",
}


def quiz(lab: str, *, when: str, segment: str | None = None) -> None:
    """Ask a lab's questions: those `before` it, those `during` a segment (one, and a short card),
    four `after` it.

    In a notebook they are answered in place, and each first answer is kept. A notebook stores the questions with their
    answers folded, the same on every machine. Raises `InputError` for an unknown quiz.
    """
    found = choose(lab, when, segment)
    printed = [put(question) for question in found[:AFTER]]
    if not in_notebook():
        print(as_text(printed, TITLES[when]))
        return
    bundle = {"text/html": as_html(printed, TITLES[when]), "text/plain": as_text(printed, TITLES[when])}
    try:
        from labkit.quizzes.widget import Quiz
    except ImportError:  # without ipywidgets there are only the questions
        from IPython.display import display

        display(bundle, raw=True)
        return
    show_widget(Quiz([put(question, today()) for question in most_due(found)[:AFTER]], TITLES[when]).box, bundle)


def today() -> str:
    """The seed for numbers and orders in a lab: the same for a learner all day."""
    return f"{learner()} {schedule.now().date()}"


def learner() -> str:
    """An anonymous name for the learner, kept in their store."""
    if (name := store().kept("learner")) is None:
        name = uuid.uuid4().hex
        store().keep("learner", name)
    return name


def most_due(questions: Sequence[Question]) -> list[Question]:
    """The questions that are due first, then those never asked, then the others; otherwise in the given order."""
    at = schedule.now()
    cards = schedule.cards(store().answers(), at) if len(questions) > AFTER else {}
    return sorted(questions, key=lambda q: 1 if q.id not in cards else 0 if schedule.is_due(cards[q.id], at) else 2)


def choose(lab: str, when: str, segment: str | None = None) -> list[Question]:
    """The questions of a quiz, in bank order. Raises `InputError` if there are none."""
    path = banks.bank_of(lab)
    if when not in TITLES:
        raise InputError(f"when is {when!r}; it is one of {', '.join(map(repr, TITLES))}")
    if (segment is None) == (when == "during") or segment not in (None, *LABS[lab].segments):
        raise InputError(
            f"segment is {segment!r}; during {lab!r} it is one of {', '.join(LABS[lab].segments)}, otherwise it is left out"
        )
    found = [q for q in banks.load(path) if q.when == when and segment in (None, q.segment)]
    if not found:
        raise InputError(f"{path}: has no question {when!r}" + (f" for the segment {segment!r}" if segment else ""))
    return found
