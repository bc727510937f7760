"""The banks for other tools: an Anki package, Moodle XML, QTI (`qti`), a table, a page to print. Numbers are as in the
printed form.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import html
import io
import json
import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from labkit.common import InputError, write_atomically
from labkit.quizzes import banks
from labkit.quizzes.answers import Put, put, room
from labkit.quizzes.expressions import evaluate
from labkit.quizzes.markup import numbered, to_html, to_plain
from labkit.quizzes.printed import answer_lines
from labkit.quizzes.qti import package
from labkit.quizzes.schema import BLANK, FORMULA, Blanks, Choice, Match, Number, NumberBlank, Order, Recall
from labkit.syllabus import LABS

MODEL_ID, DECK_ID = 1_381_905_247, 1_926_174_538  # Anki knows a note's type and a deck by these; they never change
COLUMNS = (
    "id", "lab", "segment", "objective", "kind", "when", "level", "text", "left", "options", "answer", "rationale",
)  # fmt: skip
SUFFIXES = {"anki": ".apkg", "moodle": ".xml", "qti": ".zip", "csv": ".csv", "html": ".html"}
BOM = "\ufeff"  # by which spreadsheets know UTF-8
SHUFFLE = """<script>
(function () {
  var key = "labkit {{Id}}", lists = document.querySelectorAll(".shuffled"), back = document.getElementById("answer");
  var kept = {};
  try { kept = JSON.parse(sessionStorage.getItem(key)) || {}; } catch (error) {}
  lists.forEach(function (list, n) {
    var items = Array.prototype.slice.call(list.children), order = kept[n];
    if (!back || !order || order.length !== items.length) {
      order = items.map(function (_, place) { return place; });
      for (var i = order.length - 1; i > 0; i--) {
        var j = Math.floor(Math.random() * (i + 1)), other = order[i];
        order[i] = order[j]; order[j] = other;
      }
      kept[n] = order;
    }
    order.forEach(function (place) { list.appendChild(items[place]); });
  });
  try { sessionStorage.setItem(key, JSON.stringify(kept)); } catch (error) {}
})();
</script>"""


def export(puts: Sequence[Put], to: str, path: Path) -> None:
    """Write the questions for a tool; the file appears whole or not at all. Raises `InputError` if that fails."""
    if to == "anki":
        _anki(puts, path)
        return
    if to == "qti":
        with write_atomically(path, binary=True) as binary:
            binary.write(package(puts))
        return
    with write_atomically(path) as file:
        file.write({"moodle": as_moodle, "csv": as_csv, "html": as_page}[to](puts))


# Anki


def _anki(puts: Sequence[Put], path: Path) -> None:
    try:
        import genanki
    except ImportError:
        raise InputError("an Anki package needs genanki: `pip install genanki`; or export --to csv") from None
    model = genanki.Model(
        MODEL_ID,
        "labkit question",
        fields=[{"name": "Question"}, {"name": "Answer"}, {"name": "Id"}],
        templates=[
            {
                "name": "Card",
                "qfmt": "{{Question}}" + SHUFFLE,
                "afmt": "{{Question}}<hr id=answer>{{Answer}}" + SHUFFLE,
            }
        ],
        css=".card { font-family: sans-serif; font-size: 18px; text-align: left; max-width: 40em; margin: auto; }",
    )
    decks: dict[str, genanki.Deck] = {}
    for each in puts:
        question = each.question
        name = banks.EXAM if question.when == "exam" else LABS[question.lab].file
        deck = decks.setdefault(name, genanki.Deck(DECK_ID + _number(name), _deck(name)))
        fields = [_for_mathjax(_asked_html(each)), _for_mathjax(_answer_html(each)), question.id]
        tags = [question.objective, question.level, question.kind]
        deck.add_note(genanki.Note(model=model, fields=fields, guid=genanki.guid_for("labkit", question.id), tags=tags))
    try:
        handle, partial = tempfile.mkstemp(dir=path.parent, suffix=".partial")
        os.close(handle)
        try:
            genanki.Package(list(decks.values())).write_to_file(partial)
            os.chmod(partial, 0o644)
            os.replace(partial, path)
        finally:
            Path(partial).unlink(missing_ok=True)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{path}: cannot be written ({reason}); free space there, or name another place") from None


def _deck(name: str) -> str:
    """A lab's deck is below `labkit`; the exam is a deck of its own, which can be left out."""
    return "labkit practice exam" if name == banks.EXAM else f"labkit::{name}"


