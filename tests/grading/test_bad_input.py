"""Whatever is handed in: each fault is one clear line, the neighbours are graded, and the exit status says which it was."""

import errno
import json
import os
import resource
import zipfile

import oracle
import pytest

from labkit.cli import main
from labkit.common import InputError
from labkit.grading import book

pytestmark = pytest.mark.usefixtures("one_judge")
STUB = '@lk.exercise("data.jaccard")\ndef jaccard(a, b):\n    """…"""\n    ...\n'
NOTEBOOK = oracle.notebook(STUB)


def place(folder, name, data=NOTEBOOK):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def grade(folder, out, capsys, *more):
    """(exit status, lines of stdout and stderr, students in the gradebook)."""
    status = main(["grade", str(folder), "--out", str(out), "--seed", "1", *more])
    said = capsys.readouterr()
    rows = book.Ledger(out / "ledger.jsonl").rows() if (out / "ledger.jsonl").exists() else ()
    return status, (said.out + said.err).splitlines(), {row["student"]: row["outcome"] for row in rows}


def test_each_bad_file_is_a_line_and_the_neighbour_is_graded(tmp_path, capsys):
    folder = tmp_path / "in"
    place(folder, "neighbour/01_data.ipynb")
    place(folder, "nojson/01_data.ipynb", "{")
    place(folder, "nulls/01_data.ipynb", b"\0" * 4096)
    with open(place(folder, "huge/01_data.ipynb", ""), "wb") as file:
        file.truncate(10**9)  # a hole: it takes no room on the disk
    place(folder, "cells/01_data.ipynb", oracle.notebook(*[""] * 100_000))
    with zipfile.ZipFile(folder / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("01_data.ipynb", b"0" * 21_000_000)
    place(folder, "=1+1/01_data.ipynb")
    with zipfile.ZipFile(folder / "class.zip", "w") as archive:
        archive.writestr("a\\b/01_data.ipynb", NOTEBOOK)
        archive.writestr("../c/01_data.ipynb", NOTEBOOK)
    place(folder, "nolab/99_nothing.ipynb")
    os.utime(place(folder, "twice/01_data.ipynb"), (1, 1))
    place(folder, "twice/data.ipynb")
    (folder / "link").mkdir()
    (folder / "link" / "01_data.ipynb").symlink_to(place(tmp_path, "outside.ipynb"))

    status, lines, outcomes = grade(folder, tmp_path / "out", capsys)
    assert status == 1
    assert outcomes.pop("neighbour") == outcomes.pop("twice") == "graded"
    assert set(outcomes) == {"nojson", "nulls", "huge", "cells", "bomb"}
    for student, says in [
        ("nojson, lab 01", "is not a notebook"),
        ("nulls, lab 01", "is not a notebook"),
        ("huge, lab 01", "larger than 20 MB"),
        ("cells, lab 01", "100,000 cells; at most 5,000"),
        ("bomb, lab 01", "larger than 20 MB"),
        ("=1+1", "cannot be a student's name"),
        ("a\\\\b", "leads out of the zip"),
        ("../c", "leads out of the zip"),
        ("99_nothing", "not that of a lab with exercises"),
        ("twice handed in lab 01 twice", "is graded"),
        ("link/01_data.ipynb", "links are not followed"),
    ]:
        (line,) = (each for each in lines if student in each)
        assert says in line


def test_no_name_in_a_zip_writes_to_the_terminal(tmp_path, capsys):
    with zipfile.ZipFile(tmp_path / "class.zip", "w") as archive:
        archive.writestr("bob/01_data.ipynb", NOTEBOOK)
        archive.writestr("bob/\x1b]0;x\x07\n\u202e/01_data.ipynb", NOTEBOOK)
    status, lines, _ = grade(tmp_path / "class.zip", tmp_path / "out", capsys)
    assert (
        status == 0
        and all(line.isprintable() for line in lines)
        and any("bob handed in lab 01 twice" in line for line in lines)
    )
    assert "\x1b" not in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize("name", [None, "ada/notes.txt"])
def test_a_folder_without_a_notebook_is_refused(tmp_path, capsys, name):
    if name:
        place(tmp_path / "in", name)
    (tmp_path / "in").mkdir(exist_ok=True)
    status, lines, _ = grade(tmp_path / "in", tmp_path / "out", capsys)
    assert status == 2 and len(lines) == 1 and "holds no notebook" in lines[0]


def test_nothing_gradable_is_said_and_ends_with_2(tmp_path, capsys):
    place(tmp_path / "in", "ada/99_nothing.ipynb")
    status, lines, _ = grade(tmp_path / "in", tmp_path / "out", capsys)
    assert status == 2 and "not that of a lab with exercises" in lines[0]


def line(student, size=20_000):
    return json.dumps({"student": student, "lab": "01", "submission": "x" * size})


def test_a_full_disk_ends_in_a_line_and_keeps_what_was_there(tmp_path, monkeypatch):
    ledger = book.Ledger(tmp_path / "ledger.jsonl")
    ledger.add(line("ada"))

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(InputError, match="No space left on device.*is kept"):
            ledger.add(line("bob"))
    assert [row["student"] for row in book.Ledger(ledger.path).rows()] == ["ada"]


@pytest.mark.parametrize("size", [100, 20_000])  # within a buffer of the file's, and beyond it
@pytest.mark.parametrize("room", [0, 50])
def test_a_write_that_fails_midway_leaves_no_half_line(tmp_path, room, size):
    """The system itself refuses: no file may grow beyond the first line and some bytes."""
    ledger = book.Ledger(tmp_path / "ledger.jsonl")
    ledger.add(line("ada"))
    before, limits = ledger.path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + room, limits[1]))
    try:
        with pytest.raises(InputError, match="is kept"):
            ledger.add(line("bob", size))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert ledger.path.read_bytes() == before
    ledger.add(line("bob", size))
    assert [row["student"] for row in book.Ledger(ledger.path).rows()] == ["ada", "bob"]


@pytest.mark.parametrize(
    "key", ['{"student": ["a"], "lab": "01"}', '{"student": "a", "lab": {}}', "[1]", "null", "{}", "x"]
)
def test_a_line_that_is_none_of_a_ledgers_is_refused_in_a_line(tmp_path, key):
    (tmp_path / "ledger.jsonl").write_text(f"{key}\n{line('ada')}\n")
    with pytest.raises(InputError, match="a line that does not belong to a ledger"):
        book.Ledger(tmp_path / "ledger.jsonl")


def test_what_failed_by_the_machines_fault_is_graded_again(tmp_path):
    ledger = book.Ledger(tmp_path / "ledger.jsonl")
    about = ("x", "y", 1)
    row = {"student": "ada", "lab": "01", "submission": "x", "reference": "y", "seed": 1}
    ledger.add(json.dumps(row | {"machine": True}))
    assert not ledger.has(("ada", "01"), about)
    ledger.add(json.dumps(row))
    assert ledger.has(("ada", "01"), about)
