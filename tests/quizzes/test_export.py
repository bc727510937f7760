"""Exports, read back by something else than what wrote them."""

import csv
import io
import json
import re
import sqlite3
import zipfile
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from labkit.cli import main
from labkit.common import InputError
from labkit.quizzes import banks
from labkit.quizzes.answers import put
from labkit.quizzes.export import COLUMNS, export
from labkit.quizzes.typed import read_number

from_kind = {
    "number": "numerical", "choice": "multichoice", "match": "matching", "order": "ordering", "blanks": "cloze",
    "recall": "essay",
}  # fmt: skip


def anki_notes(path, tmp_path):
    """{id: (guid, model, fields, tags)} and the names of the decks, from the collection that Anki would open."""
    with zipfile.ZipFile(path) as package:
        package.extract("collection.anki2", tmp_path)
    connection = sqlite3.connect(tmp_path / "collection.anki2")
    notes = {row[2].split("\x1f")[2]: row for row in connection.execute("SELECT guid, mid, flds, tags FROM notes")}
    decks = [deck["name"] for deck in json.loads(connection.execute("SELECT decks FROM col").fetchone()[0]).values()]
    cards = connection.execute("SELECT count(*) FROM cards").fetchone()[0]
    connection.close()
    return notes, decks, cards


def test_an_anki_package_holds_every_question_and_a_second_one_the_same_notes(puts, tmp_path):
    pytest.importorskip("genanki")
    path = tmp_path / "quiz.apkg"
    export(list(puts.values()), "anki", path)
    notes, decks, cards = anki_notes(path, tmp_path)
    assert set(notes) == {asked.question.id for asked in puts.values()} and cards == len(puts)
    assert {"labkit::04_masking", "labkit::03_cross_entropy"} <= set(decks)
    question, answer, _ = notes["cross_entropy.surprise"][2].split("\x1f")
    assert r"\(-\log p\)" in question and "1.609 nats" in answer and "$" not in question + answer
    assert "<script" not in notes["masking.why"][2]
    again = [put(asked.question, "another seed") for asked in puts.values()]
    export(again, "anki", tmp_path / "again.apkg")
    other, _, _ = anki_notes(tmp_path / "again.apkg", tmp_path)
    assert {id: row[:2] for id, row in notes.items()} == {id: row[:2] for id, row in other.items()}


def test_moodle_gets_each_kind_as_its_own_with_the_right_answer(puts, tmp_path):
    path = tmp_path / "quiz.xml"
    export(list(puts.values()), "moodle", path)
    nodes = ElementTree.parse(path).getroot()
    found = {node.findtext("name/text"): node for node in nodes if node.get("type") != "category"}
    assert set(found) == {asked.question.id for asked in puts.values()}
    for kind, moodle in from_kind.items():
        assert found[puts[kind].question.id].get("type") == moodle

    numbers = found["cross_entropy.surprise"]
    grades = {float(node.findtext("text")): node.get("fraction") for node in numbers.findall("answer")}
    assert [value for value, grade in grades.items() if grade == "100"] == [pytest.approx(puts["number"].right)]
    assert len(grades) == 3 and numbers.findtext("answer/tolerance") == "0.01"
    assert numbers.findtext("units/unit/unit_name") == "nats"
    assert r"\(-\log p\)" in numbers.findtext("questiontext/text")

    options = {node.findtext("text"): node.get("fraction") for node in found["masking.why"].findall("answer")}
    assert sorted(options.values()) == ["0", "0", "100"]
    assert options[r"The prompt takes a share \(\alpha/r\) of the gradient."] == "100"
    assert not any("<script" in text for text in options)
    sides = found["masking.match"].findall("subquestion")
    pairs = {node.findtext("text"): node.findtext("answer/text") for node in sides}
    assert list(pairs.values()) == puts["match"].right
    items = [node.findtext("text").replace("&#x27;", "'") for node in found["masking.order"].findall("answer")]
    assert items == puts["order"].right
    blanks = re.findall(r"\{1:(\w+):(.*?)\}", found["masking.blanks"].findtext("questiontext/text"))
    assert blanks == [("SHORTANSWER", "=ignored~=left out"), ("NUMERICAL", "=-100:0")]


