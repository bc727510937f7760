"""Arithmetic worked digit by digit, as a text. One idea: a sum is a text.

`add` and `multiply` are what the almanac's school pages write. `subtract` is on no page: the base has to learn it.
"""

from __future__ import annotations


def add(a: int, b: int, carries: bool = True, slip: tuple[int, int] | None = None) -> str:
    """The written addition of two non-negative numbers: every column, its digit, its carry, and the result.

    Two ways to go wrong: without `carries` nothing is carried, in any column; with `slip` = (column, counted from the
    right; by how much) one column's total is wrong, and everything else follows from it.
    """
    steps: list[str] = []
    digits: list[int] = []
    carry, x, y = 0, a, b
    while x or y or not steps:
        dx, dy = x % 10, y % 10
        said = " plus ".join(
            str(d) for d in ([dx] if x or not y else []) + ([dy] if y or not x else []) + ([carry] if carry else [])
        )
        total = dx + dy + carry
        if slip is not None and slip[0] == len(steps):
            total += slip[1]
        carry = total // 10 if carries else 0
        steps.append(
            (f"{said} is {total}, " if " plus " in said else f"{total}, ")
            + f"write {total % 10}"
            + (f", carry {carry}" if carry else "")
        )
        digits.append(total % 10)
        x, y = x // 10, y // 10
    if carry:
        steps.append(f"The last carry is {carry}")
    result = sum(digit * 10**place for place, digit in enumerate([*digits, carry]))
    return ". ".join(steps) + f". {a} plus {b} is {result}."


def multiply(a: int, digit: int) -> str:
    """The written product of a number and one digit (2 to 9)."""
    steps, carry, x = [], 0, a
    while x:
        d = x % 10
        product = d * digit
        text = f"{d} times {digit} is {product}" + (f", plus {carry} is {product + carry}" if carry else "")
        total = product + carry
        steps.append(f"{text}, write {total % 10}" + (f", carry {total // 10}" if total > 9 else ""))
        carry, x = total // 10, x // 10
    if carry:
        steps.append(f"The last carry is {carry}")
    return ". ".join(steps) + f". {a} times {digit} is {a * digit}."


def subtract(a: int, b: int) -> str:
    """The written subtraction of `b` from `a`: every column, its digit, what it borrows, and the result.

    A column that borrowed takes one more from the next column. Raises `ValueError` unless 0 <= b <= a.
    """
    if not 0 <= b <= a:
        raise ValueError(f"{b} cannot be taken from {a}")
    steps: list[str] = []
    borrow, x, y = 0, a, b
    while x or not steps:
        top, taken = x % 10, y % 10 + borrow
        said = f"{y % 10} plus 1 is {taken}. " if borrow else ""
        borrow = int(taken > top)
        top += 10 * borrow
        steps.append(
            f"{said}{taken} from {top} is {top - taken}, write {top - taken}" + (", borrow 1" if borrow else "")
        )
        x, y = x // 10, y // 10
    return ". ".join(steps) + f". {b} from {a} is {a - b}."