def _number(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:3], "big")


def _for_mathjax(text: str) -> str:
    r"""Anki's and Moodle's MathJax take \( … \) for a formula in a line."""
    return FORMULA.sub(lambda formula: f"\\({formula[1]}\\)", text)


def _asked_html(put: Put, letters: bool = False) -> str:
    """The question with what there is to choose from: with letters, or for the card to shuffle."""
    lists = [("ol type=A" if letters else "ul class=shuffled", put.offered)] if put.offered else []
    if put.question.kind == "match":
        lists.insert(0, ("ol", put.asked))
    items = "".join(
        f"<{tag}>{''.join(f'<li>{to_html(text)}</li>' for text in texts)}</{tag.split()[0]}>" for tag, texts in lists
    )
    return f"<p>{to_html(put.text)}</p>{items}"


def _answer_html(put: Put, letters: bool = False) -> str:
    return "".join(f"<p>{to_html(line)}</p>" for line in answer_lines(put, letters))


# Moodle: https://docs.moodle.org/en/Moodle_XML_format


def as_moodle(puts: Sequence[Put]) -> str:
    """Moodle XML: each kind as Moodle's own kind; a recall as an essay with the answer for the grader, blanks as Cloze.
    `ordering` is part of Moodle since 4.4. There is a category for each lab and objective.
    """
    quiz = ElementTree.Element("quiz")
    groups: dict[str, list[Put]] = {}
    for each in puts:
        lab = "practice exam" if each.question.when == "exam" else LABS[each.question.lab].file
        groups.setdefault(f"{lab}/{each.question.objective}", []).append(each)
    for name, group in groups.items():
        category = ElementTree.SubElement(quiz, "question", type="category")
        _moodle_text(category, "category", f"$course$/top/labkit/{name}", None)
        for each in group:
            _moodle(quiz, each)
    ElementTree.indent(quiz, " ")
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(quiz, encoding="unicode") + "\n"


def _moodle(quiz: Element, put: Put) -> None:
    """One question as Moodle's own kind."""
    match put.question:
        case Number() as question:
            _moodle_number(quiz, put, question)
        case Choice() as question:
            _moodle_choice(quiz, put, question)
        case Match():
            _moodle_match(quiz, put)
        case Order():
            _moodle_order(quiz, put)
        case Blanks() as question:
            _moodle_blanks(quiz, put, question)
        case Recall():
            _moodle_recall(quiz, put)


def _moodle_question(quiz: Element, put: Put, kind: str, text: str | None = None) -> Element:
    node = ElementTree.SubElement(quiz, "question", type=kind)
    _moodle_text(node, "name", put.question.id, None)
    _moodle_text(node, "questiontext", f"<p>{to_html(put.text)}</p>" if text is None else text)
    _moodle_text(node, "generalfeedback", f"<p>{to_html(put.rationale)}</p>")
    ElementTree.SubElement(node, "idnumber").text = put.question.id
    tags = ElementTree.SubElement(node, "tags")
    for tag in (put.question.objective, put.question.level):
        _moodle_text(tags, "tag", tag, None)
    return node


def _moodle_text(node: Element, name: str, text: str, form: str | None = "html", **attributes: str) -> Element:
    child = ElementTree.SubElement(node, name, ({"format": form} if form else {}) | attributes)
    ElementTree.SubElement(child, "text").text = text if form is None else _for_mathjax(text)
    return child


