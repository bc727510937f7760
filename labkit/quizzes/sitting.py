"""One sitting of the exam. It is kept from its first question on, so whatever ends the process, it can go on later:
what was answered is there, and nothing is counted that was not seen.

Kept are the questions as they were drawn, and in a notebook what stands in the fields. An answer that is given is
added to the learner's answers at once, under the sitting's name, and is not kept a second time.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from labkit.progress import store
from labkit.quizzes.answers import KNEW, MISSED, Put, check
from labkit.quizzes.schema import Question

KEY = "exam"


@dataclass(frozen=True)
class Answered:
    """A question of an exam, what was given (None: skipped), whether it was right, how sure the learner was (0 to 1),
    if they said, and why it could not be read, if so.
    """

    put: Put
    given: Any
    right: bool
    sure: float | None
    problem: str = ""


@dataclass
class Sitting:
    """The questions of one exam, its time in minutes (None: no limit), and `fields`: what was entered and not given."""

    puts: Sequence[Put]
    minutes: float | None = None
    name: str = field(default_factory=lambda: uuid.uuid4().hex)
    fields: dict[str, list] = field(default_factory=dict)  # {a question's id: [what stands in its fields, how sure]}

    def keep(self) -> None:
        """Keep the sitting as it is now."""
        questions = [{"id": put.question.id, "drawn": put.drawn, "order": put.order} for put in self.puts]
        store().keep(KEY, {"name": self.name, "minutes": self.minutes, "questions": questions, "fields": self.fields})

    def add(self, put: Put, given: Any, sure: float | None, seconds: float) -> Answered:
        """Grade an answer and add it to the learner's answers."""
        answered = graded(put, given, sure)
        store().add_answer(
            put.question.id,
            place="exam",
            correct=answered.right,
            rating=KNEW if answered.right else MISSED,
            seconds=seconds,
            details={"given": answered.given, "drawn": put.drawn, "sure": answered.sure, "sitting": self.name},
        )
        return answered

    def given(self) -> tuple[dict[str, Answered], float]:
        """({a question's id: its answer}, the seconds they took), of what was given so far."""
        puts = {put.question.id: put for put in self.puts}
        rows = [
            row
            for row in store().answers()
            if row["question"] in puts
            and isinstance(row["details"], dict)
            and row["details"].get("sitting") == self.name
        ]
        answers = {
            row["question"]: graded(puts[row["question"]], row["details"]["given"], row["details"]["sure"])
            for row in rows
        }
        return answers, sum(row["seconds"] for row in rows)


def unfinished(known: Mapping[str, Question]) -> Sitting | None:
    """The sitting that was begun and not handed in; None if there is none, or its questions have changed since."""
    kept = store().kept(KEY)
    try:
        puts = [Put(known[each["id"]], dict(each["drawn"]), tuple(each["order"])) for each in kept["questions"]]
        for put in puts:
            assert put.drawn.keys() == put.question.draws.keys() and put.text and put.offered is not None
        return Sitting(puts, kept["minutes"], kept["name"], dict(kept["fields"])) if puts else None
    except (AssertionError, KeyError, IndexError, TypeError, ValueError):
        return None


def drop() -> None:
    """Nothing is unfinished any more."""
    store().keep(KEY, None)


def graded(put: Put, given: Any, sure: float | None) -> Answered:
    """An answer with its verdict; one that is missing or cannot be read is not right."""
    if given is None or given == "" or not any(_parts(given)):
        return Answered(put, None, False, None)
    verdict = check(put, given)
    return Answered(put, given, verdict.right, sure, verdict.problem)


def filled(given: Any) -> bool:
    """Whether every field of an answer is filled."""
    return all(part not in (None, "") for part in _parts(given))


def _parts(given: Any) -> list:
    return list(given.values()) if isinstance(given, dict) else list(given) if isinstance(given, list) else [given]
