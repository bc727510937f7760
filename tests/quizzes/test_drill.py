"""Drawn problems about one token: each mistake has a name, and there is always another."""

import math

import pytest

from labkit.progress import store
from labkit.quizzes import drill
from labkit.quizzes.answers import check, put
from labkit.quizzes.lint import draws_of


@pytest.mark.parametrize("question", drill.questions(), ids=lambda question: question.id)
def test_every_draw_takes_its_answer_and_names_its_mistakes(question):
    for drawn in draws_of(question):
        assert check(drawn, f"{drawn.right:.3f}").right
        for wrong in ("99", f"{drawn.right / math.log(2):.3f}"):
            assert not check(drawn, wrong).right
    first = put(question)
    for mistake in question.mistakes:
        from labkit.quizzes.expressions import evaluate

        verdict = check(first, f"{evaluate(mistake.answer, first.drawn):.4f}")
        assert not verdict.right and any(mistake.name.lower() in reason.lower() for reason in verdict.reasons)


def test_without_a_kernel_the_problems_are_printed_with_their_answers(capsys):
    drill.drill()
    said = capsys.readouterr().out
    assert said.count("nats") >= 3 and "Answers" in said and "Another" not in said


def test_another_problem_comes_for_a_press_and_nothing_is_kept():
    before = len(list(store().answers()))
    box = drill.box()
    _, place, another = box.children
    first = place.children[0].children[0].value
    field = place.children[0].children[1]
    field.value = "12345"
    place.children[0].children[-1].children[0].click()  # Check
    assert "Not right" in place.children[0].children[-1].value
    another.click()
    assert place.children[0].children[0].value != first and "Problem 2" in place.children[0].children[0].value
    assert len(list(store().answers())) == before