def _moodle_number(quiz: Element, put: Put, question: Number) -> None:
    node = _moodle_question(quiz, put, "numerical")
    right = _moodle_text(node, "answer", f"{put.right:.10g}", "moodle_auto_format", fraction="100")
    ElementTree.SubElement(right, "tolerance").text = f"{room(put.right, question.tolerance):.6g}"
    _moodle_text(right, "feedback", "")
    for mistake in question.mistakes:
        value = evaluate(mistake.answer, put.drawn)
        wrong = _moodle_text(node, "answer", f"{value:.10g}", "moodle_auto_format", fraction="0")
        ElementTree.SubElement(wrong, "tolerance").text = f"{room(value, question.tolerance):.6g}"
        _moodle_text(wrong, "feedback", f"{to_html(mistake.name)}: {to_html(put.fill(mistake.why))}")
    if question.unit:
        units = ElementTree.SubElement(node, "units")
        unit = ElementTree.SubElement(units, "unit")
        ElementTree.SubElement(unit, "multiplier").text = "1"
        ElementTree.SubElement(unit, "unit_name").text = question.unit
        ElementTree.SubElement(node, "unitgradingtype").text = "0"  # a unit may be given, and is not graded


def _moodle_choice(quiz: Element, put: Put, question: Choice) -> None:
    node = _moodle_question(quiz, put, "multichoice")
    ElementTree.SubElement(node, "single").text = "true"
    ElementTree.SubElement(node, "shuffleanswers").text = "true"
    for option in question.options:
        right = option.text == question.answer
        answer = _moodle_text(node, "answer", to_html(put.fill(option.text)), fraction="100" if right else "0")
        _moodle_text(answer, "feedback", to_html(put.fill(option.why or "")))


def _moodle_match(quiz: Element, put: Put) -> None:
    node = _moodle_question(quiz, put, "matching")
    ElementTree.SubElement(node, "shuffleanswers").text = "true"
    for left, right in zip(put.asked, put.right):
        pair = _moodle_text(node, "subquestion", to_html(left))
        answer = ElementTree.SubElement(pair, "answer")
        ElementTree.SubElement(answer, "text").text = to_plain(right)  # Moodle shows these in a list, as plain text


def _moodle_order(quiz: Element, put: Put) -> None:
    node = _moodle_question(quiz, put, "ordering")
    ElementTree.SubElement(node, "layouttype").text = "VERTICAL"
    ElementTree.SubElement(node, "selecttype").text = "ALL"
    for place, item in enumerate(put.right, start=1):
        _moodle_text(node, "answer", to_html(item), fraction=f"{place}.0000000")


def _moodle_blanks(quiz: Element, put: Put, question: Blanks) -> None:
    def escaped(text: str) -> str:
        return re.sub(r"([\\}#~/\"])", r"\\\1", html.escape(text, False))

    def cloze(blank: re.Match) -> str:
        part = question.answer[blank[1]]
        why = escaped(_for_mathjax(put.fill(part.why)))
        if isinstance(part, NumberBlank):
            value = evaluate(part.value, put.drawn)
            return "{1:NUMERICAL:=" + f"{value:.10g}:{room(value, part.tolerance):.6g}#{why}~*#{why}" + "}"
        accepted = "~".join(f"={escaped(word)}#{why}" for word in part.accept)
        return "{1:SHORTANSWER:" + f"{accepted}~*#{why}" + "}"

    pieces, end = [], 0
    for blank in BLANK.finditer(put.text):
        pieces += [to_html(put.text[end : blank.start()]), " ", cloze(blank), " "]
        end = blank.end()
    _moodle_question(quiz, put, "cloze", f"<p>{''.join(pieces)}{to_html(put.text[end:])}</p>")


def _moodle_recall(quiz: Element, put: Put) -> None:
    node = _moodle_question(quiz, put, "essay")
    ElementTree.SubElement(node, "responseformat").text = "plain"
    _moodle_text(node, "graderinfo", f"<p>{to_html(put.right)}</p>")


# A table and a page


