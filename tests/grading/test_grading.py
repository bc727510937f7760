"""What an instructor relies on: honest work gets its points, mistakes their names, and a second run changes nothing."""

import contextlib
import csv
import inspect
import json
import subprocess
import sys

import pytest

from labkit.cli import main
from labkit.exercises import catalogue, find, reference_cell
from labkit.grading import assemble, book, pages, sandbox, similarity, submissions

STUB = '@lk.exercise("data.jaccard")\ndef jaccard(a, b):\n    """…"""\n    ...\n'
MISTAKE = find("data.jaccard").misconceptions[0].function
SMALLER = '@lk.exercise("data.jaccard")\n' + inspect.getsource(MISTAKE).replace(MISTAKE.__name__, "jaccard")


def notebook(*sources, **more):
    cells = [{"cell_type": "code", "metadata": {}, "source": s, "outputs": [], "execution_count": None} for s in sources]
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 4} | more)


def write(folder, student, text, lab="01_data"):
    (folder / student).mkdir(parents=True, exist_ok=True)
    (folder / student / f"{lab}.ipynb").write_text(text)


def references(lab="01"):
    return [reference_cell(exercise) for exercise in catalogue().values() if exercise.lab == lab]


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    folder, out = tmp_path_factory.mktemp("submissions"), tmp_path_factory.mktemp("grades")
    write(folder, "ada", notebook(*references()))
    wild = ["", "print('hello')\n" + references()[3], *reversed(references()[:3]), *references()[4:], "1 / 0"]
    write(folder, "colab", notebook(*wild, nbformat_minor=0, metadata={"colab": {"name": "x"}, "widgets": {"state": None}}))
    write(folder, "empty", notebook())
    write(folder, "stub", notebook(STUB))
    write(folder, "raises", notebook('@lk.exercise("data.jaccard")\ndef jaccard(a, b):\n    return a.nothing\n'))
    write(folder, "named", notebook(SMALLER))
    write(folder, "broken", "{")
    status = main(["grade", str(folder), "--out", str(out), "--seed", "11", "--keep"])
    with open(out / "gradebook.csv") as file:
        rows = {row["student"]: row for row in csv.DictReader(file)}
    return folder, out, status, rows


def test_honest_work_is_graded(graded):
    _, _, status, rows = graded
    assert status == 1  # one of them is no notebook
    assert {s: float(row["points"]) for s, row in rows.items()} == {
        "ada": 10, "colab": 10, "empty": 0, "stub": 0, "raises": 0, "named": 0, "broken": 0,
    }  # fmt: skip


def test_feedback_names_the_mistake_and_shows_no_hidden_input(graded):
    _, out, _, _ = graded
    row = next(r for r in map(json.loads, (out / "ledger.jsonl").open()) if r["student"] == "raises")
    page = (out / "feedback" / "raises" / "01_data.html").read_text()
    assert "AttributeError in line 3" in page and row["exercises"]["data.jaccard"]["text"] not in page
    assert "default-src 'none'" in page and "<script" not in page
    assert "known mistake" in (out / "feedback" / "named" / "01_data.html").read_text()
    assert "(for jaccard(" not in page and "details" in pages.feedback(row, "01_data", released=True)


def test_a_second_run_grades_nothing_and_changes_nothing(graded, capsys):
    folder, out, _, _ = graded
    before, ledger = (out / "gradebook.csv").read_bytes(), (out / "ledger.jsonl").read_bytes()
    (out / "ledger.jsonl").write_bytes(ledger + b'{"student": "torn')
    main(["grade", str(folder), "--out", str(out), "--json"])
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["graded"] == 0
    assert (out / "gradebook.csv").read_bytes() == before and (out / "ledger.jsonl").read_bytes() == ledger


def test_copies_are_listed(graded):
    _, out, _, _ = graded
    assert any("ada" in line and "colab" in line for line in (out / "similar.csv").read_text().splitlines())


