"""What a question is made of, as pydantic models, and the JSON Schema that editors check banks with.

Here are only the rules for a single question; the rules for a whole bank are in `lint`.
"""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, RootModel, Tag, model_validator

from labkit.quizzes import expressions
from labkit.syllabus import LABS, OBJECTIVES

Level = Literal["remember", "apply", "analyze"]
LEVELS: tuple[str, ...] = get_args(Level)
if TYPE_CHECKING:
    Lab: TypeAlias = str
    Objective: TypeAlias = str
else:  # what the syllabus has, for pydantic and the schema
    Lab = Literal[tuple(LABS)]
    Objective = Literal[tuple(OBJECTIVES)]
BLANK = re.compile(r"\[\[(\w+)\]\]")
CONTROL = re.compile(r"[^\S\n ]|[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069]")
FORMULA = re.compile(r"\$([^$]+)\$")
ACTIVE = re.compile(r"\\(href|url|html\w*|class|style|cssId|require|def|let|newcommand|unicode|data)\b")


def _text(text: str) -> str:
    if found := CONTROL.search(text):
        raise ValueError(f"holds the control character {found[0]!r}; take it out")
    if text.count("$") % 2:
        raise ValueError("an odd number of $; a formula is between two of them")
    if found := ACTIVE.search(text):
        raise ValueError(f"{found[0]} is not allowed in a formula; write plain mathematics")
    return text.strip()


def _expression(expression: float | str) -> float | str:
    expressions.names(expression)
    return expression


def _tolerance(tolerance: float | str) -> float | str:
    number = float(str(tolerance).removesuffix("%"))
    if not 0 <= number < (100 if isinstance(tolerance, str) else 1e12):
        raise ValueError("a tolerance is a number such as 0.01, or a share such as 2%")
    return tolerance


Text = Annotated[str, Field(min_length=1, max_length=2000), AfterValidator(_text)]
Expression = Annotated[float | int | str, Field(union_mode="left_to_right"), AfterValidator(_expression)]
Tolerance = Annotated[float | Annotated[str, Field(pattern=r"^\d+(\.\d+)?%$")], AfterValidator(_tolerance)]


class Part(BaseModel):
    """A part of a question: unknown keys are not allowed."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


class Draw(Part):
    """The values that a number is drawn from."""

    values: list[int | float] = Field(alias="from", min_length=2, max_length=1000)


class Range(Part):
    """A range that a number is drawn from, `from` and `to` included; `first` is what is printed (default: `from`)."""

    low: int | float = Field(alias="from")
    high: int | float = Field(alias="to")
    step: int | float = Field(gt=0)
    first: int | float | None = None

    @model_validator(mode="after")
    def _counts(self) -> Range:
        if not 1 <= (self.high - self.low) / self.step <= 9_999:
            raise ValueError("from, to and step give fewer than 2 or more than 10,000 values")
        if self.first is not None and len(self.values) > self._count():
            raise ValueError(f"first is {self.first}, which is not one of the values")
        return self

    @cached_property
    def values(self) -> list[int | float]:
        """All values, the one that is printed first."""
        steps = [self.low + n * self.step for n in range(self._count())]
        numbers = steps if all(isinstance(value, int) for value in steps) else [round(value, 9) for value in steps]
        return numbers if self.first is None else [self.first, *(n for n in numbers if n != self.first)]

    def _count(self) -> int:
        return int((self.high - self.low) / self.step + 1e-9) + 1


def _drawn_from(draw: Any) -> str:
    values = draw.get("from") if isinstance(draw, dict) else getattr(draw, "values", None)
    return "range" if isinstance(draw, Range) or not isinstance(values, list) else "values"


Drawn: TypeAlias = Annotated[
    Annotated[Draw, Tag("values")] | Annotated[Range, Tag("range")], Discriminator(_drawn_from)
]


class Mistake(Part):
    """A known wrong answer: what it is called, and why it is wrong."""

    answer: Expression
    name: Text
    why: Text


class Option(Part):
    """One option of a choice; `why` says why it is wrong (it may be left out for the right one)."""

    text: Text
    why: Text | None = None


class Pair(Part):
    """What belongs together, and what distinguishes it from the likely confusion."""

    left: Text
    right: Text
    why: Text


class WordBlank(Part):
    """A blank for a word: everything that is accepted, ignoring case and spaces."""

    accept: list[Annotated[str, Field(min_length=1)]] = Field(min_length=1)
    why: Text


class NumberBlank(Part):
    """A blank for a number."""

    value: Expression
    tolerance: Tolerance = "1%"
    unit: str = ""
    why: Text


class Base(Part):
    """What every question has."""

    id: str = Field(pattern=r"^[a-z_]+\.[a-z0-9_]+$", description="lab.name; for the practice exam exam.name")
    lab: Lab
    segment: str = Field(description="the part of the lab it belongs to")
    objective: Objective
    when: Literal["before", "during", "after", "exam"]
    level: Level
    text: Text = Field(description="`code`, *emphasis*, $formula$, {{drawn expression:.2f}}")
    rationale: Text = Field(description="why the answer is right, in one to three sentences")
    section: str | None = Field(None, description="heading of the lab to read again; default: the segment")
    draws: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")], Drawn] = Field({}, description="numbers to draw")
    resembles: str | None = Field(None, description="of the exam: the lab's question whose situation it shares")

    @model_validator(mode="after")
    def _belongs(self) -> Base:
        home = "exam" if self.when == "exam" else self.lab
        if self.id.split(".")[0] != home:
            raise ValueError(f"the id {self.id!r} must begin with {home + '.'!r}")
        if self.segment not in LABS[self.lab].segments:
            raise ValueError(f"{self.lab} has no segment {self.segment!r}; it has {', '.join(LABS[self.lab].segments)}")
        if self.resembles and self.when != "exam":
            raise ValueError("resembles is for questions of the exam")
        return self

    @property
    def card(self) -> bool:
        """Whether it is a short card inside a lab's prose, recalled in a few seconds."""
        return False


