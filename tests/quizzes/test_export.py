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
    why, default = "#It bears no loss.", "#PyTorch's default."
    assert blanks == [
        ("SHORTANSWER", f"=ignored{why}~=left out{why}~*{why}"), ("NUMERICAL", f"=-100:0{default}~*{default}"),
    ]  # fmt: skip


def test_moodle_has_a_category_for_each_lab_and_objective(puts, tmp_path):
    exam = put(puts["choice"].question.model_copy(update={"id": "exam.why", "when": "exam"}))
    export([*puts.values(), exam], "moodle", tmp_path / "quiz.xml")
    category, under = None, {}
    for node in ElementTree.parse(tmp_path / "quiz.xml").getroot():
        category = node.findtext("category/text") or category
        under.setdefault(category, []).append(node.findtext("name/text"))
    assert {name: [id for id in ids if id] for name, ids in under.items()} == {
        "$course$/top/labkit/03_cross_entropy/FRI-2.2": ["cross_entropy.surprise"],
        "$course$/top/labkit/04_masking/FRI-2.2": [asked.question.id for asked in list(puts.values())[1:]],
        "$course$/top/labkit/practice exam/FRI-2.2": ["exam.why"],
    }


TEXT = {"text"}
MOODLE = {  # https://docs.moodle.org/en/Moodle_XML_format: {element: (attributes that it must have, elements that it may hold)}
    "quiz": (set(), {"question"}),
    "question": ({"type"}, {"category", "name", "questiontext", "generalfeedback", "idnumber", "tags", "answer", "units",
                            "unitgradingtype", "single", "shuffleanswers", "subquestion", "layouttype", "selecttype",
                            "responseformat", "graderinfo"}),
    "category": (set(), TEXT), "name": (set(), TEXT), "questiontext": ({"format"}, TEXT), "tag": (set(), TEXT),
    "generalfeedback": ({"format"}, TEXT), "feedback": ({"format"}, TEXT), "graderinfo": ({"format"}, TEXT),
    "tags": (set(), {"tag"}), "units": (set(), {"unit"}), "unit": (set(), {"multiplier", "unit_name"}),
    "subquestion": ({"format"}, {"text", "answer"}), "answer": (set(), {"text", "feedback", "tolerance"}),
}  # fmt: skip
FLOW = {"p", "code", "em", "br", "span", "textEntryInteraction"}
QTI = {  # IMS QTI 2.1, Assessment Test, Section and Item Information Model: the same, the elements in their order
    "assessmentItem": ({"identifier", "title", "adaptive", "timeDependent"},
                       ["responseDeclaration", "outcomeDeclaration", "itemBody", "responseProcessing", "modalFeedback"]),
    "responseDeclaration": ({"identifier", "cardinality", "baseType"}, ["correctResponse"]),
    "outcomeDeclaration": ({"identifier", "cardinality", "baseType"}, []), "correctResponse": (set(), ["value"]),
    "itemBody": (set(), {"p", "rubricBlock", "choiceInteraction", "matchInteraction", "orderInteraction",
                         "extendedTextInteraction"}),
    "choiceInteraction": ({"responseIdentifier", "shuffle", "maxChoices"}, ["prompt", "simpleChoice"]),
    "orderInteraction": ({"responseIdentifier", "shuffle"}, ["prompt", "simpleChoice"]),
    "matchInteraction": ({"responseIdentifier", "shuffle", "maxAssociations"}, ["prompt", "simpleMatchSet"]),
    "extendedTextInteraction": ({"responseIdentifier"}, ["prompt"]), "textEntryInteraction": ({"responseIdentifier"}, []),
    "simpleMatchSet": (set(), ["simpleAssociableChoice"]), "simpleChoice": ({"identifier"}, FLOW), "prompt": (set(), FLOW),
    "simpleAssociableChoice": ({"identifier", "matchMax"}, FLOW), "rubricBlock": ({"view"}, {"p"}),
    "modalFeedback": ({"outcomeIdentifier", "identifier", "showHide"}, {"p"}), "p": (set(), FLOW), "span": (set(), FLOW),
    "code": (set(), FLOW), "em": (set(), FLOW), "br": (set(), []), "value": (set(), []),
    "responseProcessing": (set(), ["responseCondition"]), "responseCondition": (set(), ["responseIf", "responseElse"]),
    "responseIf": (set(), ["equal", "and", "setOutcomeValue"]), "responseElse": (set(), ["setOutcomeValue"]),
    "and": (set(), {"equal", "or"}), "or": (set(), ["stringMatch"]), "stringMatch": ({"caseSensitive"}, ["variable", "baseValue"]),
    "equal": ({"toleranceMode", "tolerance"}, ["variable", "correct"]), "variable": ({"identifier"}, []),
    "correct": ({"identifier"}, []), "setOutcomeValue": ({"identifier"}, ["baseValue"]), "baseValue": ({"baseType"}, []),
    "manifest": ({"identifier"}, ["metadata", "organizations", "resources"]), "organizations": (set(), []),
    "metadata": (set(), ["schema", "schemaversion"]), "schema": (set(), []), "schemaversion": (set(), []),
    "resources": (set(), ["resource"]), "resource": ({"identifier", "type", "href"}, ["file"]), "file": ({"href"}, []),
}  # fmt: skip


