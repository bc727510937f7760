"""When each question is due: every question that was answered comes back on FSRS's schedule.

Nothing of the schedule is stored. It follows from the answers in the order of their times, so merged stores agree on
it. FSRS (Ye et al. 2022, *A Stochastic Shortest Path Algorithm for Optimizing Spaced Repetition Scheduling*) is the
library `fsrs`, with fuzz off, in UTC, and without its steps of minutes: an answered question comes back after a day at
the earliest.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from fsrs import Card, Rating, Scheduler

from labkit.quizzes.schema import Question

RETENTION = 0.9  # a question comes back when it is recalled with this probability
SLACK = timedelta(days=1)  # two machines' clocks may differ by this much
SITTING = 10  # questions, about five minutes
DAYS = 14  # of the forecast


@lru_cache(maxsize=1)
def scheduler() -> Scheduler:
    return Scheduler(desired_retention=RETENTION, learning_steps=(), relearning_steps=(), enable_fuzzing=False)


def now() -> datetime:
    return datetime.now(UTC)


def counted(answers: Iterable[Mapping], at: datetime) -> list[Mapping]:
    """The answers that count for the schedule, oldest first. Those of an exam do not count, nor those that are dated in
    the future: they were given while a clock was wrong, and would keep their questions away for years.
    """
    bearing = [row for row in answers if row["place"] != "exam" and _time(row) <= at + SLACK]
    return sorted(bearing, key=lambda row: (row["time"], row["id"]))


def misdated(answers: Iterable[Mapping], at: datetime) -> int:
    """How many answers are dated in the future."""
    return sum(_time(row) > at + SLACK for row in answers)


def cards(answers: Iterable[Mapping], at: datetime) -> dict[str, Card]:
    """{question: its card} after the answers up to `at`."""
    known: dict[str, Card] = {}
    for row in counted(answers, at):
        id = row["question"]
        card = known.get(id) or Card(card_id=card_id(id), due=min(_time(row), at))
        known[id], _ = scheduler().review_card(card, Rating(row["rating"]), min(_time(row), at))
    return known


def card_id(id: str) -> int:
    """A card's id: the same for a question on every machine."""
    return int.from_bytes(hashlib.sha256(id.encode()).digest()[:6], "big")


def is_due(card: Card, at: datetime) -> bool:
    """Whether a question is due on this day (in UTC) or was due before."""
    return card.due.date() <= at.date()


def due(
    known: Mapping[str, Card], questions: Mapping[str, Question], at: datetime, limit: int | None = SITTING
) -> list[Question]:
    """The questions that are due, those most likely to be forgotten first, alternating between labs."""
    ids = [id for id, card in known.items() if id in questions and is_due(card, at)]
    ids.sort(key=lambda id: (scheduler().get_card_retrievability(known[id], at), id))
    return interleaved([questions[id] for id in ids][:limit])


def interleaved(questions: Sequence[Question]) -> list[Question]:
    """The questions in an order that alternates between labs as far as possible, each lab's in the given order."""
    labs = defaultdict(list)
    for question in questions:
        labs[question.lab].append(question)
    taken: list[Question] = []
    while labs:
        last = taken[-1].lab if taken else ""
        lab = max((lab for lab in labs if lab != last), key=lambda lab: len(labs[lab]), default=last)
        taken.append(labs[lab].pop(0))
        if not labs[lab]:
            del labs[lab]
    return taken


def forecast(known: Iterable[Card], at: datetime, days: int = DAYS) -> list[int]:
    """How many questions are due today (or before), tomorrow, … on each of the days, in UTC."""
    counts = [0] * days
    for card in known:
        day = max(0, (card.due.date() - at.date()).days)
        if day < days:
            counts[day] += 1
    return counts


def retention(answers: Iterable[Mapping], at: datetime) -> list[tuple[str, int, int]]:
    """[(week, recalled, asked)] over the answers to questions that had been asked on an earlier day."""
    first: dict[str, str] = {}
    weeks: dict[str, list[bool]] = defaultdict(list)
    for row in counted(answers, at):
        day = row["time"][:10]
        if first.setdefault(row["question"], day) < day:
            year, week, _ = _time(row).isocalendar()
            weeks[f"{year}-W{week:02d}"].append(row["rating"] > Rating.Again)
    return [(week, sum(recalled), len(recalled)) for week, recalled in sorted(weeks.items())]


def _time(row: Mapping) -> datetime:
    return datetime.fromisoformat(row["time"])
