"""The lint: each thing that gives an answer away, or is wrong on some draw, is found; a clean bank is clean."""

import json
from pathlib import Path

import pytest
import yaml

from labkit.cli import main
from labkit.quizzes import banks
from labkit.quizzes.banks import QUESTION
from labkit.quizzes.form import rules
from labkit.quizzes.lint import DRAWS, _coverage, draws_of, lint, tally
from labkit.quizzes.schema import Draw, Range

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
    (changed("number", rationale="It is {{p}} − 1 = −0.8."), "with p = 0.8: 0.8 − 1 = −0.8 is not correct"),
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


def test_all_combinations_are_tried_or_the_ends_and_some_between(questions):
    few = Draw.model_validate({"from": [0.2, 0.4, 0.9]})
    question = questions["number"]
    assert [asked.drawn["p"] for asked in draws_of(question.model_copy(update={"draws": {"p": few}}))] == few.values
    many = {name: Range.model_validate({"from": 1, "to": 300, "step": 1}) for name in "pq"}
    tried = [tuple(asked.drawn.values()) for asked in draws_of(question.model_copy(update={"draws": many}))]
    assert len(tried) == DRAWS and {(1, 1), (1, 300), (300, 1), (300, 300)} < set(tried)


def choices(*cases):
    """A bank of choices, each (the options, the place of the right one)."""
    return [
        changed("choice", id=f"masking.q{n}", options=options(*texts), answer=texts[place])
        for n, (texts, place) in enumerate(cases)
    ]


EVEN = ["A mask.", "A rate.", "A rank."]


@pytest.mark.parametrize("cases, said", [
    ([(["A rather long one.", "A short one.", "Some."], place) for place in (0, 1, 2) * 2], None),
    ([(["A rather long one.", "A short one.", "Some."], 1)] * 6, "is the second longest is right in 6 of 6"),
    ([(["A rather long one.", "A short one.", "Some."], 2)] * 6, "is the shortest is right in 6 of 6"),
    ([(["A mask, since it helps.", "A rate, and no more of.", "A rank, and no more of."], 1)] * 6,
     "not: gives a reason is right in 3 of 6"),
    ([(["A mask 7.", "A rate b.", "A rank c."], 0)] * 6, "holds a number is right in 6 of 6"),
    ([([f"{word.title()} is {tail}." for tail in ("true", "seen", "some")], 0)
      for word in "loss mask rate rank step seed".split()], "has the words of right options is right in 6 of 6"),
    ([(EVEN, 0)] * 3, None),  # too few to learn a rule from
])  # fmt: skip
def test_a_rule_of_form_that_finds_the_right_option_is_found(tmp_path, cases, said):
    found = [finding for finding in findings(tmp_path, *choices(*cases)) if "by chance in" in finding]
    assert bool(found) == bool(said) and all(said is None or any(said in each for each in found) for _ in found), found


def test_words_are_learned_from_the_other_questions_alone():
    """A word that only its own question has says nothing about it."""
    cases = [(EVEN[n % 3 :] + EVEN[: n % 3], 0) for n in range(3)] * 2
    unique = [([f"{text[:-1]} {'abcdef'[n] * 3}." if m == 0 else text for m, text in enumerate(texts)], 0)
              for n, (texts, _) in enumerate(cases)]  # fmt: skip
    bank = [QUESTION.validate_python(question) for question in choices(*unique)]
    by_words = next(rule for rule in rules(bank) if "words" in rule.name)
    assert by_words.right <= by_words.chance + 1


def test_the_banks_that_ship_cannot_be_guessed_by_form():
    for path in banks.shipped():
        assert all(rule.gain <= 0.1 + 1e-9 for rule in rules(banks.load(path))), path


@pytest.mark.parametrize("question, said", [
    (changed("recall", answer="It is left out. " * 8), "a card has at most 100"),
    (changed("recall", text="Why so? " * 20), "a card has at most 120"),
    (changed("number", draws={"p": {"from": [0.2, 0.4, 0.6]}}), "3 combinations"),
])  # fmt: skip
def test_a_long_card_and_few_numbers_are_found(tmp_path, question, said):
    assert any(said in finding for finding in findings(tmp_path, question))


def test_a_situation_of_a_lab_in_the_exam_is_found(tmp_path):
    lab = changed("number", when="after")
    exam = changed("number", id="exam.surprise", when="exam")
    for name, question in {"one": lab, banks.EXAM: exam}.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump([question], allow_unicode=True))
    paths = sorted(tmp_path.glob("*.yaml"))
    assert any("100% of its words are also in cross_entropy.surprise" in finding for finding in lint(paths))
    for like, found in {"cross_entropy.surprise": False, "cross_entropy.other": True}.items():
        paths[1].write_text(yaml.safe_dump([exam | {"resembles": like}], allow_unicode=True))
        assert any("resembles 'cross_entropy.other', which no lab has" in finding for finding in lint(paths)) == found
        assert not any("of its words" in finding for finding in lint(paths))


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
    counts = tally(list(banks.everything().values()))
    for what, least in (("labs", 140), ("cards", 41), ("exam", 40)):
        assert sum(own[what] for own in counts.values()) >= least


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
    left = [*filter(left, questions.values()), questions["masking.one_rate"]]
    assert list(_coverage(left)) == ["FRI-2.2: 1 of 23 analyze; at least 30% are needed"]


def test_a_duplicate_over_two_banks_and_what_is_missing_over_all_are_found(tmp_path):
    for name in ("one", "two"):
        (tmp_path / f"{name}.yaml").write_text(ALL_KINDS.read_text())
    found = lint([tmp_path / "one.yaml", tmp_path / "two.yaml"])
    assert sum("the id is also in" in finding for finding in found) == 6
    for said in ("at least 200", "not in the exam", "share no situation"):
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
    assert set(said["objectives"]["FRI-2.1"]) == {"labs", "remember", "apply", "analyze", "cards", "exam"}
    assert said["new_situations"] >= 30 and said["form_gain"] <= 0.1
    bad = tmp_path / "bad.yaml"
    bad.write_text(ALL_KINDS.read_text().replace("tolerance: 0.01", "tolerance: 0.0000001"))
    assert main(["quiz", "lint", str(bad)]) == 1
