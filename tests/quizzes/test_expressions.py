"""Expressions: arithmetic over what is drawn, and no way to anything else."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.quizzes.expressions import evaluate, fill, names

NUMBERS = st.floats(0.01, 100, allow_nan=False)


@given(NUMBERS, NUMBERS)
def test_it_reckons_as_python_does(p, q):
    for expression, wanted in {
        "-log(p) + log2(q)": -math.log(p) + math.log2(q),
        "(p - 1) * q / 2 ** 3": (p - 1) * q / 8,
        "sqrt(p) + exp(-q) + min(p, q, 1) + max(p, q)": math.sqrt(p) + math.exp(-q) + min(p, q, 1) + max(p, q),
        "round(p, 1)": round(p, 1),
    }.items():
        assert evaluate(expression, {"p": p, "q": q}) == pytest.approx(wanted)


@pytest.mark.parametrize("expression", [
    "__import__('os').system('true')", "p.real", "(1).__class__", "[p]", "p if p else 1", "lambda: p", "p == 1",
    "'a' * 9", "f'{p}'", "open(p)", "p[0]", "True", "p := 2", "log", "log(p, base=2)", "q", "", "1 +", "p; p",
    "9 ** 9 ** 9 ** 9",
    "1e400", "log(0)", "1 / 0", "sqrt(-1)", "(-8) ** 0.5", "(" * 150 + "p" + ")" * 150 + " " * 200,
    "log()", "round(p, p)", "𝐩.real",
])  # fmt: skip
def test_everything_else_is_refused_in_one_line(expression):
    with pytest.raises(ValueError) as caught:
        evaluate(expression, {"p": 0.5})
    assert "\n" not in str(caught.value)


@given(st.text(max_size=60))
def test_whatever_is_written_has_a_finite_value_or_is_refused(expression):
    try:
        assert math.isfinite(evaluate(expression, {"p": 0.5}))
    except ValueError:
        pass


def test_whole_numbers_stay_whole():
    assert repr(evaluate("2 ** 10 * n", {"n": 3})) == "3072"
    assert fill("{{2 ** 10 * n}}", {"n": 3}) == "3072"


def test_a_text_is_filled_in_the_format_that_it_asks_for():
    drawn = {"p": 0.8, "n": 40_000}
    assert fill("{{p}}, {{1 - p}}, {{-log(p):.2f}}, {{n}}, {{n / 3:d}}, {{n:,d}}", drawn) == (
        "0.8, 0.2, 0.22, 40,000, 13333, 40,000"
    )
    with pytest.raises(ValueError, match="'q' is not drawn"):
        fill("{{q}}", drawn)


def test_the_names_that_it_uses():
    assert names("-log(p) * n + max(1, 2)") == {"p", "n"}
    assert names(3) == set()
