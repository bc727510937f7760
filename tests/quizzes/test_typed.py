"""What people really type, each judged as a person would judge it: right, wrong, or asked again."""

import pytest

from labkit.quizzes.answers import Put, check
from labkit.quizzes.banks import QUESTION
from labkit.quizzes.typed import read_letters

LOSS, RATIO, COUNT = ("in nats?", "nats"), ("How many times as long is it?", ""), ("How many parameters is that?", "")
GB, SHARE, PERCENT = ("How many GB is that?", "GB"), ("What share is padding?", ""), ("What percentage?", "%")
STEPS, POINTS = ("How many steps is that?", "steps"), ("How wide is it, in points?", "points")

RIGHT = {  # (question and unit, its answer): what is right
    (LOSS, 0.2231): """0.2231 | .2231 | 0,2231 | 0.223 | 0.22 nats | 0.223 nat | 0.223 Nats. | ≈0.223 | ~ 0.223 | about 0.223
        about 0.22 nats | = 0.223 | +0.223 | L = 0.223 | loss: 0.223 | 2.23e-1 | 2.23E-01 | 22.3e-2 | 2.23·10^-1
        2.23 x 10^-1 | 2.23×10⁻¹ | 2.23*10**-1 | -ln 0.8 | −ln(0.8) | - ln 0.8 | -log(0.8) | ln(1/0.8) | -ln 0.8 = 0.223
        ln 1.25 | 0.223 nats per token | 0.223 nats/token | `0.223` | $0.223$ | roughly 0.223 | it's 0.223 | approx. 0.223""",
    (LOSS, 7.6246): "ln 2048 | ln(2048) | ln 2,048 | log(2048) | Ln 2048 | 7.62 | 7,62 | 11*ln 2 | ln(2^11)",
    (LOSS, 1.613): "1.613 | 1,613 | 1.61 | 1,61 nats",
    (LOSS, -0.2): "-0.2 | −0.2 | – 0.2 | - 0.2 nats | minus 0.2 | negative 0.2 | -1/5 | -.2",
    (RATIO, 7): """7 | 7x | 7 x | 7× | x7 | ×7 | 7 times | 7 times as long | 7-fold | 7 fold | seven | about seven | seven times
        Seven | 7:1 | ~7 | 280/40 | (40 + 4 * 60) / 40 | 7.0 | 14/2 | about 7x""",
    (RATIO, 25): "25 | twenty-five | twenty five times | 25x | 5^2 | 5**2 | √625 | sqrt(625) | sqrt 625 | 100/4",
    (COUNT, 40960): """40960 | 40,960 | 40 960 | 40'960 | 40_960 | 40,960 params | 40960 parameters | 40.96k | 40.96K | 40.96 thousand
        8*(4096+1024) | 8(4096+1024) | 8 × 5120 | 8 x 5,120 | 4.096e4 | 0.04096M | 40.96k params""",
    (COUNT, 1.2e9): "1.2B | 1.2b params | 1.2 billion | 1.2 billion parameters | 1,200,000,000 | 1.2e9 | 1.2 bn | 1200M | 1200 million",
    (GB, 3.5): "3.5 | 3.5 GB | 3.5GB | 3,5 GB | 3500 MB | 3.5 gigabytes | 3.5 G | 3.5e9 bytes | 3.26 GiB | 7/2 GB | about 3.5 gb",
    (SHARE, 0.25): """0.25 | .25 | 0,25 | 1/4 | 25% | 25 % | 25 percent | 25 per cent | a quarter | one quarter | quarter | ¼ | 1 in 4
        1 out of 4 | 2 of 8 | 1:4 | 25 pct | 2.5e-1 | 1 - 3/4 | 1-0.75""",
    (SHARE, 2 / 3): "2/3 | two thirds | ⅔ | 0.67 | 66.7% | 0.667",
    (PERCENT, 12.5): "12.5 | 12.5% | 12,5 % | 12.5 percent | 12.5 per cent | 1/8 * 100",
    (STEPS, 600): "600 | 600 steps | 600 step | six hundred | 9600/32*2 | 0.6k | 0.6k steps | 600 updates",
    (POINTS, 1.24): "1.24 | 1.24 points | 1.24 pp | 1.24% | 1.24 percentage points",
    (("What is the rate?", ""), 1.5e-4): "1.5e-4 | 1.5e−4 | 1.5E-04 | 15e-5 | 0.00015 | 1.5 x 10^-4 | 1.5·10⁻⁴ | 1.5*10^(-4) | 1.5 e-4",
}  # fmt: skip
WRONG = {
    (LOSS, 0.2231): "0.3 | -0.223 | 0.322 | 22 | ln 0.8 | about 0.5",
    (RATIO, 7): "6x | eight | 8 times | 6:1 | 17",
    (COUNT, 40960): "39k | 32768 | 40,960k | 4096 params",
    (GB, 3.5): "3.5 MB | 35 GB | 7",
    (SHARE, 0.25): "4 | 75% | 1 in 3 | three quarters | 2/4",
}
AGAIN = {
    (LOSS, 0.2231): " | x | nats | no idea | ? | 0.2 | 0.2 nats | 0.223 bits | 0.2.3 | 1e999 | 1/0 | --2 | <b>0.223</b> | ln | > 0.2",
    (RATIO, 7): "7 to 8 | many | 7 GB | 7 apples | 6-8 or so | seventy seven apples",
    (COUNT, 40960): "40,960 GB | 0x10 | 1;2 | __import__('os') | 9999 ** 9999 ** 9999 | a lot of params",
    (GB, 3.5): "3.5 B of memory | 3.5 nats | a few GB | 3.5 Gbit",
    (SHARE, 0.25): "1/0 | a part | one in | 25 points",
}  # fmt: skip


