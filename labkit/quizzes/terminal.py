"""Questions in a terminal: printed, answered by typing, and kept like those of a notebook.

An empty line shows the answer, and counts as missed; the end of the input ends the session.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from labkit.progress import store
from labkit.quizzes.answers import EASY, HARD, KNEW, MISSED, Put, Verdict, check
from labkit.quizzes.printed import LETTERS, answer_lines, options_text, wrapped
from labkit.quizzes.typed import read_letters

RATINGS = {MISSED: "missed it", HARD: "hard", KNEW: "knew it", EASY: "easy"}

Ask = Callable[[str], str]


def typed(prompt: str) -> str:
    return input(prompt)


def sit(puts: Sequence[Put], place: str | None = None, ask: Ask = typed) -> list[bool]:
    """Ask the questions one after the other; returns which of the answered ones were right."""
    results: list[bool] = []
    try:
        for number, put in enumerate(puts, start=1):
            print()
            for line in (*wrapped(f"{number} of {len(puts)}. ", put.text), *options_text(put)):
                print(line)
            results.append(one(put, place or put.question.when, ask))
    except (EOFError, KeyboardInterrupt):
        print("\nEnded here; what you answered is kept." if store().lasting else "\nEnded here.")
    return results


def one(put: Put, place: str, ask: Ask) -> bool:
    """Ask one question, reply to the answer, keep it; returns whether it was right."""
    started = time.monotonic()
    guess = Guess(ask)
    given, verdict = _answer(put, guess)
    seconds = time.monotonic() - started
    correct, rating = verdict.right, MISSED if guess.said else verdict.rating
    told = list(answer_lines(put, letters=True))
    if put.question.kind == "recall" and given is not None:
        _say("The answer:", told)
        rating = _rating(ask)
        correct = rating != MISSED
    elif verdict.right:
        _say("✓ Right.", [put.rationale, *["A guess: it comes back soon."] * guess.said])
    elif given is None:
        _say("The answer:", told)
    else:
        reasons = _wrong_parts(put, given, verdict) if put.question.kind in ("match", "blanks") else verdict.reasons
        _say("✗ Not right.", [*reasons, *_unsaid(told, reasons)])
    store().add_answer(
        put.question.id,
        place=place,
        correct=correct,
        rating=rating,
        seconds=seconds,
        details={"given": given, "drawn": put.drawn} | ({"guessed": True} if guess.said else {}),
    )
    return correct


class Guess:
    """Asks, and notes whether an answer ended in `?`, which says that it is a guess."""

    def __init__(self, ask: Ask):
        self.ask, self.said = ask, False

    def __call__(self, prompt: str) -> str:
        typed = self.ask(prompt).strip()
        guessed = typed.endswith("?") and len(typed) > 1
        self.said |= guessed
        return typed.removesuffix("?") if guessed else typed


def _wrong_parts(put: Put, given: Any, verdict: Verdict) -> list[str]:
    """Which pairs or blanks are wrong; why is in the answer, line by line."""
    if put.question.kind == "blanks":
        return [f"Wrong: {', '.join(f'blank {n}' for n, part in enumerate(verdict.parts, start=1) if not part)}."]
    pairs = [
        f"{number} with {LETTERS[put.offered.index(chosen)]}"
        for number, (chosen, part) in enumerate(zip(given, verdict.parts), start=1) if not part
    ]  # fmt: skip
    return [f"Wrong: {', '.join(pairs)}."]


def _unsaid(lines: Sequence[str], reasons: Sequence[str]) -> list[str]:
    """The lines without those whose reason was said already."""
    tails = [reason.partition(". ")[2] or reason for reason in reasons]
    return [line for line in lines if not any(line.endswith(tail) for tail in tails)]


def _answer(put: Put, ask: Ask) -> tuple[Any, Verdict]:
    """(what was given, the verdict on it); (None, a wrong one) after an empty line."""
    while True:
        given = read(put, ask)
        if given is None:
            return None, Verdict()
        if put.question.kind == "recall":
            return given, Verdict()
        verdict = check(put, given)
        if not verdict.problem:
            return given, verdict
        print(f"   … {verdict.problem}")


def read(put: Put, ask: Ask) -> Any:
    """What somebody types, in the form that `answers.check` takes; None for an empty line."""
    kind, letters = put.question.kind, LETTERS[: len(put.offered)]
    if kind == "blanks":
        filled = {name: ask(f"   blank ({number}): ").strip() for number, name in enumerate(put.asked, start=1)}
        return filled if any(filled.values()) else None
    if kind in ("number", "recall"):
        unit = f" in {put.question.unit}" if put.question.kind == "number" and put.question.unit else ""
        return ask(f"   your answer{unit}: ").strip() or None
    count = 1 if kind == "choice" else len(put.asked)
    what = {"choice": "the letter", "match": f"the letters for 1 to {count}", "order": "the letters in order"}[kind]
    while typed := ask(f"   {what}: ").strip():
        if (places := read_letters(typed, letters, count)) is not None:
            chosen = [put.offered[place] for place in places]
            return chosen[0] if kind == "choice" else chosen
        print(f"   … Type {count} of the letters {letters}." if count > 1 else f"   … Type one of {letters}.")
    return None


def _rating(ask: Ask) -> int:
    choices = ", ".join(f"{rating} {name}" for rating, name in RATINGS.items())
    while (given := ask(f"   how well did you know it? {choices}: ").strip()) not in map(str, RATINGS):
        print("   … Type a number from 1 to 4.")
    return int(given)


def _say(headline: str, lines: Sequence[str]) -> None:
    print(f"   {headline}")
    for text in lines:
        for line in wrapped("   ", text):
            print(line)
