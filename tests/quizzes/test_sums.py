"""Sums in prose are worked out again: a wrong one is named, a right one and whatever is no sum are left alone."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.quizzes.sums import wrong_sums


@pytest.mark.parametrize("text", [
    "2 × 8 + 1 = 17, so 17 rows.", "(40 + 4 × 60) / 40 = 7.0, anew",
    "−ln 0.1 + ln 0.4 = 1.39", "16/√64 = 2, where",
    "1,024 − 256 = 768", "1 − (1 − 0.237)^10 = 0.933.", "1 − (1 − 0.031)²⁰ = 0.47",
    "2 · 16 · 192 / 192² = 32/192 = 16.67%.",
    "2e-4 × 0.2 = 4.0e-05.", "0.6 − 1 = −0.40. It is negative", "exp (−0.3) = 0.74",
    "(0.693 + 1.386 + 0.223) / 3 = 0.768: three",
])  # fmt: skip
def test_what_comes_out_is_not_named(text):
    assert list(wrong_sums(text)) == []


@pytest.mark.parametrize("text, named", [
    ("so 2 × 8 + 1 = 16 rows", "2 × 8 + 1 = 16"), ("−ln 0.8 = 0.32 nats", "−ln 0.8 = 0.32"),
    ("ln 32,000 = 10.47.", "ln 32,000 = 10.47"), ("it is 0.6 − 1 = 0.40.", "0.6 − 1 = 0.40"),
    ("half: 32/192 = 0.17%", "32/192 = 0.17%"),
    ("that is (1 − 0.5)² = 0.5!", "(1 − 0.5)² = 0.5"),
    ("1,000 / 3 = 334", "1,000 / 3 = 334"), ("exp(0) = 0 at first", "exp(0) = 0"),
])  # fmt: skip
def test_what_does_not_come_out_is_named(text, named):
    assert list(wrong_sums(text)) == [named]


@pytest.mark.parametrize("text", [
    "At p = 0.9 it is so", "J(A, B) = 0.81", "1024 − 256 bytes − 3 special ones = 765", "50 × 12 ms / 30 ms = 20",
    "ln V = 7.62", "2(1 − p) = 0.60", "cos 60° = 0.5", "[i = y]", "x == 3", "version 1.2 = 3", "(1 + cos(π/2))/2 = 1/2",
    "A 3 × 3 = 9x9 grid",
])  # fmt: skip
def test_what_is_no_sum_is_left_alone(text):
    assert list(wrong_sums(text)) == []


@given(st.integers(1, 99_999), st.integers(1, 99_999), st.sampled_from("+−×"))
def test_any_sum_is_told_from_one_that_is_off(a, b, sign):
    value = {"+": a + b, "−": a - b, "×": a * b}[sign]
    for number in (f"{value}", f"{value:,}"):
        assert list(wrong_sums(f"So {a:,} {sign} {b} = {number}.".replace("= -", "= −"))) == []
    assert list(wrong_sums(f"So {a} {sign} {b} = {value + 2}."))


@given(st.text("0123456789.,+-−×·/^()√ln exp=%²", max_size=40))
def test_whatever_is_written_does_not_break_it(text):
    assert all(math.isfinite(len(named)) for named in wrong_sums(text))
