"""A question as it is asked, with its numbers drawn and its options in an order; and the judgement of an answer.

An answer is plain data: the typed text of a number, the text of an option, a list for match and order (the choice for
each left side; the items in order), a dict for blanks. Nothing here prints or stores.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from random import Random
from typing import Any

from labkit.quizzes import expressions
from labkit.quizzes.schema import BLANK, Blanks, Choice, Match, Number, NumberBlank, Order, Question
from labkit.quizzes.typed import digits, nearly, nouns, read_number, with_unit, word

MISSED, HARD, KNEW, EASY = 1, 2, 3, 4  # FSRS's ratings
ROUGHLY = "15%"  # how close a value must be to count as a rounded one, or as one of these slips
ANY_NUMBER = (  # (what makes the value right, the reply)
    (-1, "Wrong sign. The size is right; check the direction."),
    (1 / 100, "Percent. It is a hundred times too large: did the question ask for a share?"),
    (100, "Percent. It is a hundred times too small: did the question ask for percent?"),
)


@dataclass(frozen=True)
class Put:
    """A question with `drawn` numbers, and with its options, right sides or items in the given order."""

    question: Question
    drawn: dict[str, float]
    order: tuple[int, ...]  # the places in the bank of the items to choose from

    def fill(self, text: str) -> str:
        return expressions.fill(text, self.drawn)

    @cached_property
    def text(self) -> str:
        return self.fill(self.question.text)

    @cached_property
    def rationale(self) -> str:
        return self.fill(self.question.rationale)

    @cached_property
    def offered(self) -> tuple[str, ...]:
        """The items to choose from: the options, the right sides, the items to order; nothing for the other kinds."""
        texts = _choosable(self.question)
        return tuple(self.fill(texts[place]) for place in self.order)

    @cached_property
    def asked(self) -> tuple[str, ...]:
        """The fields to fill: the left sides, the places of an order, the blanks; one for the other kinds."""
        if self.question.kind == "match":
            return tuple(self.fill(pair.left) for pair in self.question.answer)
        if self.question.kind == "order":
            return tuple(f"{place}." for place in range(1, len(self.question.answer) + 1))
        if self.question.kind == "blanks":
            return tuple(BLANK.findall(self.question.text))
        return ("",)

    @cached_property
    def right(self) -> Any:
        """The right answer, in the form of an answer; for a number, its value."""
        question = self.question
        if question.kind == "number":
            return expressions.evaluate(question.answer, self.drawn)
        if question.kind == "match":
            return [self.fill(pair.right) for pair in question.answer]
        if question.kind == "order":
            return [self.fill(item) for item in question.answer]
        if question.kind == "blanks":
            return {name: self._blank(blank) for name, blank in question.answer.items()}
        return self.fill(question.answer)

    @property
    def as_given(self) -> Any:
        """The right answer as somebody would give it: numbers as text."""
        return f"{self.right:.6g}" if self.question.kind == "number" else self.right

    def _blank(self, blank: Any) -> str:
        if isinstance(blank, NumberBlank):
            return with_unit(expressions.evaluate(blank.value, self.drawn), blank.unit)
        return blank.accept[0]


@dataclass(frozen=True)
class Verdict:
    """The reply to an answer. If `problem` is set, the answer could not be read and does not count."""

    right: bool = False
    reasons: tuple[str, ...] = ()  # what is wrong with it, in the markup of the banks
    problem: str = ""
    parts: tuple[bool, ...] = field(default=())  # which of the fields are right, for match, order and blanks

    @property
    def rating(self) -> int:
        return KNEW if self.right else MISSED


def put(question: Question, seed: str | None = None) -> Put:
    """The question as the seed draws it; without a seed, as it is printed: the first numbers, the options in bank
    order, right sides and items sorted by their text.
    """
    texts = _choosable(question)
    places = list(range(len(texts)))
    if seed is None:
        drawn = {name: draw.values[0] for name, draw in question.draws.items()}
        if question.kind != "choice":
            places.sort(key=lambda place: texts[place].lower())
        return Put(question, drawn, tuple(places))
    draw_from = Random(f"{seed} {question.id}")
    drawn = {name: draw_from.choice(draw.values) for name, draw in question.draws.items()}
    draw_from.shuffle(places)
    if question.kind == "order" and places == sorted(places):
        places.reverse()  # it must not start in the right order
    return Put(question, drawn, tuple(places))


def check(put: Put, given: Any) -> Verdict:
    """Judge an answer to any kind except recall, which learners judge themselves."""
    match put.question:
        case Number() as question:
            return _check_number(put, question, given)
        case Choice() as question:
            return _check_choice(put, question, given)
        case Match() as question:
            return _check_match(put, question, given)
        case Order():
            return _check_order(put, given)
        case Blanks() as question:
            return _check_blanks(put, question, given)
    raise ValueError(f"{put.question.id} is a recall: its answer is judged by whoever gave it")


def near(value: float, wanted: float, tolerance: float | str) -> bool:
    """Whether a value is the wanted one within an absolute tolerance (0.01) or a relative one ("2%")."""
    most = room(wanted, tolerance)
    return abs(value - wanted) <= most + 1e-9 * max(abs(wanted), abs(most))


def room(wanted: float, tolerance: float | str) -> float:
    """How far from the wanted value an answer may be."""
    share = str(tolerance).endswith("%")
    return float(str(tolerance).rstrip("%")) / 100 * abs(wanted) if share else float(tolerance)


def slips(put: Put, question: Number) -> list[tuple[str, float, str]]:
    """(name, value, why) of the known mistakes about a number: the bank's own, then other logarithms."""
    found = [
        (mistake.name, expressions.evaluate(mistake.answer, put.drawn), put.fill(mistake.why))
        for mistake in question.mistakes
    ]
    for name, base in (("log2", 2), ("log10", 10)):
        if "log(" in str(question.answer):
            other = expressions.FUNCTIONS | {"log": lambda x, base=base: math.log(x, base)}
            value = expressions.evaluate(question.answer, put.drawn, other)
            found.append((name, value, f"That takes the logarithm to base {base}; here it is the natural one."))
    return found


