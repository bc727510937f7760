"""Answers as people give them: read, judged within the tolerance, and answered by the mistake's name."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.quizzes.answers import Put, check, near, put
from labkit.quizzes.typed import read_number


@pytest.mark.parametrize("typed, value", [
    ("0.22", 0.22), (".22", 0.22), ("0,22", 0.22), (" 0.22 ", 0.22), ("2e-1", 0.2), ("2E-1", 0.2), ("2·10^-1", 0.2),
    ("2*10**-1", 0.2), ("2 x 10^-1", 0.2), ("2×10⁻¹", 0.2), ("22%", 0.22), ("22 %", 0.22), ("22 percent", 0.22),
    ("-0.2 nats", -0.2), ("−0.2 nats", -0.2), ("- 0.2", -0.2), ("+0.2 nat", 0.2), ("0.2 Nats.", 0.2), ("≈0.22", 0.22),
    ("= 0.22", 0.22), ("1/4", 0.25), ("-1/4", -0.25), ("12345", 12345), ("12,345", 12345), ("12 345", 12345),
    ("1,234,567.5", 1234567.5), ("0,345", 0.345), ("-0,345", -0.345), ("3.", 3),
])  # fmt: skip
def test_numbers_are_read_as_people_type_them(typed, value):
    assert read_number(typed, "nats") == (pytest.approx(value), "")


@pytest.mark.parametrize("typed", [
    "", " ", "x", "nats", "nan", "inf", "-inf", "1e999", "1e9999", "1/0", "0.2 bits", "--2", "0.2.3", "1e",
    "0x10", "1_000_x", "<b>1</b>", "9" * 100, "__import__('os')", "1;2",
])  # fmt: skip
def test_what_is_no_number_in_this_unit_is_answered_in_words(typed):
    value, problem = read_number(typed, "nats")
    assert math.isnan(value) and problem.endswith(".") and "\n" not in problem


@given(st.text(max_size=30))
def test_whatever_is_typed_is_a_finite_number_or_answered(typed):
    value, problem = read_number(typed, "GB")
    assert math.isfinite(value) != bool(problem)


@given(st.floats(-1e9, 1e9, allow_nan=False))
def test_a_number_that_is_printed_is_read(value):
    for text in (repr(value), f"{value:e}", f"{value:,.3f}", f"{value:.3f} GB"):
        assert read_number(text, "GB")[0] == pytest.approx(value, rel=1e-5, abs=1e-3)


def test_percent_and_bytes_are_taken_in_their_unit():
    assert read_number("22%", "%") == (22, "") == read_number("22", "%")
    assert read_number("3500 MB", "GB") == (3.5, "")
    assert read_number("2 GiB", "GB") == (pytest.approx(2.147483648), "")
    assert "in GB" in read_number("22%s", "GB")[1]


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_a_tolerance_is_absolute_or_a_share(value, wanted):
    assert near(wanted, wanted, 0) and near(wanted, wanted, "0%")
    assert near(value, wanted, 10) == (abs(value - wanted) <= 10) or abs(abs(value - wanted) - 10) < 1e-2
    assert near(wanted * 1.019, wanted, "2%")
    assert wanted == 0 or abs(wanted) < 1e-300 or not near(wanted * 1.021, wanted, "2%")


@pytest.mark.parametrize("typed, said", [
    ("-0.223", "Wrong sign. A logarithm of a probability"),  # the bank's own words come first
    ("-0.2", "Wrong sign. The size is right"),
    ("0.322", "Log2. That is in bits"),
    ("0.0969", "Log10."),
    ("22.3", "Percent. It is a hundred times too large"),
    ("0.00223", "Percent. It is a hundred times too small"),
    ("0.5", "It is too high."),
    ("0.15", "It is too low."),
])  # fmt: skip
def test_a_mistake_is_answered_by_its_name(questions, typed, said):
    verdict = check(Put(questions["number"], {"p": 0.8}, ()), typed)
    assert not verdict.right and not verdict.problem and verdict.reasons[0].startswith(said)


def test_a_number_that_was_rounded_too_far_does_not_count_yet(questions):
    asked = Put(questions["number"], {"p": 0.8}, ())
    assert "one more digit" in check(asked, "0.2").problem
    for right in ("0.22", "0.223", "22%", "0.2231 nats", "0,22"):
        assert check(asked, right).right
    for wrong in ("0.3", "0.20001", "0"):
        assert not check(asked, wrong).right and not check(asked, wrong).problem


def test_a_choice_is_answered_by_what_is_wrong_about_it(puts):
    asked = puts["choice"]
    assert check(asked, asked.right).right
    verdict = check(asked, asked.offered[1])
    assert not verdict.right and verdict.reasons == ("Causal attention forbids it.",)
    assert check(asked, None).problem and check(asked, "something else").problem


def test_a_match_says_which_pairs_are_wrong(puts):
    asked = puts["match"]
    assert check(asked, asked.right).right
    first, second, third = asked.right
    verdict = check(asked, [second, first, third])
    assert verdict.parts == (False, False, True)
    assert [reason.split("”")[0] for reason in verdict.reasons] == [
        "Not “It never stops",
        "Not “It repeats the question",
    ]
    assert second in verdict.reasons[0]
    assert check(asked, [first, None, third]).problem


def test_an_order_says_what_comes_before_what(puts):
    asked = puts["order"]
    assert check(asked, asked.right).right
    a, b, c, d = asked.right
    assert check(asked, [a, c, b, d]).reasons == (f"“{b}” comes before “{c}”.",)
    assert check(asked, [a, a, b, c]).problem and check(asked, [a, b, c, None]).problem


def test_blanks_take_words_whatever_their_case_and_numbers_within_the_tolerance(puts):
    asked = puts["blanks"]
    for word in ("ignored", " IGNORED ", "left out", "Left-Out", "leftout"):
        for number in ("-100", "−100", "-1e2"):
            assert check(asked, {"word": word, "number": number}).right
    verdict = check(asked, {"word": "padded", "number": "100"})
    assert verdict.parts == (False, False) and verdict.reasons[0].startswith("Blank 1: ")
    assert "blank 2" in check(asked, {"word": "ignored"}).problem
    assert "Blank 2" in check(asked, {"word": "ignored", "number": "many"}).problem


def test_a_seed_gives_the_same_question_and_another_seed_another(questions):
    for kind, question in questions.items():
        assert put(question, "a") == put(question, "a")
        asked = [put(question, str(seed)) for seed in range(300)]
        drawn = {(tuple(each.drawn.values()), each.order) for each in asked}
        if kind == "number":
            assert len(drawn) > 100
        else:
            assert len(drawn) == {"choice": 6, "match": 6, "order": 23}.get(kind, 1), kind


def test_an_order_is_never_put_in_its_right_order(questions):
    for seed in (None, *map(str, range(200))):
        asked = put(questions["order"], seed)
        assert list(asked.offered) != asked.right
