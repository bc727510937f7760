"""Every step of a worked sum is true, and the last line is the sum."""

import re

from hypothesis import given
from hypothesis import strategies as st

from labkit.almanac.arithmetic import add, multiply


def steps_hold(text: str) -> bool:
    for terms, total in re.findall(r"([\d plus]*\d plus \d[\d plus]*) is (\d+)", text):
        if sum(map(int, terms.split(" plus "))) != int(total):
            return False
    for a, b, product in re.findall(r"(\d+) times (\d+) is (\d+)", text):
        if int(a) * int(b) != int(product):
            return False
    return True


@given(st.integers(0, 9999), st.integers(0, 9999))
def test_addition(a, b):
    text = add(a, b)
    assert text.endswith(f" {a} plus {b} is {a + b}.") and steps_hold(text)
    written = re.findall(r"write (\d)", text)[::-1]
    carry = re.findall(r"The last carry is (\d)", text)
    assert int("".join(carry + written)) == a + b


@given(st.integers(1, 999), st.integers(2, 9))
def test_multiplication(a, digit):
    text = multiply(a, digit)
    assert text.endswith(f" {a} times {digit} is {a * digit}.") and steps_hold(text)
    assert (
        int("".join(re.findall(r"The last carry is (\d)", text) + re.findall(r"write (\d)", text)[::-1])) == a * digit
    )


def test_by_hand():
    assert add(14, 9) == "4 plus 9 is 13, write 3, carry 1. 1 plus 1 is 2, write 2. 14 plus 9 is 23."
    assert (
        multiply(17, 3) == "7 times 3 is 21, write 1, carry 2. 1 times 3 is 3, plus 2 is 5, write 5. 17 times 3 is 51."
    )
