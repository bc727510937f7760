"""Questions without a kernel: plain HTML with the answer folded, for a page, and text for a terminal.

The same questions give the same words on every machine and day, so a stored notebook can be compared.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from labkit.quizzes.answers import Put
from labkit.quizzes.expressions import evaluate
from labkit.quizzes.markup import to_html, to_plain
from labkit.quizzes.typed import with_unit

WIDTH = 100  # characters of a line in a terminal


LETTERS = "ABCDEF"


def answer_lines(put: Put, letters: bool = False) -> Iterator[str]:
    """The right answer with its reasons, in the banks' markup, a line each; with `letters`, each item that is offered
    has the letter that stands before it.
    """
    question = put.question
    letter = {text: f"{letter}. " if letters else "" for letter, text in zip(LETTERS, put.offered)}
    if question.kind == "number":
        yield with_unit(put.right, question.unit)
    elif question.kind == "match":
        for pair, right in zip(question.answer, put.right):
            yield f"{put.fill(pair.left)} → {letter[right]}{right}. {put.fill(pair.why)}"
    elif question.kind == "order":
        yield from (f"{place}. {letter[item]}{item}" for place, item in enumerate(put.right, start=1))
    elif question.kind == "blanks":
        for number, name in enumerate(put.asked, start=1):
            yield f"({number}) {put.right[name]}. {put.fill(question.answer[name].why)}"
    else:
        yield f"{letter.get(put.right, '')}{put.right}"
    yield put.rationale
    if question.kind == "choice":
        whys = {put.fill(option.text): option.why for option in question.options}
        for text in put.offered:
            if text != put.right:
                yield f"Not{' ' if letters else ': '}{letter[text]}{text} {put.fill(whys[text] or '')}"
    if question.kind == "number":
        for mistake in question.mistakes:
            value = with_unit(evaluate(mistake.answer, put.drawn), question.unit)
            yield f"If you had {value} ({mistake.name}): {put.fill(mistake.why)}"


def as_html(puts: Sequence[Put], title: str) -> str:
    """The questions as plain HTML, each with its answer folded."""
    parts = [f"<p><strong>{to_html(title)}</strong></p>"]
    for number, put in enumerate(puts, start=1):
        parts.append(f"<p><strong>{number}.</strong> {to_html(put.text)}</p>")
        if put.offered:
            parts.append('<ol type="A">' + "".join(f"<li>{to_html(option)}</li>" for option in put.offered) + "</ol>")
        if put.question.kind == "match":
            parts.append("<p>to be matched with</p><ol>")
            parts += [f"<li>{to_html(left)}</li>" for left in put.asked]
            parts.append("</ol>")
        answer = "".join(f"<p>{to_html(line)}</p>" for line in answer_lines(put, letters=True))
        parts.append(f"<details><summary>Answer to {number}</summary>{answer}</details>")
    return "\n".join(parts)


def as_text(puts: Sequence[Put], title: str) -> str:
    """The questions as text, their answers at the end."""
    told = [to_plain(title)]
    for number, put in enumerate(puts, start=1):
        told += ["", *wrapped(f"{number}. ", put.text), *options_text(put)]
    told += ["", "Answers"]
    for number, put in enumerate(puts, start=1):
        first, *more = answer_lines(put, letters=True)
        told += wrapped(f"{number}. ", first)
        told += [line for text in more for line in wrapped("   ", text)]
    return "\n".join(told)


def options_text(put: Put) -> list[str]:
    """The items to choose from, a line each, and the items to match."""
    lines = []
    for letter, option in zip(LETTERS, put.offered):
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