def faults(node, schema):
    """What an element and those inside have or lack against a schema."""
    name = node.tag.rpartition("}")[2]
    if name not in schema:
        return []  # a leaf, which its parent allows
    wanted, allowed = schema[name]
    inside = [child.tag.rpartition("}")[2] for child in node]
    found = [f"{name} has no {attribute}" for attribute in wanted - set(node.attrib)]
    found += [f"{child} in {name}" for child in set(inside) - set(allowed)]
    if isinstance(allowed, list) and not found and inside != sorted(inside, key=allowed.index):
        found.append(f"{inside} in {name}: another order")
    return found + [fault for child in node for fault in faults(child, schema)]


def items(path):
    """{name: the root of each file} of a QTI package."""
    with zipfile.ZipFile(path) as package:
        return {name: ElementTree.fromstring(package.read(name)) for name in package.namelist()}


def test_what_ships_follows_moodles_and_qtis_schema(tmp_path):
    asked = [put(question) for question in banks.everything().values()]
    for to in ("moodle", "qti"):
        export(asked, to, tmp_path / to)
    assert faults(ElementTree.parse(tmp_path / "moodle").getroot(), MOODLE) == []
    files = items(tmp_path / "qti")
    assert len(files) == len(asked) + 1
    for name, root in files.items():
        assert faults(root, QTI) == [], name
        namespace = "imscp_v1p1" if name == "imsmanifest.xml" else "imsqti_v2p1"
        assert all(node.tag.startswith(f"{{http://www.imsglobal.org/xsd/{namespace}}}") for node in root.iter())
    listed = [node.get("href") for node in files["imsmanifest.xml"].iter() if node.tag.endswith("}resource")]
    assert sorted(listed) == sorted(set(files) - {"imsmanifest.xml"})


Q = "{http://www.imsglobal.org/xsd/imsqti_v2p1}"


