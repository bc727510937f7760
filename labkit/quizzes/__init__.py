"""Quizzes: questions inside the page, answered with a reason, that come back days later.

Here are `quiz`, which a lab calls, and which questions it takes. A question is described in `schema`, read by `banks`,
put and judged by `answers`, shown by `printed` (no kernel), `widget` (a notebook) and `terminal`. What is due is in
`review`; the practice exam in `exam`; how banks are checked in `lint`, and how they leave the kit in `export`.
"""

from __future__ import annotations

from collections.abc import Sequence

from labkit.data import InputError
from labkit.live import in_notebook
from labkit.quizzes import banks
from labkit.quizzes.answers import put
from labkit.quizzes.schema import LABS, Base

AFTER = 4  # questions after a lab
TITLES = {
    "before": "Before you begin: guessing is fine",
    "during": "What did you take from this?",
    "after": "What stays?",
}


def quiz(lab: str, *, when: str, segment: str | None = None) -> None:
    """Ask a lab's questions: those `before` it, the one `during` a segment, four `after` it.

    In a notebook they are answered in place, and each first answer is kept. What a notebook stores is the questions
    with their answers folded, the same on every machine. Raises `InputError` for a quiz that there is not.
    """
    chosen = choose(lab, when, segment)
    title = TITLES[when]
    if in_notebook():
        from labkit.quizzes.widget import show

        show(chosen, title)
    else:
        from labkit.quizzes.printed import as_text

        print(as_text([put(question) for question in chosen], title))


def choose(lab: str, when: str, segment: str | None = None) -> list[Base]:
    """The questions of a quiz in bank order; after a lab the first four. Raises `InputError` if there are none."""
    path = banks.bank_of(lab)
    if when not in TITLES:
        raise InputError(f"when is {when!r}; it is one of {', '.join(map(repr, TITLES))}")
    if (segment is None) == (when == "during") or segment not in (None, *LABS[lab][1]):
        raise InputError(
            f"segment is {segment!r}; during {lab!r} it is one of {', '.join(LABS[lab][1])}, otherwise left out"
        )
    found = of(banks.load(path), when, segment)
    if not found:
        raise InputError(f"{path}: has no question {when!r}" + (f" for the segment {segment!r}" if segment else ""))
    return found[:AFTER] if when == "after" else found


def of(questions: Sequence[Base], when: str, segment: str | None = None) -> list[Base]:
    """Those of the questions that belong there."""
    return [q for q in questions if q.when == when and segment in (None, q.segment)]