def as_csv(puts: Sequence[Put]) -> str:
    """A table, a question a row, for a spreadsheet: formulas as they are written, blanks numbered. A cell that a
    spreadsheet would take for a formula begins with an apostrophe.
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for each in puts:
        lines = list(answer_lines(each))
        told = {
            "text": numbered(each.text),
            "left": "\n".join(each.asked) if each.question.kind == "match" else "",
            "options": "\n".join(each.offered),
            "rationale": each.rationale,
        }
        told["answer"] = "\n".join(line for line in lines if line != each.rationale)
        cells = [str(told.get(name, getattr(each.question, name, ""))) for name in COLUMNS]
        writer.writerow([f"'{cell}" if cell[:1] in ("=", "+", "-", "@") else cell for cell in cells])
    return BOM + file.getvalue()


PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Questions</title><style>
body { font: 16px/1.5 sans-serif; max-width: 45em; margin: 2em auto; padding: 0 1em; color: #111; background: #fff; }
section { break-inside: avoid; margin: 1.5em 0; } h2 { break-before: page; }
img { vertical-align: middle; } code { background: #f2f2f2; }
</style></head><body><h1>Questions</h1>
%s
</body></html>
"""


def as_page(puts: Sequence[Put]) -> str:
    """A page to print: all questions, then all answers. Formulas are images in the page, so nothing is loaded from
    outside.
    """
    groups: dict[str, list[str]] = {}
    answers = ["<h2>Answers</h2>"]
    for number, each in enumerate(puts, start=1):
        name = banks.EXAM if each.question.when == "exam" else LABS[each.question.lab].file
        groups.setdefault(name, [f"<h2>{html.escape(name.replace('_', ' '))}</h2>"]).append(
            f'<section id="q{number}"><strong>{number}.</strong> {_asked_html(each, letters=True)}</section>'
        )
        answers.append(f"<section><strong>{number}.</strong> {_answer_html(each, letters=True)}</section>")
    return PAGE % _drawn("\n".join([*(part for group in groups.values() for part in group), *answers]))


def _drawn(text: str) -> str:
    """The text with its formulas as images, each with its words as the alternative."""
    from base64 import b64encode

    from matplotlib import rc_context
    from matplotlib.mathtext import math_to_image

    def draw(formula: re.Match) -> str:
        source = html.unescape(formula[1])
        image = io.BytesIO()
        with rc_context({"svg.fonttype": "path", "svg.hashsalt": "labkit"}):
            math_to_image(f"${source}$", image, format="svg", dpi=72, prop=None)
        data = b64encode(image.getvalue()).decode()
        return f'<img alt="{html.escape(to_plain(formula[0]), True)}" src="data:image/svg+xml;base64,{data}">'

    return FORMULA.sub(draw, text)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "examples:\n  labkit export quizzes --to anki\n  labkit export quizzes --to qti --without-exam\n"
        "  labkit export quizzes --to html --lab masking --out masking.html"
    )
    parser.add_argument("what", choices=("quizzes",), help="what to export")
    parser.add_argument("--to", choices=tuple(SUFFIXES), required=True, help="for which tool")
    parser.add_argument("--lab", choices=tuple(LABS), help="only this lab's questions (default: all, and the exam's)")
    parser.add_argument("--without-exam", action="store_true", help="leave the practice exam out")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="output file (default: labkit-quizzes with the tool's ending)"
    )
    parser.add_argument("--json", action="store_true", help="end with one JSON object")


def main(args: argparse.Namespace) -> int:
    paths = [banks.bank_of(args.lab)] if args.lab else banks.shipped()
    paths = [path for path in paths if not (args.without_exam and path.stem == banks.EXAM)]
    puts = [put(question) for path in paths for question in banks.load(path)]
    if not puts:
        raise InputError(f"{banks.folder()}: holds no questions; install the kit again")
    out = args.out or Path(f"labkit-quizzes{SUFFIXES[args.to]}")
    export(puts, args.to, out)
    print(f"{len(puts)} questions written to {out}")
    if args.json:
        print(json.dumps({"file": str(out), "questions": len(puts)}))
    return 0