class Recall(Base):
    """Learners write, reveal the answer, and rate themselves. During a lab it is a card: short, and recalled in seconds."""

    kind: Literal["recall"]
    answer: Text

    @property
    def card(self) -> bool:
        return self.when == "during"


class Number(Base):
    """A number, within a tolerance; a known mistake is named."""

    kind: Literal["number"]
    answer: Expression
    tolerance: Tolerance
    unit: str = ""
    mistakes: list[Mistake] = Field(min_length=2)


class Choice(Base):
    """One of several options."""

    kind: Literal["choice"]
    options: list[Option] = Field(min_length=3, max_length=5)
    answer: str = Field(description="the exact text of the right option")

    @model_validator(mode="after")
    def _right(self) -> Choice:
        texts = [option.text for option in self.options]
        if len(set(texts)) < len(texts):
            raise ValueError("two options say the same")
        if self.answer.strip() not in texts:
            raise ValueError("the answer is not among the options; copy the right option's text exactly")
        for option in self.options:
            if option.text != self.answer.strip() and option.why is None:
                raise ValueError(f"the wrong option {option.text!r} has no `why`; say what is wrong with it")
        return self


class Match(Base):
    """What belongs together."""

    kind: Literal["match"]
    answer: list[Pair] = Field(min_length=3, max_length=6)

    @model_validator(mode="after")
    def _distinct(self) -> Match:
        for side in ("left", "right"):
            if len({getattr(pair, side) for pair in self.answer}) < len(self.answer):
                raise ValueError(f"the same {side} side twice, so that more than one matching is right")
        return self


class Order(Base):
    """Items in their right order."""

    kind: Literal["order"]
    answer: list[Text] = Field(min_length=3, max_length=6)

    @model_validator(mode="after")
    def _distinct(self) -> Order:
        if len(set(self.answer)) < len(self.answer):
            raise ValueError("the same item twice")
        return self


class Blanks(Base):
    """A text with blanks `[[name]]`, each for a word or a number."""

    kind: Literal["blanks"]
    answer: dict[str, WordBlank | NumberBlank] = Field(min_length=1, max_length=6)

    @model_validator(mode="after")
    def _all_there(self) -> Blanks:
        blanks = BLANK.findall(self.text)
        if sorted(blanks) != sorted(self.answer):
            raise ValueError(f"the text has the blanks {sorted(blanks)}, the answer those of {sorted(self.answer)}")
        return self


KINDS = {"recall": Recall, "number": Number, "choice": Choice, "match": Match, "order": Order, "blanks": Blanks}
Question: TypeAlias = Annotated[Recall | Number | Choice | Match | Order | Blanks, Field(discriminator="kind")]


class Bank(RootModel[list[Question]]):
    """A file of questions."""


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a bank."""
    schema = Bank.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "A bank of questions", **schema}
