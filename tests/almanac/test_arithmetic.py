"""Every step of a worked sum is true, and the last line is the sum."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.almanac.arithmetic import add, multiply, subtract


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


@given(st.lists(st.integers(0, 9999), min_size=2, max_size=2).map(sorted))
def test_subtraction(numbers):
    b, a = numbers
    text = subtract(a, b)
    assert text.endswith(f" {b} from {a} is {a - b}.") and steps_hold(text)
    columns = text.removesuffix(f" {b} from {a} is {a - b}.")
    for taken, top, rest in re.findall(r"(\d+) from (\d+) is (\d+)", columns):
        assert int(top) - int(taken) == int(rest) < 10
    written = re.findall(r"write (\d)", columns)
    assert len(written) == len(str(a)) and int("".join(written[::-1])) == a - b
    pays = ["borrow" in column for column in columns.split("write")[1:]]
    assert ["plus 1" in column for column in columns.split("write")[1:]] == pays  # who borrowed pays at once
    assert not pays[-1]


@given(st.integers(0, 99), st.integers(1, 99))
def test_nothing_is_taken_from_less(a, more):
    with pytest.raises(ValueError, match="cannot be taken"):
        subtract(a, a + more)


def test_by_hand():
    assert add(14, 9) == "4 plus 9 is 13, write 3, carry 1. 1 plus 1 is 2, write 2. 14 plus 9 is 23."
    assert subtract(63, 28) == (
        "8 from 13 is 5, write 5, borrow 1. 2 plus 1 is 3. 3 from 6 is 3, write 3. 28 from 63 is 35."
    )
    assert (
        multiply(17, 3) == "7 times 3 is 21, write 1, carry 2. 1 times 3 is 3, plus 2 is 5, write 5. 17 times 3 is 51."
    )


def test_two_ways_to_add_wrongly():
    assert add(58, 7, carries=False) == "8 plus 7 is 15, write 5. 5, write 5. 58 plus 7 is 55."
    assert add(12, 34, slip=(1, 2)) == "2 plus 4 is 6, write 6. 1 plus 3 is 6, write 6. 12 plus 34 is 66."
    assert add(25, 34, slip=(0, 2)).endswith("write 1, carry 1. 2 plus 3 plus 1 is 6, write 6. 25 plus 34 is 61.")
