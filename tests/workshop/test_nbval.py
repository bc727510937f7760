"""The tolerance for notebook outputs: its rules one by one, and then in nbval itself, on a notebook with one cell for
each trap.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.workshop.nbval import Tolerance, difference

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
TWO_PERCENT = Tolerance(rtol=0.02)


def same(found, reference, tolerance=TWO_PERCENT):
    return difference(found, reference, tolerance) is None


@pytest.mark.parametrize("found, reference", [
    ("loss 2.04", "loss 2.00"),  # at the edge
    ("0.98", "0.97"),  # one unit of the last place, more than 2%
    ("0.96", "0.97"),
    ("1.1e-3", "1.0e-3"),
    ("-1.01", "-1.00"),
    ("−1.01", "−1.00"),
    ("[1. 2. 0.505]", "[1. 2. 0.500]"),
    ("nan and inf and -inf", "nan and inf and -inf"),
    ("97.9%", "97.0%"),
    ("no number", "no number"),
])  # fmt: skip
def test_near_enough(found, reference):
    assert same(found, reference)


@pytest.mark.parametrize("found, reference", [
    ("2.0401", "2.0000"),  # beyond the edge
    ("0.00", "0.97"),
    ("0", "0.97"), ("0.97", "1"), ("1", "1.0"),
    ("1e999", "1.00"), ("1.00", "1e999"), ("1e999", "1e999"), ("-1e999", "1e999"),  # no way round infinity
    ("nan", "1.00"), ("1.00", "nan"), ("inf", "1.00"), ("inf", "nan"), ("-inf", "inf"), ("nan", "inf"),
    ("-1.00", "1.00"), ("−1.00", "1.00"),
    ("step 101", "step 100"), ("100.", "101."), ("It is 3.", "It is 4."),  # integers are exact, before a full stop too
    ("[2. 3.]", "[1. 3.]"),
    ("2026-11-23", "2026-11-24"),
    ("loss: 1.00", "loss 1.00"), ("1.00 1.00", "1.00"), ("", "1.00"), ("1.00\n", "1.00"),
    ("1.00 nats", "1.00 bits"),
    ("9.0", "0.9"), ("9e0", "9e1"),
    ("1.00" + "0" * 5000 + "1e9", "1.00"),
])  # fmt: skip
def test_too_far(found, reference):
    assert not same(found, reference)


def test_integers_are_loose_only_on_request_and_without_a_free_unit():
    loose = Tolerance(rtol=0.02, ints=True)
    assert same("1010 tokens", "1000 tokens", loose)
    assert not same("1021 tokens", "1000 tokens", loose)
    assert not same("4 towns", "3 towns", loose)
    assert not same("9" * 5000, "1000", loose)
    assert same("4 towns", "3 towns", Tolerance(atol=1, ints=True))


def test_atol_alone():
    assert same("0.0009", "-0.0001", Tolerance(atol=0.001))
    assert not same("0.0011", "-0.0001", Tolerance(atol=0.001))


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False))
def test_two_printed_floats_agree_if_they_are_within_the_tolerance(found, reference):
    text = repr(reference)
    decimals = len(text.partition("e")[0].partition(".")[2])
    unit = 10.0 ** (int(text.partition("e")[2] or 0) - decimals) if decimals else 0.0
    distance, widest = abs(found - reference), max(0.02 * abs(reference), unit)
    if "." not in repr(found) and "e" not in repr(found) or abs(distance - widest) < 1e-9 * widest:
        return  # on the very edge floats decide otherwise than decimals
    assert same(repr(found), text) == (distance <= widest)


@pytest.mark.parametrize("wrong", [
    {"rtol": 0.11}, {"rtol": -0.1}, {"rtol": "0.1"}, {"rtol": float("nan")}, {"rtol": True}, {"rtol": None},
    {"atol": float("inf")}, {"ints": 1},
])  # fmt: skip
def test_what_is_no_tolerance_is_refused(wrong):
    with pytest.raises(ValueError, match="labkit"):
        Tolerance.of({"metadata": {"labkit": wrong}})


@pytest.mark.parametrize("metadata", [{}, {"labkit": {}}, {"labkit": {"exercise": "data.jaccard"}}, {"labkit": 3}])
def test_a_cell_that_asks_for_none_gets_none(metadata):
    assert Tolerance.of({"metadata": metadata}) is None


RTOL = {"labkit": {"rtol": 0.02}}
SHOW = "from IPython.display import display\ndisplay({'text/html': '<b>%s</b>'}, raw=True)"
HOME = "import os\nhome = os.environ['LABKIT_HOME']\nprint(os.listdir(home), home != '/precious')"
VERDICT = "share: within 0.9–1.0, as recorded\n"
CELLS = [  # (what it shows, metadata, source, stored output, does it pass?)
    ("stock, the same", {}, "print(0.97)", "0.97\n", True),
    ("stock, near", {}, "print(0.98)", "0.97\n", False),
    ("near", RTOL, "print('loss', 0.98)", "loss 0.97\n", True),
    ("far", RTOL, "print('loss', 0.90)", "loss 0.97\n", False),
    ("1e999", RTOL, "print('1e999')", "0.97\n", False),
    ("nan found", RTOL, "print(float('nan'))", "0.97\n", False),
    ("nan stored", RTOL, "print(0.97)", "nan\n", False),
    ("nan twice", RTOL, "print(float('nan'))", "nan\n", True),
    ("inf found", RTOL, "print(float('inf'))", "0.97\n", False),
    ("integer", RTOL, "print(101)", "100\n", False),
    ("loose integer", {"labkit": {"rtol": 0.02, "ints": True}}, "print(101)", "100\n", True),
    ("too wide", {"labkit": {"rtol": 0.5}}, "print(0.97)", "0.97\n", False),
    ("stderr", RTOL, "import sys; print(0.97); print('!', file=sys.stderr)", "0.97\n", False),
    ("more output", RTOL, "print(0.97); print(0.5)", "0.97\n", False),
    ("no output", RTOL, "pass", "0.97\n", False),
    ("near in HTML", RTOL, SHOW % "0.98", {"text/html": "<b>0.97</b>"}, True),
    ("far in HTML", RTOL, SHOW % "0.50", {"text/html": "<b>0.97</b>"}, False),
    ("ignored", {"tags": ["nbval-ignore-output"]}, "print(5)", "0.97\n", True),
    ("a live line", {}, "from labkit.live import Line\nline = Line()\nline.show('x', 0.5)\nprint(1)", "1\n", True),
    ("a verdict", {}, "import labkit as lk\nlk.measured('share', 0.951, 0.9, 1)", VERDICT, True),
    ("empty home", {}, HOME, "[] True\n", True),
]  # fmt: skip


def stored(output):
    if isinstance(output, str):
        return nbformat.v4.new_output("stream", name="stdout", text=output)
    return nbformat.v4.new_output("display_data", data=output)


def test_in_nbval_each_cell_passes_or_fails_as_it_should(tmp_path):
    cells = [
        nbformat.v4.new_code_cell(source, metadata=metadata, outputs=[stored(output)], execution_count=number + 1)
        for number, (_, metadata, source, output, _) in enumerate(CELLS)
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "traps.ipynb")
    (tmp_path / "conftest.py").write_bytes((ROOT / "labs" / "conftest.py").read_bytes())
    options = ["--nbval", "--nbval-current-env", "-v", "--color=no", "-p", "no:cacheprovider", "--rootdir", tmp_path]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "LABKIT_HOME": "/precious"}
    command = [sys.executable, "-m", "pytest", *options, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    results = dict(re.findall(r"Cell (\d+) (PASSED|FAILED)", done.stdout))
    assert len(results) == len(CELLS), done.stdout + done.stderr
    wrong = [
        name for number, (name, _, _, _, passes) in enumerate(CELLS) if (results[str(number)] == "PASSED") != passes
    ]
    assert wrong == [], done.stdout
    assert "0.90 is too far from 0.97" in done.stdout or "0.9 is too far from 0.97" in done.stdout
    assert "labkit.rtol is 0.5: at most 0.1" in done.stdout
    assert "there is something on stderr in the run" in done.stdout