def _choosable(question: Question) -> list[str]:
    if question.kind == "choice":
        return [option.text for option in question.options]
    if question.kind == "match":
        return [pair.right for pair in question.answer]
    return list(question.answer) if question.kind == "order" else []


def _check_number(put: Put, question: Number, given: str) -> Verdict:
    wanted = put.right
    value, problem = _read(put, str(given), wanted, question.unit, question.tolerance)
    if problem:
        return Verdict(problem=problem)
    if near(value, wanted, question.tolerance):
        return Verdict(right=True)
    for name, mistaken, why in slips(put, question):
        if near(value, mistaken, question.tolerance) and not near(mistaken, wanted, question.tolerance):
            return Verdict(reasons=(f"{name[0].upper()}{name[1:]}. {why}",))
    for factor, reason in ANY_NUMBER:
        if near(value * factor, wanted, ROUGHLY):
            return Verdict(reasons=(reason,))
    return Verdict(reasons=(f"It is too {'high' if value > wanted else 'low'}.",))


def _read(put: Put, typed: str, wanted: float, unit: str, tolerance: float | str) -> tuple[float, str]:
    """(the number that was typed, "") or (NaN, what is to be typed again): also one that was rounded too far."""
    value, problem = read_number(typed, unit, nouns(put.text))
    if problem or near(value, wanted, tolerance):
        return value, problem
    if re.fullmatch(r"\s*[-−]?\d{1,3},\d{3}\s*", typed):  # 1,613 for 1.613
        other, _ = read_number(typed.replace(",", "."), unit)
        if near(other, wanted, tolerance):
            return other, ""
    if value and near(value, wanted, ROUGHLY) and float(f"{wanted:.{digits(typed)}g}") == value:
        return value, "Right so far; give one more digit."
    return value, ""


def _check_choice(put: Put, question: Choice, given: str) -> Verdict:
    if given not in put.offered:
        return Verdict(problem="Choose one of them first.")
    if given == put.right:
        return Verdict(right=True)
    chosen = question.options[put.order[put.offered.index(given)]]
    return Verdict(reasons=(put.fill(chosen.why or ""),))


def _check_match(put: Put, question: Match, given: Sequence[str | None]) -> Verdict:
    if not all(given):
        return Verdict(problem="Choose something for each of them first.")
    parts = tuple(chosen == wanted for chosen, wanted in zip(given, put.right))
    return Verdict(
        right=all(parts),
        reasons=tuple(
            f"Not “{put.fill(pair.left)}” with “{chosen}”. {put.fill(pair.why)}"
            for pair, chosen, part in zip(question.answer, given, parts) if not part
        ),
        parts=parts,
    )  # fmt: skip


def _check_order(put: Put, given: Sequence[str | None]) -> Verdict:
    if not all(given):
        return Verdict(problem="Choose something for each place first.")
    if len(set(given)) < len(given):
        return Verdict(problem="The same item is in two places; choose another for one of them.")
    parts = tuple(chosen == wanted for chosen, wanted in zip(given, put.right))
    if all(parts):
        return Verdict(right=True, parts=parts)
    place = put.right.index
    early = next((a, b) for a, b in zip(given, given[1:]) if place(a) > place(b))
    return Verdict(reasons=(f"“{early[1]}” comes before “{early[0]}”.",), parts=parts)


def _check_blanks(put: Put, question: Blanks, given: dict[str, str]) -> Verdict:
    parts, reasons = [], []
    for number, name in enumerate(put.asked, start=1):
        blank = question.answer[name]
        typed = str(given.get(name) or "").strip()
        if not typed:
            return Verdict(problem=f"Fill in blank {number} first.")
        if isinstance(blank, NumberBlank):
            wanted = expressions.evaluate(blank.value, put.drawn)
            value, problem = _read(put, typed, wanted, blank.unit, blank.tolerance)
            if problem:
                return Verdict(problem=f"Blank {number}: {problem}")
            parts.append(near(value, wanted, blank.tolerance))
        else:
            parts.append(word(typed) in {word(accepted) for accepted in blank.accept})
            if not parts[-1] and nearly(typed, blank.accept):
                return Verdict(problem=f"Blank {number}: check the spelling.")
        if not parts[-1]:
            reasons.append(f"Blank {number}: {put.fill(blank.why)}")
    return Verdict(right=all(parts), reasons=tuple(reasons), parts=tuple(parts))
