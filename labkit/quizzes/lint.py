"""What a bank must fulfil beyond its form: no question gives its answer away, every number is right on every draw, and
the banks together cover their objectives. Each finding is one line with file and line.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations, product
from pathlib import Path
from random import Random
from typing import Any

from labkit.dedup import jaccard
from labkit.quizzes import banks, form
from labkit.quizzes.answers import Put, check, near, put
from labkit.quizzes.expressions import evaluate, names
from labkit.quizzes.markup import to_plain
from labkit.quizzes.printed import as_html, as_text
from labkit.quizzes.schema import FORMULA, LEVELS, Choice, Number, NumberBlank, Question
from labkit.quizzes.sums import wrong_sums
from labkit.syllabus import LABS, OBJECTIVES

DRAWS = 60  # how often a question with drawn numbers is tried; all combinations, if there are fewer
IN_ALL, IN_EXAM, BY_OBJECTIVE = 200, 40, 12  # how many questions there are at least
NEW = 30  # questions of the exam, at least, whose situation no lab's question has
ALIKE = 0.35  # the share of their words that two questions of different situations may have in common, at most
COMBINATIONS = 100  # of drawn numbers, at least, so that a review asks for the rule and not for a number seen before
CARD = {"text": 120, "answer": 100}  # characters of a card, at most
SHARES = {"apply": 0.4, "analyze": 0.3}  # of an objective's questions, at least
PLACES = {"before": 2, "after": 4}  # how many questions a lab has: exactly two before, at least four after
ABSOLUTE = re.compile(
    r"\b(always|never|impossible|guarantee\w*|absolutely|completely|entirely|certainly|invariably"
    r"|under all circumstances|(all|none|both|neither) of the (above|others|options)|in (every|any) case|no matter)\b",
    re.IGNORECASE,
)  # fmt: skip
BY_PLACE = re.compile(
    r"\b(?i:options?|answers?|choices?|distractors?) (?:[A-F]|[1-6]|one|two|three|four|five)\b"
    r"|\b(?:first|second|third|fourth|fifth|last|former|latter|previous|next) (?:option|answer|choice|statement)s?\b"
    r"|\b(?:option|answer|choice|statement)s? (?:above|below)\b|\((?:[A-E])\)"
)  # fmt: skip


def lint(paths: Sequence[Path], whole: bool = True) -> list[str]:
    """The findings in these banks; with `whole`, also what all banks together lack."""
    found: list[str] = []
    questions: dict[str, Question] = {}
    where: dict[str, str] = {}
    for path in paths:
        if faults := banks.faults(path):
            found += faults
            continue
        lines = banks.lines(path)
        bank = banks.load(path)
        for question in bank:
            place = f"{path}:{lines[question.id]}: {question.id}"
            if question.id in questions:
                found.append(f"{place}: the id is also in {where[question.id].rsplit(':', 1)[0]}")
            questions[question.id], where[question.id] = question, place
            found += [f"{place}: {finding}" for finding in (*_belongs(path, question), *_question(question))]
        found += [f"{path}:1: {finding}" for finding in (*_positions(bank), *_form(bank), *_places(path, bank))]
    if whole:
        every = list(questions.values())
        found += [f"quizzes: {finding}" for finding in (*_form(every), *_coverage(every))]
        found += [f"{where[id]}: {finding}" for id, finding in _situations(questions)]
    return found


def tally(questions: Sequence[Question]) -> dict[str, dict[str, int]]:
    """{objective: {"labs": how many of the labs' questions without cards; of these each level; "cards"; "exam"}}."""
    counts = {name: dict.fromkeys(("labs", *LEVELS, "cards", "exam"), 0) for name in OBJECTIVES}
    for question in questions:
        own = counts[question.objective]
        for what in ("exam",) if question.when == "exam" else ("cards",) if question.card else ("labs", question.level):
            own[what] += 1
    return counts


def draws_of(question: Question) -> Iterator[Put]:
    """The question with every combination of its numbers; where these are many, with those of the smallest and largest
    numbers, and others drawn.
    """
    values = [draw.values for draw in question.draws.values()]
    chosen: Iterable[Sequence[float]]
    if math.prod(map(len, values)) <= DRAWS:
        chosen = product(*values)
    else:
        draw_from = Random(question.id)
        ends = list(product(*((min(each), max(each)) for each in values)))
        chosen = [*ends, *([draw_from.choice(each) for each in values] for _ in range(DRAWS - len(ends)))]
    order = put(question).order
    for drawn in chosen:
        yield Put(question, dict(zip(question.draws, drawn)), order)


def _belongs(path: Path, question: Question) -> Iterator[str]:
    if path.stem == banks.EXAM:
        if question.when != "exam":
            yield f"when is {question.when!r}; in the practice exam it is 'exam'"
        if question.kind == "recall":
            yield "an exam is graded automatically; use another kind than recall"
    elif path.stem in {lab.file for lab in LABS.values()} and (
        question.when == "exam" or LABS[question.lab].file != path.stem
    ):
        yield f"belongs in {banks.EXAM if question.when == 'exam' else LABS[question.lab].file}.yaml"


def _question(question: Question) -> Iterator[str]:
    """What is wrong with one question."""
    for text in _texts(question):
        for formula in FORMULA.findall(text):
            if problem := _formula_problem(re.sub(r"\{\{.*?\}\}", "1", formula)):
                yield f"the formula ${formula}$ does not parse ({problem})"
        if found := BY_PLACE.search(text):
            yield f"refers to an option by place ({found[0]!r}), but options are shuffled; refer to its content"
    if question.kind == "choice":
        yield from _options(question)
    if question.card:
        for part, most in CARD.items():
            if (length := len(getattr(question, part))) > most:
                yield f"{length} characters of {part}; a card has at most {most}"
    if question.draws and (number := math.prod(len(draw.values) for draw in question.draws.values())) < COMBINATIONS:
        yield f"its numbers have {number} combinations; draw from at least {COMBINATIONS}"
    yield from _numbers(question)


def _texts(question: Question) -> Iterator[str]:
    def within(value: Any) -> Iterator[str]:
        if isinstance(value, str):
            yield value
        for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            yield from within(part)

    shown = question.model_dump(include={"text", "rationale", "options", "mistakes"})
    shown["answer"] = question.model_dump(include={"answer"}) if question.kind != "number" else ""
    yield from within(shown)


def _formula_problem(formula: str) -> str:
    from matplotlib.mathtext import MathTextParser

    try:
        MathTextParser("path").parse(f"${formula}$")
    except ValueError as error:
        return str(error).strip().splitlines()[-1]
    return ""


def _options(question: Choice) -> Iterator[str]:
    texts = [option.text for option in question.options]
    for text in texts:
        if found := ABSOLUTE.search(text):
            yield f"the option {text!r} holds the absolute word {found[0]!r}, which gives it away"
    for kind, is_so in (
        ("end with a full stop", lambda text: text.endswith(".")),
        ("begin with a capital", lambda text: text[:1].isupper()),
        ("are numbers", lambda text: bool(re.fullmatch(r"[$−-]?[\d{][^a-zA-Z]{0,12}\s?\S{0,8}", text))),
    ):
        having = [text for text in texts if is_so(text)]
        alike = [text for text in texts if text[:1].isalpha()] if kind.startswith("begin") else texts
        if having and len(having) < len(alike):
            yield f"the options are not of one kind: {len(having)} of {len(alike)} {kind}"


def _numbers(question: Question) -> Iterator[str]:
    """What goes wrong when numbers are drawn: each answer, mistake and text must have a value, and be distinct."""
    try:
        used = set().union(*(names(hole) for hole in _expressions(question)))
    except ValueError as error:
        yield str(error)
        return
    for name in set(question.draws) - used:
        yield f"{name!r} is drawn but not used"
    if question.kind == "number" and question.draws and not names(question.answer):
        yield "numbers are drawn, but the answer does not depend on them"
    faulty = (found for drawn in draws_of(question) if (found := list(dict.fromkeys(_one_draw(drawn)))))
    yield from next(faulty, ())  # of the first draw that has any: others say the same with other numbers
    try:
        as_html([put(question)], ""), as_text([put(question)], "")
        if question.kind != "recall" and not check(put(question), put(question).as_given).right:
            yield "its own answer is not accepted"
    except ValueError:  # a number without a value, which was reported above
        pass


def _one_draw(drawn: Put) -> Iterator[str]:
    """What is wrong with a question as it is drawn."""
    question = drawn.question
    try:
        for wrong in {wrong for text in _texts(question) for wrong in wrong_sums(to_plain(drawn.fill(text)))}:
            yield f"with {_so(drawn)}: {wrong} is not correct"
        if question.kind == "number":
            yield from _one_number(drawn, question)
        if question.kind in ("choice", "match", "order") and len(set(drawn.offered)) < len(drawn.offered):
            yield f"two of the items to choose from are the same with {_so(drawn)}"
    except ValueError as error:
        yield f"with {_so(drawn)}: {error}"


def _expressions(question: Question) -> Iterator[str]:
    from labkit.quizzes.expressions import HOLE

    for text in (*_texts(question), *(str(getattr(question, "section", "") or ""),)):
        yield from (hole[1] for hole in HOLE.finditer(text))
    if question.kind == "number":
        yield from map(str, (question.answer, *(mistake.answer for mistake in question.mistakes)))
    if question.kind == "blanks":
        yield from (str(blank.value) for blank in question.answer.values() if isinstance(blank, NumberBlank))


def _one_number(drawn: Put, question: Number) -> Iterator[str]:
    wanted = drawn.right
    for digits in (4, 6):
        if not check(drawn, f"{wanted:.{digits}g}").right:
            yield f"with {_so(drawn)}: the answer {wanted:.{digits}g} is not accepted; widen the tolerance"
    known = [(mistake.name, evaluate(mistake.answer, drawn.drawn)) for mistake in question.mistakes]
    for name, value in known:
        if near(value, wanted, question.tolerance):
            yield f"with {_so(drawn)}: the mistake {name!r} is within the tolerance of the answer"
    for (name, value), (other, further) in combinations(known, 2):
        if near(value, further, question.tolerance):
            yield f"with {_so(drawn)}: the mistakes {name!r} and {other!r} have the same value"


def _so(drawn: Put) -> str:
    return ", ".join(f"{name} = {value}" for name, value in drawn.drawn.items()) or "its numbers"


def _positions(bank: Sequence[Question]) -> Iterator[str]:
    """The right option's place over a bank: no place more often than its share plus one, so guessing by place gains
    nothing.
    """
    choices = [question for question in bank if question.kind == "choice"]
    places = [[option.text for option in q.options].index(q.answer) for q in choices]
    if not choices:
        return
    expected = sum(1 / len(question.options) for question in choices)
    for place, count in sorted(Counter(places).items()):
        if count > math.ceil(expected) + 1:
            yield f"the right option is {count} of {len(choices)} times in place {place + 1}; spread them"


def _form(bank: Sequence[Question]) -> Iterator[str]:
    """The rules of form that find the right option too often."""
    for rule in form.rules(bank):
        if rule.tells:
            yield (
                f"the option that {rule.name} is right in {rule.right:.3g} of {rule.asked} choices, by chance in "
                f"{rule.chance:.3g}; vary it, or move reasons into `why`"
            )


def _places(path: Path, bank: Sequence[Question]) -> Iterator[str]:
    """Two questions before a lab, one and a card in each segment, at least four after."""
    for lab in LABS.values():
        if lab.file != path.stem:
            continue
        count = Counter(question.when for question in bank)
        if count["before"] != PLACES["before"]:
            yield f"{count['before']} questions before the lab; there are {PLACES['before']}"
        if count["after"] < PLACES["after"]:
            yield f"{count['after']} questions after the lab; there are at least {PLACES['after']}"
        during = Counter((question.segment, question.card) for question in bank if question.when == "during")
        for segment in lab.segments:
            for card, what in ((False, "questions"), (True, "cards")):
                if during[segment, card] != 1:
                    yield f"{during[segment, card]} {what} during the segment {segment!r}; there is one"


def _situations(questions: Mapping[str, Question]) -> Iterator[tuple[str, str]]:
    """(a question of the exam, what is wrong with the situation that it says it shares with a lab's, or not)."""
    labs = {id: _words(question) for id, question in questions.items() if question.when != "exam"}
    for question in questions.values():
        if question.when == "exam" and question.resembles:
            if question.resembles not in labs:
                yield question.id, f"resembles {question.resembles!r}, which no lab has"
        elif question.when == "exam":
            own = _words(question)
            likest = max(labs, key=lambda id: jaccard(own, labs[id]), default="")
            if labs and (share := jaccard(own, labs[likest])) > ALIKE:
                yield question.id, f"{share:.0%} of its words are also in {likest}; ask about another situation"


def _words(question: Question) -> set[str]:
    """The longer words of a question and its answer, without its reasons."""
    told = [question.text, *put(question).offered, *put(question).asked]
    return set(re.findall(r"[a-z]{4,}", " ".join(told).lower()))


def _coverage(questions: Sequence[Question]) -> Iterator[str]:
    """What the banks together lack."""
    counts = tally(questions)
    if len(questions) < IN_ALL:
        yield f"{len(questions)} questions in all; at least {IN_ALL} are needed"
    exam = [question for question in questions if question.when == "exam"]
    for number, least, what in (
        (len(exam), IN_EXAM, "the exam"),
        (sum(not question.resembles for question in exam), NEW, "the exam share no situation with a lab's"),
    ):
        if number < least:
            yield f"{number} questions in {what}; at least {least} are needed"
    for objective, own in counts.items():
        if own["labs"] < BY_OBJECTIVE:
            yield f"{objective} has {own['labs']} questions; at least {BY_OBJECTIVE} are needed"
        for level in LEVELS:
            if not own[level]:
                yield f"{objective} has no question to {level}"
            elif own[level] / own["labs"] < SHARES.get(level, 0):
                yield f"{objective}: {own[level]} of {own['labs']} {level}; at least {SHARES[level]:.0%} are needed"
        if not own["exam"]:
            yield f"{objective} is not in the exam"
