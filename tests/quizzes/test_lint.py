"""The lint: each thing that gives an answer away, or is wrong on some draw, is found; a clean bank is clean."""

import json
from pathlib import Path

import pytest
import yaml

from labkit.cli import main
from labkit.quizzes import banks
from labkit.quizzes.lint import DRAWS, _coverage, draws_of, lint, tally

ALL_KINDS = Path(__file__).parent / "all_kinds.yaml"
QUESTIONS = {question["kind"]: question for question in yaml.safe_load(ALL_KINDS.read_text())}


def findings(tmp_path, *questions):
    path = tmp_path / "bank.yaml"
    apart = json.loads(json.dumps(questions))  # what is the same object twice would become an alias
    path.write_text(yaml.safe_dump(apart, allow_unicode=True, sort_keys=False))
    return lint([path], whole=False)


def changed(kind, **changes):
    return QUESTIONS[kind] | changes


def options(*texts):
    return [{"text": text, "why": "It is not so."} for text in texts]


def test_a_clean_bank_is_clean(tmp_path):
    assert findings(tmp_path, *QUESTIONS.values()) == []


@pytest.mark.parametrize("question, said", [
    (changed("choice", options=options("Right so far.", "Wrong.", "Other."), answer="Right so far."), "is the longest"),
    (changed("choice", options=options("Yes.", "It always is.", "It is so."), answer="Yes."), "absolute word 'always'"),
    (changed("choice", options=options("Yes.", "None of the above.", "No, no."), answer="Yes."), "absolute word"),
    (changed("choice", options=options("Yes.", "It is", "It was"), answer="Yes."), "1 of 3 end with a full stop"),
    (changed("choice", options=options("yes", "It is", "No, so"), answer="yes"), "begin with a capital"),
    (changed("choice", options=options("0.2", "0.31", "Many"), answer="0.2"), "are numbers"),
    (changed("choice", rationale="Option B is too early."), "refers to an option by place ('Option B')"),
    (changed("choice", rationale="The second option is wrong."), "refers to an option by place"),
    (changed("recall", text=r"What is $\frac{a}{b$?"), "does not parse"),
    (changed("recall", text="What is {{q}}?"), "'q' is not drawn"),
    (changed("recall", text="What is $e^{{{a}}}$?"), "is not an expression"),
    (changed("number", answer="-log(p) * n"), "'n' is not drawn"),
    (changed("number", answer="1 / (p - 0.2)"), "has no value"),
    (changed("recall", draws={"p": {"from": [1, 2]}}), "'p' is drawn but not used"),
    (changed("number", answer=0.22), "does not depend on them"),
    (changed("number", draws={"p": {"from": [0.2, 0]}}), "has no value"),
    (changed("number", draws={"p": {"from": [0.5, 1]}}), "within the tolerance"),
    (changed("number", tolerance=0.000001), "is not accepted"),
    (changed("number", rationale="It is {{p}} − 1 = −0.8."), "p = 0.4: 0.4 − 1 = −0.8 is not correct"),
    (changed("number", mistakes=[{"answer": f"{n} * log(p)", "name": f"m{n}", "why": "So."} for n in (1, 1.0)]),
     "same value"),
])  # fmt: skip
def test_what_gives_it_away_or_is_wrong_is_found(tmp_path, question, said):
    found = findings(tmp_path, question)
    assert found and any(said in finding for finding in found), found
    assert all(finding.startswith(f"{tmp_path / 'bank.yaml'}:") and "\n" not in finding for finding in found)


def test_a_place_that_is_right_too_often_is_found(tmp_path):
    first = [changed("choice", id=f"masking.q{n}") for n in range(6)]
    assert any("6 of 6 times in place 1" in finding for finding in findings(tmp_path, *first))
    texts = QUESTIONS["choice"]["options"]
    spread = [question | {"options": texts[-n % 3 :] + texts[: -n % 3]} for n, question in enumerate(first)]
    assert not any("in place" in finding for finding in findings(tmp_path, *spread))