def test_qti_gets_each_kind_as_its_own_with_the_right_answer(puts, tmp_path):
    export(list(puts.values()), "qti", tmp_path / "quiz.zip")
    roots = {name[6:-4]: root for name, root in items(tmp_path / "quiz.zip").items() if name.startswith("items/")}
    for kind, interaction in {"choice": "choice", "match": "match", "order": "order", "recall": "extendedText",
                              "number": "textEntry", "blanks": "textEntry"}.items():  # fmt: skip
        assert list(roots[puts[kind].question.id].iter(f"{Q}{interaction}Interaction"))

    def right(kind):
        return [value.text for value in roots[puts[kind].question.id].iter(f"{Q}value")]

    def named(kind, tag):
        return {
            node.get("identifier"): "".join(node.itertext()) for node in roots[puts[kind].question.id].iter(f"{Q}{tag}")
        }

    assert float(right("number")[0]) == pytest.approx(puts["number"].right)
    assert "share α/r" in named("choice", "simpleChoice")[right("choice")[0]]
    steps = named("order", "simpleChoice")
    assert [steps[value] for value in right("order")] == puts["order"].right
    sides = named("match", "simpleAssociableChoice")
    pairs = [tuple(sides[name] for name in value.split()) for value in right("match")]
    assert pairs == list(zip(puts["match"].asked, puts["match"].right))
    assert right("blanks") == ["ignored", "-100"]
    said = "".join(roots["masking.why"].find(f"{Q}modalFeedback").itertext())
    assert "Causal attention forbids it." in said and "Causal" not in "".join(
        roots["masking.why"].find(f"{Q}itemBody").itertext()
    )
    assert (tmp_path / "quiz.zip").read_bytes() == _again(puts, tmp_path)


def _again(puts, tmp_path):
    export(list(puts.values()), "qti", tmp_path / "again.zip")
    return (tmp_path / "again.zip").read_bytes()


def scored(root, given):
    """What QTI's response processing gives for {response: value}; the template is the standard's `match_correct`."""
    right = {
        node.get("identifier"): [value.text for value in node.iter(f"{Q}value")]
        for node in root.iter(f"{Q}responseDeclaration")
    }
    processing = root.find(f"{Q}responseProcessing")
    if processing.get("template"):
        return float(processing.get("template").endswith("match_correct") and given == right)

    def holds(node):
        what, name = node.tag.removeprefix(Q), node.findall(f"{Q}variable")
        if what in ("and", "or"):
            return (all if what == "and" else any)(holds(child) for child in node)
        value = given[name[0].get("identifier")][0]
        if what == "stringMatch":
            return value.lower() == node.findtext(f"{Q}baseValue").lower()
        wanted, (below, above) = float(right[name[0].get("identifier")][0]), map(float, node.get("tolerance").split())
        return wanted - below <= float(value) <= wanted + above

    condition = processing.find(f"{Q}responseCondition")
    branch = condition.find(f"{Q}responseIf")
    branch = branch if holds(branch[0]) else condition.find(f"{Q}responseElse")
    return float(branch.findtext(f"{Q}setOutcomeValue/{Q}baseValue"))


def test_qti_scores_the_right_answer_with_1_and_others_with_0(tmp_path):
    asked = {question.id: put(question) for question in banks.everything().values() if question.kind != "recall"}
    export(list(asked.values()), "qti", tmp_path / "quiz.zip")
    for name, root in items(tmp_path / "quiz.zip").items():
        if name.startswith("items/"):
            right = {
                node.get("identifier"): [value.text for value in node.iter(f"{Q}value")]
                for node in root.iter(f"{Q}responseDeclaration")
            }
            assert scored(root, right) == 1, name
            for response in right:
                assert scored(root, right | {response: ["-123456789"]}) == 0, name


def test_another_program_reads_the_qti_package(tmp_path):
    """A converter to QTI 3, which keeps what it knows."""
    qti_convert = pytest.importorskip("qti_convert")
    asked = [put(question) for question in banks.everything().values()]
    export(asked, "qti", tmp_path / "quiz.zip")
    with zipfile.ZipFile(tmp_path / "quiz.zip") as package:
        for each in asked:
            root = ElementTree.fromstring(
                qti_convert.upgrade_qti2_to_qti3(package.read(f"items/{each.question.id}.xml").decode())
            )
            assert root.tag.endswith("qti-assessment-item") and root.get("identifier") == each.question.id
            values = [node.text for node in root.iter() if node.tag.endswith("qti-value")]
            assert bool(values) == (each.question.kind != "recall")


