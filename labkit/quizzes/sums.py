"""Sums written out in prose, such as `2 × 8 + 1 = 17`, recalculated. A number that was typed where it should have been
computed is right on one draw and wrong on the next.

Only what is plainly arithmetic is judged: a stretch of numbers, signs, `ln`, `exp` and `√` on the left of an equals
sign, a number on its right. Whatever contains a word or a letter is ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from labkit.quizzes.expressions import evaluate

NUMBER = r"(?>\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?(?:e[-−]?\d+)?)"
SUM = re.compile(  # nothing is given back (`(?>`, `++`), so the time grows at most with the square of the text's length
    rf"(?<![\w.,%°])((?:{NUMBER}|ln\b|exp\b|[-+−×·/^()√⁰¹²³⁴⁵⁶⁷⁸⁹ ])++)"
    rf"(?==\s*+([-−]?{NUMBER})(?!\w|,\w|\s*[-+−×·/^(])(%?))"
)
RAISED = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹]+")
DIGITS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")
HALF, MORE = 0.500001, 1.5  # units of the last place: of a rounded result; where it is worked out from rounded numbers


def wrong_sums(text: str) -> Iterator[str]:
    """The sums that are not correct, each as it is written in the text (plain text, its numbers filled in)."""
    for left, right, percent in SUM.findall(text):
        try:
            value = evaluate(_expression(left), {})
        except ValueError:  # a stretch of something else
            continue
        said = right.replace("−", "-").replace(",", "")
        room = MORE if "." in left and "." in said else HALF
        if abs(value * (100 if percent else 1) - float(said)) > room * _last_place(said):
            yield f"{left.strip()} = {right}{percent}"


def _expression(written: str) -> str:
    """A stretch of arithmetic as an expression of the banks. Raises `ValueError` if it continues from a word."""
    written = written.strip()
    if re.match(r"[+×·/^)]|[-−] ", written) or not re.search(r"\d.*[-+−×·/^⁰¹²³⁴⁵⁶⁷⁸⁹]|ln|exp|√", written):
        raise ValueError("no sum")
    text = re.sub(r"(?<=\d),(?=\d{3})", "", written).replace("−", "-").replace("·", "*").replace("×", "*")
    text = RAISED.sub(lambda power: f"**{power[0].translate(DIGITS)}", text).replace("^", "**")
    return re.sub(r"(ln|√) *(\(|[\d.]+)", _function, text)


def _function(found: re.Match) -> str:
    name = {"ln": "log", "√": "sqrt"}[found[1]]
    return f"{name}(" if found[2] == "(" else f"{name}({found[2]})"


def _last_place(number: str) -> float:
    """The value of one unit in the last place of a number: 0.01 for 1.25, 0.001 for 2.5e-2."""
    digits, _, power = number.partition("e")
    return 10.0 ** (int(power or 0) - len(digits.partition(".")[2]))