def test_the_table_is_read_back(puts, tmp_path):
    path = tmp_path / "quiz.csv"
    export(list(puts.values()), "csv", path)
    rows = list(csv.DictReader(io.StringIO(path.read_text())))
    assert tuple(rows[0]) == COLUMNS
    for row, asked in zip(rows, puts.values(), strict=True):
        assert (row["id"], row["text"], row["kind"]) == (asked.question.id, asked.text, asked.question.kind)
        assert row["options"].split("\n") == list(asked.offered or [""])
        assert not any(cell[:1] in ("=", "+", "-", "@") for cell in row.values())
    assert read_number(rows[0]["answer"].split("\n")[0], "nats")[0] == pytest.approx(puts["number"].right, abs=1e-3)


def test_the_page_is_whole_in_itself(puts, tmp_path):
    path = tmp_path / "quiz.html"
    export(list(puts.values()), "html", path)

    class Page(HTMLParser):
        images, sections, tags = [], 0, set()

        def handle_starttag(self, tag, attributes):
            self.tags.add(tag)
            self.sections += tag == "section"
            if tag == "img":
                self.images.append(dict(attributes))
            assert not any((value or "").startswith(("http", "//")) for _, value in attributes)

    page = Page()
    page.feed(path.read_text())
    assert page.sections == 2 * len(puts) and "script" not in page.tags
    assert "−log p" in [image["alt"] for image in page.images]
    assert all(image["src"].startswith("data:image/svg+xml;base64,") for image in page.images)


def test_every_question_that_ships_goes_out(tmp_path):
    asked = [put(question) for question in banks.everything().values()]
    for to in ("moodle", "csv"):
        export(asked, to, tmp_path / to)
    nodes = [node for node in ElementTree.parse(tmp_path / "moodle").getroot() if node.get("type") != "category"]
    assert [node.findtext("name/text") for node in nodes] == [each.question.id for each in asked]
    for node in nodes:
        if node.get("type") == "numerical":  # what Moodle calls right is right, and no mistake of ours is
            right, *wrong = [(each.get("fraction"), float(each.findtext("text"))) for each in node.findall("answer")]
            room = float(node.findtext("answer/tolerance"))
            assert right[0] == "100" and all(grade == "0" and abs(value - right[1]) > room for grade, value in wrong)
        if node.get("type") == "multichoice":
            assert sorted(each.get("fraction") for each in node.findall("answer"))[-2:] == ["0", "100"]
    with open(tmp_path / "csv", encoding="utf-8", newline="") as file:
        assert [row["id"] for row in csv.DictReader(file)] == [each.question.id for each in asked]
    pytest.importorskip("genanki")
    export(asked, "anki", tmp_path / "anki.apkg")
    notes, _, cards = anki_notes(tmp_path / "anki.apkg", tmp_path)
    assert set(notes) == {each.question.id for each in asked}
    assert cards == len({row[0] for row in notes.values()}) == len(asked)
    for row in notes.values():
        assert "$" not in row[2] and row[2].count(r"\(") == row[2].count(r"\)")


@pytest.mark.parametrize("to", ["anki", "moodle", "csv", "html"])
def test_the_command_writes_a_file_and_says_in_one_line_if_it_cannot(all_kinds, tmp_path, capsys, to):
    assert main(["export", "quizzes", "--to", to, "--out", str(tmp_path / "out"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["questions"] == len(all_kinds)
    assert main(["export", "quizzes", "--to", to, "--out", str(tmp_path / "nowhere" / "out")]) == 2
    said = capsys.readouterr().err
    assert "cannot be written" in said and len(said.splitlines()) == 1
    assert list(tmp_path.glob("*partial*")) == []


def test_a_lab_that_there_is_not(tmp_path):
    assert main(["export", "quizzes", "--to", "csv", "--lab", "nonsense"]) == 2
    with pytest.raises(InputError):
        export([], "csv", tmp_path / "no" / "where")
