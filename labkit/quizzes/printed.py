"""Questions without a kernel: plain HTML with the answer folded, for a page, and text for a terminal.

The same questions give the same words on every machine and day, so a stored notebook can be compared.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from labkit.quizzes.answers import Put, with_unit
from labkit.quizzes.expressions import evaluate
from labkit.quizzes.markup import to_html, to_plain

WIDTH = 100  # characters of a line in a terminal


def answer_lines(put: Put) -> Iterator[str]:
    """The right answer with its reasons, in the banks' markup, a line each."""
    question = put.question
    if question.kind == "number":
        yield with_unit(put.right, question.unit)
    elif question.kind == "match":
        for pair in question.answer:
            yield f"{put.fill(pair.left)} → {put.fill(pair.right)}. {put.fill(pair.why)}"
    elif question.kind == "order":
        yield from (f"{place}. {item}" for place, item in enumerate(put.right, start=1))
    elif question.kind == "blanks":
        for number, name in enumerate(put.asked, start=1):
            yield f"({number}) {put.right[name]}. {put.fill(question.answer[name].why)}"
    else:
        yield put.right
    yield put.rationale
    if question.kind == "choice":
        for option in question.options:
            if option.text != question.answer and option.why:
                yield f"Not: {put.fill(option.text)} {put.fill(option.why)}"
    if question.kind == "number":
        for mistake in question.mistakes:
            value = with_unit(evaluate(mistake.answer, put.drawn), question.unit)
            yield f"If you had {value} ({mistake.name}): {put.fill(mistake.why)}"


def as_html(puts: Sequence[Put], title: str) -> str:
    """The questions as plain HTML, each with its answer folded."""
    parts = [f"<p><strong>{to_html(title)}</strong></p>"]
    for number, put in enumerate(puts, start=1):
        parts.append(f"<p><strong>{number}.</strong> {to_html(put.text)}</p>")
        if put.question.kind == "choice":
            parts.append('<ol type="A">' + "".join(f"<li>{to_html(option)}</li>" for option in put.offered) + "</ol>")
        elif put.offered:
            parts.append("<ul>" + "".join(f"<li>{to_html(option)}</li>" for option in put.offered) + "</ul>")
        if put.question.kind == "match":
            parts.append("<p>to be matched with</p><ol>")
            parts += [f"<li>{to_html(left)}</li>" for left in put.asked]
            parts.append("</ol>")
        answer = "".join(f"<p>{to_html(line)}</p>" for line in answer_lines(put))
        parts.append(f"<details><summary>Answer to {number}</summary>{answer}</details>")
    return "\n".join(parts)


def as_text(puts: Sequence[Put], title: str) -> str:
    """The questions as text, their answers at the end."""
    told = [to_plain(title)]
    for number, put in enumerate(puts, start=1):
        told += ["", *wrapped(f"{number}. ", put.text), *options_text(put)]
    told += ["", "Answers"]
    for number, put in enumerate(puts, start=1):
        first, *more = answer_lines(put)
        told += wrapped(f"{number}. ", first)
        told += [line for text in more for line in wrapped("   ", text)]
    return "\n".join(told)


def options_text(put: Put) -> list[str]:
    """The items to choose from, a line each, and the items to match."""
    lines = []
    for letter, option in zip("ABCDEF", put.offered):
        lines += wrapped(f"   {letter}. ", option)
    if put.question.kind == "match":
        for number, left in enumerate(put.asked, start=1):
            lines += wrapped(f"   {number}. ", left)
    return lines


def wrapped(mark: str, text: str) -> list[str]:
    """The lines of a text after a mark, in the terminal's width."""
    lines = []
    for line in to_plain(text).split("\n"):
        lines += textwrap.wrap(line, WIDTH, initial_indent=mark, subsequent_indent=" " * len(mark)) or [""]
        mark = " " * len(mark)
    return lines
