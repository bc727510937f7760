"""Banks: what is well made is read, and every fault is one line with its file and line."""

import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from labkit.common import InputError
from labkit.lab import checkout
from labkit.quizzes import banks
from labkit.quizzes.banks import faults, load
from labkit.quizzes.schema import KINDS, Range, json_schema

ALL_KINDS = Path(__file__).parent / "all_kinds.yaml"

CHOICE = """\
- id: masking.why
  lab: masking
  segment: labels
  objective: FRI-2.2
  kind: choice
  when: before
  level: analyze
  text: Why?
  options:
    - {text: Right.}
    - {text: Wrong., why: It is wrong.}
    - {text: Otherwise., why: It is not so.}
  answer: Right.
  rationale: It is so.
"""


def written(tmp_path, text: str | bytes):
    path = tmp_path / "bank.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_every_kind_is_read():
    assert [question.kind for question in load(ALL_KINDS)] == ["number", "choice", "recall", "match", "order", "blanks"]
    assert set(KINDS) == {question.kind for question in load(ALL_KINDS)}


@pytest.mark.parametrize("old, new, line, said", [
    ("  answer: Right.\n", "  answer: right\n", 1, "not among the options"),
    ("  answer: Right.\n", "", 1, "answer: is missing"),
    ("  rationale: It is so.\n", "", 1, "rationale: is missing"),
    (", why: It is not so.", "", 1, "'Otherwise.' has no `why`"),
    ("kind: choice", "kind: essay", 1, "kind: must be one of"),
    ("kind: choice", "kind: recall", 10, "options: is not a key of this kind"),
    ("objective: FRI-2.2", "objective: FRI-9", 4, "objective"),
    ("segment: labels", "segment: nowhere", 1, "no segment 'nowhere'"),
    ("id: masking.why", "id: data.why", 1, "must begin with 'masking.'"),
    ("text: Why?", "text: Why?\n  hint: none", 9, "hint: is not a key"),
    ("text: Why?", "text: Why?\n  text: Again?", 9, "the key 'text' occurs twice"),
    ("text: Why?", "text: 'It costs $5.'", 8, "odd number of $"),
    ("text: Why?", r"text: '$\href{javascript:alert(1)}{x}$'", 8, "is not allowed in a formula"),
    ("text: Why?", 'text: "\\e[2J"', 8, "control character"),
    ("text: Why?", 'text: "a\\u202Eb"', 8, "control character"),
    ("text: Why?", "text: &a Why?", 8, "anchor or alias"),
    ("text: Why?", "text: !!python/object/apply:os.system ['true']", 8, "plain data"),
    ("text: Why?", "text: [Why?", 9, "expected"),
    ("text: Why?", "text: " + "[" * 30 + "]" * 30, 8, "nested"),
    ("text: Otherwise.", "text: Wrong.", 1, "two options say the same"),
    ("text: Why?", "text: Why {{a}}?\n  draws: {a: {from: 3, to: 1, step: 1}}", 9, "fewer than 2 or more than 10,000"),
    ("text: Why?", "text: Why {{a}}?\n  draws: {a: {from: 1, to: 9, step: 2, first: 4}}", 9, "not one of the values"),
    ("text: Why?", "text: Why?\n  resembles: masking.other", 1, "for questions of the exam"),
])  # fmt: skip
def test_a_fault_is_one_line_with_its_file_and_line(tmp_path, old, new, line, said):
    assert old in CHOICE
    path = written(tmp_path, CHOICE.replace(old, new, 1))
    first = faults(path)[0]
    assert said in first and "\n" not in first
    assert first.startswith(f"{path}:{line}: "), first
    with pytest.raises(InputError, match="bank.yaml"):
        load(path)


@pytest.mark.parametrize("text, said", [
    (b"", "a list of questions"),
    (b"id: masking.why", "a list of questions"),
    (b"- 3", "question without id"),
    (b"- {1: 2}", "the key 1"),
    (b"\xff\xfe\x00", "UTF-8"),
    (b"- id: \x00", "control|special|allowed"),
    (CHOICE.encode() * 2, "already used in line 1"),
    (b"#" * (banks.MAX_BYTES + 1), "a bank has at most"),
    (b"a: &a [x, x, x]\nb: &b [*a, *a]\nc: [*b, *b]", "anchor or alias"),
    (b"- " * 5000, "nested"),
    (b"? {a: b}", "list"),
])  # fmt: skip
def test_what_is_no_bank_is_said_in_one_line(tmp_path, text, said):
    found = faults(written(tmp_path, text))
    assert found and re.search(said, found[0]) and "\n" not in found[0] and "bank.yaml" in found[0], found


def test_a_range_holds_both_its_ends_and_begins_with_what_is_printed():
    draw = Range.model_validate({"from": 0.1, "to": 0.7, "step": 0.1, "first": 0.3})
    assert draw.values == [0.3, 0.1, 0.2, 0.4, 0.5, 0.6, 0.7]
    whole = Range.model_validate({"from": 2, "to": 10, "step": 4})
    assert whole.values == [2, 6, 10] and all(isinstance(value, int) for value in whole.values)


def test_all_faults_of_a_bank_are_found(tmp_path):
    other = CHOICE.replace("masking.why", "masking.other").replace("level: analyze", "level: guess")
    found = faults(written(tmp_path, CHOICE.replace("level: analyze", "level: know") + other))
    assert [fault.split(":")[-3].strip() for fault in found] == ["masking.why", "masking.other"]


def test_an_edited_bank_is_read_again(tmp_path):
    path = written(tmp_path, CHOICE)
    assert load(path)[0].text == "Why?"
    path.write_text(CHOICE.replace("Why?", "Why is it so?"))
    assert load(path)[0].text == "Why is it so?"


def test_a_quiz_is_found_by_its_labs_name():
    assert banks.bank_of("masking").name == "04_masking.yaml"
    with pytest.raises(InputError, match="did you mean 'masking'"):
        banks.bank_of("maskin")
    with pytest.raises(InputError, match="cannot be read"):
        load(banks.folder() / "nowhere.yaml")


def test_the_schema_for_editors_says_what_the_loader_says():
    shipped = json.loads((checkout() / "labkit" / "quizzes" / "schema.json").read_text())
    assert shipped == json_schema(), "labkit quiz schema --write labkit/quizzes/schema.json"
    jsonschema.Draft202012Validator.check_schema(shipped)
    validator = jsonschema.Draft202012Validator(shipped)
    bank = yaml.safe_load(ALL_KINDS.read_text())
    validator.validate(bank)
    for question in bank:
        assert not validator.is_valid([question | {"nonsense": 1}])
        assert not validator.is_valid([{key: value for key, value in question.items() if key != "rationale"}])


def test_the_command_prints_the_schema_and_with_json_in_one_line(tmp_path, capsys):
    from labkit.cli import main

    assert main(["quiz", "schema"]) == 0
    assert json.loads(capsys.readouterr().out) == json_schema()
    assert main(["quiz", "schema", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == json_schema()
    assert main(["quiz", "schema", "--json", "--write", str(tmp_path / "schema.json")]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert json.loads(Path(said["file"]).read_text()) == json_schema()