def test_all_combinations_are_tried_or_two_hundred(questions):
    drawn = [asked.drawn["p"] for asked in draws_of(questions["number"])]
    assert drawn == questions["number"].draws["p"].values
    many = {name: questions["number"].draws["p"].model_copy(update={"values": list(range(1, 30))}) for name in "pq"}
    assert sum(1 for _ in draws_of(questions["number"].model_copy(update={"draws": many}))) == DRAWS


CHAPTER = {  # the chapter's five retrieval questions and its four opening predictions
    "data.rules": "after", "cross_entropy.gradient_recall": "after", "masking.why_and_how_much": "after",
    "hyperparameters.symptoms": "after", "lora.formula": "after", "masking.without": "before",
    "cross_entropy.which_way": "before", "hyperparameters.nan_first": "before", "lora.how_little": "before",
}  # fmt: skip


def test_what_the_chapter_asks_is_asked():
    shipped = banks.everything()
    assert {id: shipped[id].when for id in CHAPTER} == CHAPTER
    assert all(shipped[id].kind == "recall" for id, when in CHAPTER.items() if when == "after")


def test_the_banks_that_ship_cover_their_objectives():
    assert lint(banks.shipped()) == []
    counts = tally(list(banks.everything().values()))
    assert sum(own["labs"] for own in counts.values()) >= 100 and sum(own["exam"] for own in counts.values()) >= 40


@pytest.mark.parametrize("objective, level, said", [
    ("FRI-2.3", None, "FRI-2.3 has 0 questions"), ("FRI-2.1", "remember", "FRI-2.1 has no question to remember"),
    ("FRI-2.4", "apply", "FRI-2.4 has no question to apply"),
])  # fmt: skip
def test_an_objective_that_is_not_covered_is_found(objective, level, said):
    left = [q for q in banks.everything().values() if q.objective != objective or level not in (None, q.level)]
    assert any(finding.startswith(said) for finding in _coverage(left))


def test_a_level_that_is_too_seldom_is_found():
    def left(question):
        return (question.objective, question.level) != ("FRI-2.2", "analyze") or question.when == "exam"

    questions = banks.everything()
    left = [*filter(left, questions.values()), questions["masking.seam"]]
    assert list(_coverage(left)) == ["FRI-2.2: 1 of 24 analyze; at least 30% are needed"]


def test_a_duplicate_over_two_banks_and_what_is_missing_over_all_are_found(tmp_path):
    for name in ("one", "two"):
        (tmp_path / f"{name}.yaml").write_text(ALL_KINDS.read_text())
    found = lint([tmp_path / "one.yaml", tmp_path / "two.yaml"])
    assert sum("the id is also in" in finding for finding in found) == 6
    for said in ("at least 100", "not in the exam"):
        assert any(said in finding for finding in found)


def test_a_bank_in_the_wrong_file_and_a_lab_without_its_questions_are_found(tmp_path):
    (tmp_path / "01_data.yaml").write_text(yaml.safe_dump([QUESTIONS["recall"]], allow_unicode=True))
    found = lint([tmp_path / "01_data.yaml"], whole=False)
    assert any("belongs in 04_masking.yaml" in finding for finding in found)
    assert any("0 questions before the lab" in finding for finding in found)
    (tmp_path / f"{banks.EXAM}.yaml").write_text(yaml.safe_dump([QUESTIONS["recall"]], allow_unicode=True))
    found = lint([tmp_path / f"{banks.EXAM}.yaml"], whole=False)
    assert any("another kind than recall" in finding for finding in found)


def test_the_command_ends_in_1_if_anything_was_found(tmp_path, capsys):
    assert main(["quiz", "lint", str(ALL_KINDS)]) == 0
    assert capsys.readouterr().out.endswith("6 questions in 1 banks: no findings\n")
    assert main(["quiz", "lint", "--json"]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert said["findings"] == [] and said["questions"] == len(banks.everything())
    assert set(said["objectives"]["FRI-2.1"]) == {"labs", "remember", "apply", "analyze", "exam"}
    bad = tmp_path / "bad.yaml"
    bad.write_text(ALL_KINDS.read_text().replace("tolerance: 0.01", "tolerance: 0.0000001"))
    assert main(["quiz", "lint", str(bad)]) == 1