def test_anki_itself_imports_the_package(tmp_path):
    """With Anki's own importer."""
    collection, request = pytest.importorskip("anki.collection"), pytest.importorskip("anki.import_export_pb2")
    asked = [put(question) for question in banks.everything().values()]
    export(asked, "anki", tmp_path / "quiz.apkg")
    opened = collection.Collection(str(tmp_path / "mine.anki2"))
    package = request.ImportAnkiPackageRequest(package_path=str(tmp_path / "quiz.apkg"))
    assert len(opened.import_anki_package(package).log.new) == len(asked)
    assert len(opened.import_anki_package(package).log.new) == 0 and opened.note_count() == len(asked)
    assert "labkit practice exam" in [deck.name for deck in opened.decks.all_names_and_ids()]
    opened.close()


def test_the_card_shuffles_what_there_is_to_choose_from(puts, tmp_path):
    pytest.importorskip("genanki")
    export(list(puts.values()), "anki", tmp_path / "quiz.apkg")
    notes, _, _ = anki_notes(tmp_path / "quiz.apkg", tmp_path)
    question, answer, _ = notes["masking.why"][2].split("\x1f")
    assert "<ul class=shuffled>" in question and "Not: The tokenizer" in answer
    assert int(notes["masking.why"][1]) != 1_607_392_319  # the id in genanki's tutorial, which others have as well


def test_the_exam_can_be_left_out(tmp_path, capsys):
    assert main(["export", "quizzes", "--to", "csv", "--without-exam", "--out", str(tmp_path / "out"), "--json"]) == 0
    count = json.loads(capsys.readouterr().out.splitlines()[-1])["questions"]
    assert count == sum(question.when != "exam" for question in banks.everything().values())


def test_the_table_is_read_back(puts, tmp_path):
    path = tmp_path / "quiz.csv"
    export(list(puts.values()), "csv", path)
    assert path.read_bytes().startswith(b"\xef\xbb\xbf")  # by which spreadsheets know UTF-8
    rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"))))
    assert tuple(rows[0]) == COLUMNS
    for row, asked in zip(rows, puts.values(), strict=True):
        assert (row["id"], row["kind"]) == (asked.question.id, asked.question.kind)
        assert row["text"] == (
            asked.text if row["kind"] != "blanks" else "The position is ____ (1) if its label is ____ (2)."
        )
        assert row["left"].split("\n") == (list(asked.asked) if row["kind"] == "match" else [""])
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
    for to in ("moodle", "csv", "html"):
        export(asked, to, tmp_path / to)
    headings = re.findall(r"<h2>(.*?)</h2>", (tmp_path / "html").read_text())
    assert len(headings) == len(set(headings)) == len(banks.shipped()) + 1  # each bank's once, and the answers'
    nodes = [node for node in ElementTree.parse(tmp_path / "moodle").getroot() if node.get("type") != "category"]
    assert sorted(node.findtext("name/text") for node in nodes) == sorted(each.question.id for each in asked)
    for node in nodes:
        if node.get("type") == "numerical":  # what Moodle calls right is right, and no mistake of ours is
            right, *wrong = [(each.get("fraction"), float(each.findtext("text"))) for each in node.findall("answer")]
            room = float(node.findtext("answer/tolerance"))
            assert right[0] == "100" and all(grade == "0" and abs(value - right[1]) > room for grade, value in wrong)
        if node.get("type") == "multichoice":
            assert sorted(each.get("fraction") for each in node.findall("answer"))[-2:] == ["0", "100"]
    with open(tmp_path / "csv", encoding="utf-8-sig", newline="") as file:
        assert [row["id"] for row in csv.DictReader(file)] == [each.question.id for each in asked]
    pytest.importorskip("genanki")
    export(asked, "anki", tmp_path / "anki.apkg")
    notes, _, cards = anki_notes(tmp_path / "anki.apkg", tmp_path)
    assert set(notes) == {each.question.id for each in asked}
    assert cards == len({row[0] for row in notes.values()}) == len(asked)
    for row in notes.values():
        assert "$" not in row[2] and row[2].count(r"\(") == row[2].count(r"\)")


@pytest.mark.parametrize("to", ["anki", "moodle", "qti", "csv", "html"])
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