def test_the_sandbox_from_inside(tmp_path):
    look = (
        "import os; s = open('/proc/self/status').read(); "
        "assert 'CapEff:\\t0000000000000000' in s and 'NoNewPrivs:\\t1' in s and 'Seccomp:\\t2' in s; "
        "assert os.getuid() != 0 or not os.access('/usr', os.W_OK); assert not os.path.exists('/etc/passwd'); "
        "assert len([p for p in os.listdir('/proc') if p.isdigit()]) <= 4; "
        "assert not os.access('/proc/sys/kernel/core_pattern', os.W_OK); "
        "assert open('/proc/net/dev').read().count(':') <= 1; "
        "assert set(os.listdir('/dev')) <= {'null','zero','full','random','urandom','tty','fd','stdin','stdout','stderr',"
        "'pts','ptmx','shm','core','console'}; "
        "assert not any(os.access(p, os.W_OK) for p in ('/', '/usr', '/kit', '/dev')); "
        "import importlib.util as u; assert u.find_spec('labkit.exercises.data') is None and u.find_spec('labkit.dedup') is None; "
        "print('held')"
    )
    with contextlib.ExitStack() as stack:
        command, options = sandbox.wrapped([sys.executable, "-S", "-c", look], sandbox.GRADE, "grade", stack)
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, **options)
    assert done.stdout.strip() == "held", done.stderr


@pytest.mark.parametrize(
    "place, expected",
    [
        ("ada/01_data.ipynb", ("ada", "01")),
        ("submitted/ada/lab1/01_data.ipynb", ("ada", "01")),
        ("lovelaceada_12345_678_01_data-2.ipynb", ("lovelaceada", "01")),
        ("lovelaceada_LATE_12345_678_01_data.ipynb", ("lovelaceada", "01")),
        ("Ada Lovelace_12345_assignsubmission_file_/data (1).ipynb", ("Ada Lovelace", "01")),
    ],
)
def test_names_of_learning_management_systems(tmp_path, place, expected):
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}")
    (found,), faults = submissions.find(tmp_path)
    assert (found.student, found.lab) == expected and faults == []


@pytest.mark.parametrize("name", ["=1+1/01_data.ipynb", "ada/99_nothing.ipynb", "01_data.ipynb"])
def test_what_cannot_be_graded_is_said_in_a_line(tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}")
    found, faults = submissions.find(tmp_path)
    assert found == [] and len(faults) == 1 and "\n" not in faults[0]


def test_cells_of_a_spreadsheet_are_no_formulas():
    assert [book.safe(cell) for cell in ("=1+1", "@x", " -2", "ada", 3)] == ["'=1+1", "'@x", "' -2", "ada", 3]


def test_the_last_definition_wins_and_format_3_is_read():
    old = {"nbformat": 3, "worksheets": [{"cells": [{"cell_type": "code", "input": [STUB]}, {"cell_type": "code", "input": SMALLER}]}]}
    cells = assemble.exercise_cells(assemble.read_cells(json.dumps(old).encode()), [find("data.jaccard")])
    assert cells == {"data.jaccard": SMALLER}


def test_expected_answers_are_outputs_and_never_sources():
    made, parts = assemble.notebook({"data.jaccard": SMALLER}, 3)
    probes = [cell for cell, part in zip(made["cells"], parts) if part.what == "probe"]
    assert probes and all(cell["outputs"] and "value" not in cell["source"] for cell in probes)


def test_renaming_hides_no_copy():
    one = reference_cell(find("data.clusters"))
    assert similarity.normal(one) == similarity.normal(one.replace("pairs", "edges").replace("group", "g"))


def test_unsandboxed_gives_the_same_grades(tmp_path, monkeypatch):
    """Also where there can be no sandbox."""
    monkeypatch.setenv("PATH", "/nowhere")
    write(tmp_path / "in", "ada", notebook(*references()))
    write(tmp_path / "in", "named", notebook(SMALLER))
    assert main(["grade", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--seed", "1", "--unsandboxed"]) == 0
    with open(tmp_path / "out" / "gradebook.csv") as file:
        assert {row["student"]: row["points"] for row in csv.DictReader(file)} == {"ada": "10.0", "named": "0.0"}


def test_a_whole_lab_finds_its_questions_in_the_sandbox(tmp_path):
    """As a notebook's cells do, which nbval runs in `labkit-sandbox`; nothing outside can be written to."""
    look = "import os, labkit as lk; from labkit import quizzes, lab; "
    look += "assert quizzes.choose('data', 'before', None) and lab.shipped_labs(); "
    look += "assert not any(os.access(p, os.W_OK) for p in ('/', lab.PACKAGE, lab.PACKAGE.parent)); print('held')"
    with contextlib.ExitStack() as stack:
        command, options = sandbox.wrapped([sys.executable, "-c", look], sandbox.WHOLE_LAB, "lab", stack)
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, **options)
    assert done.stdout.strip() == "held", done.stderr
