"""Questions in a terminal, and what is due: `labkit quiz take`, `labkit review`, `lk.review`."""

import json
from datetime import UTC, datetime, timedelta

import pytest

import labkit as lk
from labkit.cli import main
from labkit.progress import store
from labkit.quizzes import banks, review, terminal
from labkit.quizzes.answers import put


def typing(*lines):
    """Somebody who types these lines, then ends the input."""
    left = iter(lines)

    def ask(prompt):
        try:
            return next(left)
        except StopIteration:
            raise EOFError from None

    return ask


def letters(asked, values):
    return "".join("ABCDEF"[asked.offered.index(value)] for value in values)


def test_every_kind_is_answered_by_typing(puts, capsys):
    typed = [
        puts["number"].as_given,
        letters(puts["choice"], [puts["choice"].right]).lower(),
        *("from memory", "4"),
        " ".join(letters(puts["match"], puts["match"].right)),
        letters(puts["order"], puts["order"].right),
        *puts["blanks"].right.values(),
    ]
    assert terminal.sit(list(puts.values()), None, typing(*typed)) == [True] * 6
    assert [row["rating"] for row in store().answers()] == [3, 3, 4, 3, 3, 3]
    assert "<script>alert(1)</script>" in capsys.readouterr().out


def test_what_cannot_be_read_is_asked_again_and_an_empty_line_shows_the_answer(puts, capsys):
    asked = [puts["number"], puts["choice"], puts["order"]]
    typed = ["many", "-1.609", "Z", "AB", "", "AA", "AAAA", ""]
    assert terminal.sit(asked, None, typing(*typed)) == [False, False, False]
    said = capsys.readouterr().out
    assert "Wrong sign" in said and "one of ABC" in said and "4 of the letters ABCD" in said
    assert said.count("The answer:") == 2
    assert [row["details"]["given"] for row in store().answers()] == ["-1.609", None, None]


def test_the_end_of_the_input_keeps_what_was_answered(puts):
    assert terminal.sit(list(puts.values()), None, typing(puts["number"].as_given)) == [True]
    assert len(store().answers()) == 1


def test_a_right_guess_comes_back_as_if_it_had_been_missed(puts, capsys):
    right = puts["choice"].right
    typed = [letters(puts["choice"], [right]) + "?", puts["number"].as_given + " ?"]
    assert terminal.sit([puts["choice"], puts["number"]], "review", typing(*typed)) == [True, True]
    assert [(row["correct"], row["rating"], row["details"]["guessed"]) for row in store().answers()] == [
        (True, 1, True)
    ] * 2
    assert capsys.readouterr().out.count("A guess: it comes back soon.") == 2


def test_what_is_wrong_is_said_once_and_the_right_option_has_its_letter(puts, capsys):
    choice, match, blanks = puts["choice"], puts["match"], puts["blanks"]
    first, second, third = match.right
    typed = ["B", letters(match, [second, first, third]), "padded", "-100"]
    assert terminal.sit([choice, match, blanks], None, typing(*typed)) == [False] * 3
    said = capsys.readouterr().out
    assert "A. The prompt takes a share" in said.split("Not right")[1]
    assert said.count("Causal attention forbids it.") == 1 and "Not C. The tokenizer" in said
    assert f"Wrong: 1 with {letters(match, [second])}, 2 with {letters(match, [first])}." in said
    assert said.count("Nothing ever asked for it.") == 1
    assert "Wrong: blank 1." in said and "(1) ignored." in said


def missed(questions, days=9):
    for question in questions:
        time = datetime.now(UTC) - timedelta(days=days)
        store().add_answer(question.id, place="after", correct=False, rating=1, seconds=1, time=time)


def test_review_asks_what_is_due_with_new_numbers_and_then_it_is_not_due(all_kinds, monkeypatch, capsys):
    missed(all_kinds)
    first, second = review.due(10), review.due(10)
    assert {each.question.id for each in first} == {question.id for question in all_kinds}
    assert any(a.drawn != b.drawn or a.order != b.order for a, b in zip(first, second))
    monkeypatch.setattr("builtins.input", lambda prompt: "1" if "how well" in prompt else "")
    assert main(["review", "--limit", "4", "--json"]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert said["asked"] == 4 and said["due"][0] == 2 and sum(said["due"]) == 6
    assert {row["place"] for row in store().answers()[-4:]} == {"review"}
    assert len(review.due(10)) == 2


def test_one_question_is_due_and_more_are(all_kinds, monkeypatch, capsys):
    monkeypatch.setattr("builtins.input", typing())
    for count, said in ((1, "1 question is due."), (3, "3 questions are due.")):
        missed(all_kinds[:count])
        assert main(["review"]) == 0 and capsys.readouterr().out.startswith(said)


def test_with_nothing_answered_review_says_so(all_kinds, capsys):
    assert main(["review", "--forecast"]) == 0
    assert "No question has been answered yet" in capsys.readouterr().out
    lk.review()
    assert "No question has been answered yet" in capsys.readouterr().out


def test_a_clock_that_was_wrong_is_said_in_one_line(all_kinds, capsys):
    missed(all_kinds[:1], days=-4000)
    assert main(["review", "--forecast"]) == 0
    assert "1 answers are dated in the future" in capsys.readouterr().out
    assert len(store().answers()) == 1


def test_the_figures_carry_their_numbers_in_words(all_kinds, monkeypatch):
    told = []
    monkeypatch.setattr("labkit.plots.show", lambda figure, alt: told.append(alt))
    missed(all_kinds)
    missed(all_kinds[:2], days=2)
    review.draw()
    assert told[0].startswith("6 questions are due today, 0 in the 13 days after")
    assert "0 of 2 answers were recalled" in told[1]


def test_take_asks_a_labs_questions(all_kinds, monkeypatch, capsys):
    monkeypatch.setattr(banks, "bank_of", lambda lab: banks.shipped()[0])
    monkeypatch.setattr("builtins.input", typing())
    assert main(["quiz", "take", "masking", "--when", "during", "--json"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("4 questions") and json.loads(said[-1]) == {"lab": "masking", "asked": 0, "right": 0}


@pytest.mark.parametrize("arguments", [
    ["quiz", "take", "nonsense"], ["quiz", "lint", "nowhere.yaml"], ["review", "--limit", "0"],
    ["review", "--limit", "-3"],
])  # fmt: skip
def test_what_there_is_not_is_one_line(arguments, monkeypatch, capsys):
    monkeypatch.undo()
    assert main(arguments) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_question_that_left_the_banks_is_not_asked(all_kinds):
    missed([put(all_kinds[0]).question.model_copy(update={"id": "masking.gone"})])
    assert review.due(10) == [] and "Nothing is due" in "\n".join(review.outlook())