def cases(table):
    for (question, wanted), typed in table.items():
        for line in typed.splitlines():
            for each in line.split(" | "):
                yield question, wanted, each.strip()


def judged(question, wanted, typed):
    text, unit = question
    made = QUESTION.validate_python({
        "id": "data.typed", "lab": "data", "segment": "quality", "objective": "FRI-2.1", "kind": "number", "when": "after",
        "level": "apply", "text": text, "answer": wanted, "tolerance": "2%", "unit": unit, "rationale": "So.",
        "mistakes": [{"answer": n, "name": f"m{n}", "why": "No."} for n in (1000.5, 2000.5)],
    })  # fmt: skip
    verdict = check(Put(made, {}, ()), typed)
    return "again" if verdict.problem else "right" if verdict.right else "wrong"


@pytest.mark.parametrize("expected, table", [("right", RIGHT), ("wrong", WRONG), ("again", AGAIN)])
def test_what_people_type_is_judged_as_a_person_would(expected, table):
    missed = {f"{typed!r} for {wanted}": found for question, wanted, typed in cases(table)
              if (found := judged(question, wanted, typed)) != expected}  # fmt: skip
    assert not missed


def test_the_table_is_long_enough():
    assert sum(len(list(cases(table))) for table in (RIGHT, WRONG, AGAIN)) + len(FORMULAS) + len(LETTERS) >= 150


FORMULAS = [
    ("BAx", "right"), ("(BA)x", "right"), ("B@A@x", "right"), ("B A x", "right"), ("B·A·x", "right"), ("B*A*x", "right"),
    ("B(Ax)", "right"), ("B (A x)", "right"), ("`B @ A @ x`", "right"), ("bax", "right"), ("ABx", "wrong"), ("Ax", "wrong"),
    ("BA", "wrong"), ("BAAx", "wrong"), ("xBA", "wrong"),
]  # fmt: skip
WORDS = [
    ("ignored", "right"), ("Ignored.", "right"), ("left out", "right"), ("left-out", "right"), ("the ignored", "right"),
    ("“ignored”", "right"), ("ignorred", "again"), ("ignord", "again"), ("", "again"), ("unignored", "wrong"), ("masked", "wrong"), ("counted", "wrong"),
]  # fmt: skip


@pytest.mark.parametrize("accepted, table", [("BAx", FORMULAS), ("ignored", WORDS)])
def test_words_and_formulas_are_taken_as_they_are_written(accepted, table):
    made = QUESTION.validate_python({
        "id": "lora.typed", "lab": "lora", "segment": "update", "objective": "FRI-2.4", "kind": "blanks", "when": "after",
        "level": "apply", "text": "It is [[it]].", "answer": {"it": {"accept": [accepted, "left out"], "why": "So."}},
        "rationale": "So.",
    })  # fmt: skip
    for typed, expected in table:
        verdict = check(Put(made, {}, ()), {"it": typed})
        assert ("again" if verdict.problem else "right" if verdict.right else "wrong") == expected, typed


LETTERS = [
    ("b", 1, [1]), ("(B)", 1, [1]), ("B)", 1, [1]), ("option B", 1, [1]), ("Answer: b.", 1, [1]), ("E", 1, None), ("AB", 1, None),
    ("ACB", 3, [0, 2, 1]), ("A-C-B", 3, [0, 2, 1]), ("a, c, b", 3, [0, 2, 1]), ("A > C > B", 3, [0, 2, 1]),
    ("a → c → b", 3, [0, 2, 1]), ("1A 2C 3B", 3, [0, 2, 1]), ("1-A, 3-B, 2-C", 3, [0, 2, 1]), ("1: a; 2: c; 3: b", 3, [0, 2, 1]),
    ("1. A\n2. C\n3. B", 3, [0, 2, 1]), ("1A 2C", 3, None), ("1A 1C 3B", 3, None), ("A C", 3, None), ("", 1, None),
]  # fmt: skip


def test_letters_are_read_with_whatever_stands_between_them():
    for typed, count, expected in LETTERS:
        assert read_letters(typed, "ABC", count) == expected, typed
