"""What an instructor does after grading: feedback and grades back into the systems, rosters, late work, releases."""

import csv
import io
import json
import os
import shutil
import sys
import time
import zipfile
from datetime import datetime
from pathlib import Path

import pytest
from oracle import notebook

from labkit import cluster
from labkit.cli import main
from labkit.exercises import catalogue, find, reference_cell
from labkit.exercises.engine import expected_outcomes
from labkit.grading import book, handing_back, judge, pages, sandbox, submissions

POINTS = sum(exercise.points for exercise in catalogue().values() if exercise.lab == "01")
MOODLE = "{}_{}_assignsubmission_file_/01_data.ipynb"


@pytest.fixture
def grade(tmp_path, monkeypatch):
    """`labkit grade` with a stand-in for the kernels: every exercise earns one group of its two. Returns (status, out)."""

    def map_(function, items, *, progress=lambda index, line: None, **_):
        for index, job in enumerate(items):
            rows = {"data.jaccard": {"kind": "wrong", "text": "wrong", "groups": {"a": True, "b": False}}}
            empty = b'"cells": []' in Path(job.path).read_bytes()
            line = judge._line(job, judge.digest(job), "graded", {} if empty else rows)
            progress(index, json.dumps(line))

    monkeypatch.setattr(cluster, "map", map_)

    def run(*more, folder=tmp_path / "in"):
        command = ["grade", str(folder), "--out", str(tmp_path / "out"), "--seed", "1", "--unsandboxed"]
        return main([*command, *map(str, more)]), tmp_path / "out"

    return run


def hand_in(folder, *places, text=None):
    for place in places:
        path = folder / "in" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(notebook(reference_cell(find("data.jaccard"))) if text is None else text)


def rows_of(path, encoding="utf-8"):
    with open(path, encoding=encoding, newline="") as file:
        return list(csv.DictReader(file))


def names_in(path):
    with zipfile.ZipFile(path) as archive:
        return sorted(archive.namelist())


SYSTEMS = [
    ("canvas", ["adalovelace_LATE_12_345_01_data-2.ipynb", "zoe_7_346_01_data.ipynb"],
     ["adalovelace_LATE_12_345_01_data.html", "zoe_7_346_01_data.html"]),
    ("moodle", [MOODLE.format("Zoë Ångström", 71), "Ada Lovelace_72_assignsubmission_file_01_data.ipynb"],
     ["Ada Lovelace_72_assignsubmission_file_/01_data.html", "Zoë Ångström_71_assignsubmission_file_/01_data.html"]),
    ("nbgrader", ["submitted/ada/ps1/01_data.ipynb", "submitted/bob/ps1/01_data.ipynb"],
     ["feedback/ada/ps1/01_data.html", "feedback/bob/ps1/01_data.html"]),
]  # fmt: skip


@pytest.mark.parametrize("system, places, expected", SYSTEMS, ids=[each[0] for each in SYSTEMS])
def test_feedback_has_the_names_that_the_system_gave(tmp_path, grade, system, places, expected):
    hand_in(tmp_path, *places)
    status, out = grade("--feedback", system)
    assert status == 0 and names_in(out / f"feedback-{system}.zip") == expected
    with zipfile.ZipFile(out / f"feedback-{system}.zip") as archive:
        assert all(b"<!DOCTYPE html>" in archive.read(name) for name in expected)


def test_what_did_not_come_from_the_system_is_said(tmp_path, grade, capsys):
    hand_in(tmp_path, "ada/01_data.ipynb")
    assert grade("--feedback", "moodle")[0] == 0
    assert "1 pages are not in feedback-moodle.zip" in capsys.readouterr().out


ROSTERS = {
    "moodle participants": ("First name,Surname,ID number,Email address\nZoë,Ångström,s1,zoe@x.org\nAda,Lovelace,s2,ada@x.org\n", "utf-8"),
    "moodle worksheet": ("Identifier,Full name,ID number,Email address,Status,Grade\nParticipant 71,Zoë Ångström,s1,zoe@x.org,Submitted,\nParticipant 72,Ada Lovelace,s2,ada@x.org,No,\n", "utf-8-sig"),
    "nbgrader": ("id,first_name,last_name,email,lms_user_id\ns1,Zoë,Ångström,zoe@x.org,\ns2,Ada,Lovelace,ada@x.org,\n", "utf-8"),
    "blackboard": ('"Last Name"\t"First Name"\t"Username"\t"Student ID"\tEmail\nÅngström\tZoë\tzoea\ts1\tzoe@x.org\nLovelace\tAda\tadal\ts2\tada@x.org\n', "utf-16"),
}  # fmt: skip


@pytest.mark.parametrize("kind", ROSTERS)
def test_the_rosters_of_systems(tmp_path, grade, kind):
    text, encoding = ROSTERS[kind]
    (tmp_path / "class.csv").write_bytes(text.encode(encoding))
    hand_in(tmp_path, MOODLE.format("Zoë Ångström", 71))
    status, out = grade("--roster", tmp_path / "class.csv", "--canvas", "--moodle", "--missing", "zero")
    assert status == 0
    (row,) = rows_of(out / "gradebook.csv")
    assert (row["id"], row["email"], row["late"]) == ("s1", "zoe@x.org", "") and row["handed_in"][:2] == "20"
    ada, zoe = rows_of(out / "moodle.csv")
    assert (ada["Full name"], ada["ID number"], ada["Email address"], ada["01_data"]) == (
        "Ada Lovelace", "s2", "ada@x.org", "0",
    )  # fmt: skip
    assert (zoe["Full name"], zoe["ID number"], float(zoe["01_data"])) == ("Zoë Ångström", "s1", 0.5)
    assert [each["01_data"] for each in rows_of(out / "canvas.csv")] == [str(POINTS), "0", "0.5"]


def test_moodles_number_finds_the_person_whatever_the_name(tmp_path):
    (tmp_path / "class.csv").write_text(ROSTERS["moodle worksheet"][0])
    known = submissions.roster(tmp_path / "class.csv")
    assert submissions.in_roster(known, "Somebody Else", "", "72")["Student"] == "Ada Lovelace"


@pytest.mark.parametrize("missing, expected", [("zero", "0"), ("blank", "")])
def test_those_missing_get_what_was_asked(tmp_path, grade, missing, expected):
    (tmp_path / "class.csv").write_text("Student,ID\nAda Lovelace,1\n=SUM(A1),2\n")
    hand_in(tmp_path, "Ada Lovelace/01_data.ipynb")
    status, out = grade("--roster", tmp_path / "class.csv", "--canvas", "--missing", missing)
    assert status == 0
    table = {row["Student"]: row["01_data"] for row in rows_of(out / "canvas.csv")}
    assert table["'=SUM(A1)"] == expected and table["Ada Lovelace"] == "0.5"
    assert grade("--missing", missing)[0] == 2


REFUSED = {
    "a name that is none": (MOODLE.format("Mallory =1+1", 73), "Mallory =1+1"),
    "a lab that is none": ("Mallory Grey/99_poetry.ipynb", "Mallory Grey"),
    "a zip that is none": ("Mallory Grey.zip", "Mallory Grey"),
    "a broken zip in a folder": ("Mallory Grey/work.zip", "Mallory Grey"),
    "a link": ("Mallory Grey", "Mallory Grey"),
    "found by Canvas's number": ("mgrey_4_99_99_poetry.ipynb", "Mallory Grey"),
}


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
@pytest.mark.parametrize("way", REFUSED)
def test_nobody_whose_work_was_not_taken_is_given_a_zero(tmp_path, grade, capsys, way, packed):
    """Mallory handed in something, Bob nothing: only he gets a 0, and the status says that somebody has to look."""
    place, name = REFUSED[way]
    (tmp_path / "class.csv").write_text(f"Student,ID\nAda Lovelace,1\n{name},4\nBob,5\n")
    hand_in(tmp_path, "Ada Lovelace/01_data.ipynb")
    at = tmp_path / "in" / place
    at.parent.mkdir(exist_ok=True)
    if way == "a link":
        at.symlink_to(tmp_path)
    else:
        at.write_bytes((tmp_path / "in/Ada Lovelace/01_data.ipynb").read_bytes() if "=1+1" in name else b"none")
    if packed:
        if way == "a link":
            pytest.skip("a zip of a class has files")
        shutil.make_archive(str(tmp_path / "class"), "zip", tmp_path / "in")
        shutil.rmtree(tmp_path / "in")
        (tmp_path / "in").mkdir()
        (tmp_path / "class.zip").rename(tmp_path / "in" / "class.zip")
    source = tmp_path / "in" / "class.zip" if packed else tmp_path / "in"
    status, out = grade("--roster", tmp_path / "class.csv", "--canvas", "--missing", "zero", folder=source)
    table = {row["Student"]: row["01_data"] for row in rows_of(out / "canvas.csv")}
    assert (table["Ada Lovelace"], table["Bob"], table[name]) == ("0.5", "0", "") and status == 1
    said = capsys.readouterr().out
    assert f"{name}: what may be theirs was not graded" in said and f"{name}: handed in nothing" not in said


def test_of_two_of_one_name_neither_is_given_a_zero(tmp_path, grade):
    (tmp_path / "class.csv").write_text("Student,ID\nAda Lovelace,1\nAda Lovelace,2\nBob,5\n")
    hand_in(tmp_path, "Ada Lovelace/01_data.ipynb")
    status, out = grade("--roster", tmp_path / "class.csv", "--canvas", "--missing", "zero")
    assert status == 1
    assert [(row["ID"], row["01_data"]) for row in rows_of(out / "canvas.csv")][1:] == [
        ("1", ""),
        ("2", ""),
        ("5", "0"),
    ]


def test_blackboards_file_names(tmp_path):
    hand_in(tmp_path, "Lab 1_zoea_attempt_2026-12-01-23-59-07_01_data.ipynb")
    (found,), faults = submissions.find(tmp_path / "in")
    assert (found.student, found.lab, found.when, faults) == ("zoea", "01", "2026-12-01 23:59:07", [])


def test_of_an_nbgrader_course_only_what_was_submitted_is_read(tmp_path):
    hand_in(tmp_path, "submitted/ada/ps1/01_data.ipynb", "release/ps1/01_data.ipynb", "source/ps1/01_data.ipynb")
    (tmp_path / "in" / "nbgrader_config.py").write_text("")
    (found,), faults = submissions.find(tmp_path / "in")
    assert (found.student, handing_back.assignment({"place": found.place}, "01_data"), faults) == ("ada", "ps1", [])


def test_nbgrader_can_release_the_feedback(tmp_path, grade):
    """It reads two files beside each page, which its exchange put beside the notebook."""
    hand_in(tmp_path, "submitted/ada/ps1/01_data.ipynb", "submitted/bob/ps1/01_data.ipynb", "nbgrader_config.py")
    hand_in(tmp_path, "submitted/ada/ps1/timestamp.txt", "submitted/ada/ps1/submission_secret.txt", text="x" * 2_000)
    (tmp_path / "secret").write_text("of the instructor's")
    (tmp_path / "in" / "submitted" / "bob" / "ps1" / "submission_secret.txt").symlink_to(tmp_path / "secret")
    status, out = grade("--feedback", "nbgrader")
    pages_, notes = [f"feedback/{name}/ps1/01_data.html" for name in ("ada", "bob")], ("submission_secret", "timestamp")
    assert status == 0
    assert names_in(out / "feedback-nbgrader.zip") == [
        pages_[0],
        *(f"feedback/ada/ps1/{n}.txt" for n in notes),
        pages_[1],
    ]
    with zipfile.ZipFile(out / "feedback-nbgrader.zip") as archive:
        assert archive.read("feedback/ada/ps1/submission_secret.txt") == b"x" * 1_000


@pytest.fixture
def in_tokyo(monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("text, expected", [
    ("2026-12-01 15:00:00.948203 UTC", "2026-12-02 00:00:00"), ("2026-12-01 15:00:00 UTC\n", "2026-12-02 00:00:00"),
    ("soon", None), ("", None), ("9999-12-31 23:59:59 UTC", None), ("\0" * 99, None),
])  # fmt: skip
def test_the_time_that_nbgraders_exchange_notes_counts(tmp_path, in_tokyo, text, expected):
    hand_in(tmp_path, "submitted/ada/ps1/01_data.ipynb")
    os.utime(tmp_path / "in" / "submitted" / "ada" / "ps1" / "01_data.ipynb", (0, 0))
    hand_in(tmp_path, "submitted/ada/ps1/timestamp.txt", text=text)
    ((found,), _) = submissions.find(tmp_path / "in")
    assert found.when == (expected or "1970-01-01 09:00:00")
    assert handing_back._utc(found.when) == datetime(*((2026, 12, 1, 15) if expected else (1970, 1, 1)))


def test_a_resubmission_is_a_line_and_no_fault(tmp_path, grade, capsys):
    hand_in(tmp_path, "ada_1_2_01_data.ipynb", "ada_1_3_01_data-1.ipynb")
    assert grade()[0] == 0
    assert "handed in lab 01 twice" in capsys.readouterr().out


def test_a_notebook_without_an_exercise_is_a_line_a_row_and_feedback(tmp_path, grade, capsys):
    hand_in(tmp_path, "ada/01_data.ipynb", text=notebook())
    status, out = grade()
    assert status == 0 and "hold no exercise of their lab: ada, lab 01" in capsys.readouterr().out
    assert "no exercise of the lab is in it" in (out / "report.html").read_text()
    assert "nothing to grade" in (out / "feedback" / "ada" / "01_data.html").read_text()


LATE = [
    ("20", None, {"late": True}, 1, 2.0), ("20", None, {"late": False}, 0, 0.0),
    ("10/day", "2026-12-01 12:00", {"when": "2026-12-01 12:00:00"}, 0, 0.0),
    ("10/day", "2026-12-01 12:00", {"when": "2026-12-01 12:00:01"}, 1, 1.0),
    ("10/day", "2026-12-01 12:00", {"when": "2026-12-03 12:00:01"}, 3, 3.0),
    ("40%/day", "2026-12-01", {"when": "2026-12-31 00:00:00"}, 30, 10.0),
    ("20", "2026-12-01", {"when": "2026-12-31 00:00:00", "late": True}, 30, 2.0),
    (None, "2026-12-01", {"when": "2026-12-02 00:00:00"}, 1, 0.0),
    ("20", "2026-12-01", {"when": ""}, 0, 0.0),
]  # fmt: skip


@pytest.mark.parametrize("rule, due, row, days, off", LATE)
def test_what_late_work_costs(rule, due, row, days, off):
    late = book.Late.parse(rule, due)
    assert (late.days(row), late.off(row, 10.0)) == (days, off)


def test_a_time_with_its_zone_is_that_moment(in_tokyo):
    assert book.Late.parse("10", "2026-12-01 15:00+00:00").due == datetime(2026, 12, 2, 0, 0)


@pytest.mark.parametrize("rule, due", [("0", None), ("101", None), ("10/day", None), ("ten", None), ("10", "soon")])
def test_a_rule_that_is_none_is_refused(grade, tmp_path, rule, due):
    hand_in(tmp_path, "ada/01_data.ipynb")
    assert grade("--late-penalty", rule, *(["--due", due] if due else []))[0] == 2


def test_late_work_loses_points_and_the_rule_is_printed(tmp_path, grade, capsys):
    hand_in(tmp_path, "ada_LATE_1_2_01_data.ipynb", "bob_3_4_01_data.ipynb")
    status, out = grade("--late-penalty", "50")
    ada, bob = rows_of(out / "gradebook.csv")
    assert status == 0 and (ada["points"], ada["late"], ada["penalty"]) == ("0.25", "LATE", "0.25")
    assert (bob["points"], bob["late"], bob["penalty"]) == ("0.5", "", "")
    assert "50% of the points are taken off, never more than all; 1 submissions were late" in capsys.readouterr().out
    assert "0.25 points are taken off" in (out / "feedback" / "ada" / "01_data.html").read_text()


def test_keeping_leaves_releases_as_they_are(tmp_path, grade):
    hand_in(tmp_path, "ada/01_data.ipynb")
    grade("--release", "ada")
    _, out = grade("--keep")  # graded again, because nothing was kept
    page = out / "feedback" / "ada" / "01_data.html"
    assert "<details>" in page.read_text()
    hand_in(tmp_path, "ada/01_data.ipynb", text=notebook("1 + 1", reference_cell(find("data.jaccard"))))
    grade()
    assert "<details>" not in page.read_text()


def test_nobody_else_can_read_what_grading_wrote(tmp_path, grade):
    hand_in(tmp_path, "ada/01_data.ipynb")
    (tmp_path / "out").parent.mkdir(exist_ok=True)
    _, out = grade("--canvas", "--moodle", "--feedback", "nbgrader")
    assert out.stat().st_mode & 0o077 == 0
    assert [path.name for path in out.rglob("*") if path.stat().st_mode & 0o077] == []
    assert int((out / "seed").read_text()) == 1


def test_a_seed_has_128_bits_and_what_was_half_written_is_swept(tmp_path, grade, capsys):
    hand_in(tmp_path, "ada/01_data.ipynb")
    out = tmp_path / "open"
    out.mkdir(mode=0o755)
    (out / ".gradebook.csv.x1.tmp").write_text("half")
    assert main(["grade", str(tmp_path / "in"), "--out", str(out), "--unsandboxed"]) == 0
    assert int((out / "seed").read_text()).bit_length() > 64 and not list(out.glob(".*.tmp"))
    assert "can be read by others" in capsys.readouterr().out


def test_a_released_feedback_shows_the_own_answer_beside_the_right_one():
    exercise = find("data.jaccard")
    expected = expected_outcomes(exercise, 3)
    answers: dict = {}
    for number, (probe, _) in enumerate(zip(exercise.draw(3), expected)):
        answers.setdefault(probe.group, []).append([f"mine {number}", number > 0])
    got = {"kind": "wrong", "text": "wrong", "points": 0, "possible": 1, "groups": {}, "answers": answers}
    row = {
        "student": "ada",
        "outcome": "graded",
        "seed": 3,
        "points": 0,
        "possible": 1,
        "exercises": {exercise.id: got},
    }
    page = pages.feedback(row | {"released": True}, "01_data")
    assert page.count('class="wrong"') == 1 and "✗ <code>mine 0</code>" in page
    assert all(f"mine {number}" in page for number in range(len(expected)))
    assert "mine" not in pages.feedback(row, "01_data")


@pytest.mark.skipif(sandbox.missing() is not None, reason="no sandbox here")
def test_the_answers_of_a_released_learner_come_from_the_sandbox(tmp_path):
    path = tmp_path / "01_data.ipynb"
    path.write_text(notebook('@lk.exercise("data.jaccard")\ndef jaccard(a, b):\n    return 0.125\n'))
    row = json.loads(judge.work(judge.Job("ada", "01", str(path), seed=3, released=True)))
    answers = row["exercises"]["data.jaccard"]["answers"]
    assert row["released"] and {text for group in answers.values() for text, _ in group} == {"0.125"}
    assert [right for group in answers.values() for _, right in group].count(True) == sum(
        outcome.value == 0.125 for outcome in expected_outcomes(find("data.jaccard"), 3)
    )


def test_the_report_has_totals_a_distribution_and_a_row_for_each_learner(tmp_path, grade):
    hand_in(tmp_path, *(f"s{number}/01_data.ipynb" for number in range(3)))
    hand_in(tmp_path, "zoe/01_data.ipynb", text=notebook())
    _, out = grade()
    page = (out / "report.html").read_text()
    assert f"01_data: mean 0.38, median 0.5 of {POINTS}, all points 0 of 4." in page
    assert '<th scope="row">0 to 9%</th>' in page and page.count('feedback/s1/01_data.html">0.5</a>') == 1
    assert page.index("Learners</h2>") < page.index('<th scope="row">s0</th>')


def test_progress_says_the_pace_and_the_time_left():
    from labkit.grading.command import progress

    assert progress(10, 40, 20.0) == "graded 10 of 40, 30 a minute, 1:00 left"


@pytest.mark.parametrize("of_lk, says", [(True, True), (False, False)])
def test_an_attribute_error_is_about_lk_only_if_it_was_one_of_lks(of_lk, says):
    got = {"kind": "raised", "error": "AttributeError", "line": 2, "groups": {}, "text": ""}
    lines = " ".join(pages.said("data.jaccard", got | ({"of_lk": True} if of_lk else {})))
    assert ("lk.exercise" in lines) == says and ("Hint: " in lines) != says


def test_lines_for_people_hold_no_escape_and_fit_any_stream():
    from labkit.common import say

    for encoding in ("ascii", "utf-8", "latin-1"):
        stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict", newline="\n")
        say("a\x1b[2J\udcff\u202eé\n", stream)
        stream.flush()
        said = stream.buffer.getvalue().decode(encoding)
        assert said.startswith(r"a\x1b[2J\udcff\u202e") and said.count("\n") == 1


def test_an_entry_of_a_zip_may_have_no_date(tmp_path):
    entry = zipfile.ZipInfo("ada/01_data.ipynb")
    entry.date_time = (1980, 0, 0, 0, 0, 0)
    with zipfile.ZipFile(tmp_path / "class.zip", "w") as archive:
        archive.writestr(entry, notebook())
    ((found,), _) = submissions.find(tmp_path / "class.zip")
    assert found.when == "" and handing_back._utc(found.when) is None


@pytest.mark.parametrize("name", ["Lovelace, Ada", "Ada Lovelace"])
def test_nbgrader_gets_given_and_family_names(name):
    person = handing_back._person({"student": "ada", "person": {"Student": name, "Email": "ada@x.org"}})
    assert person == {"first_name": "Ada", "last_name": "Lovelace", "email": "ada@x.org"}


def test_nbgraders_gradebook_gets_the_points(tmp_path, grade):
    """Where nbgrader is installed, through its own API, and read back by it."""
    api = pytest.importorskip("nbgrader.api")
    hand_in(tmp_path, "submitted/ada/ps1/01_data.ipynb", "submitted/Zoë Ångström/ps1/01_data.ipynb")
    for _ in range(2):  # the second time everything is there already
        assert grade("--nbgrader", tmp_path / "book.db")[0] == 0
    with api.Gradebook(f"sqlite:///{tmp_path / 'book.db'}") as found:
        assert {each.id for each in found.students} == {"ada", "Zoë Ångström"}
        assert found.find_submission("ps1", "Zoë Ångström").score == 0.5
        assert found.find_assignment("ps1").max_score == POINTS
    (tmp_path / "none.db").write_text("no database, but a text that is long enough to be looked at as one" * 20)
    assert grade("--nbgrader", tmp_path / "none.db")[0] == 2


def test_without_nbgrader_its_gradebook_is_refused_in_a_line(tmp_path, grade, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "nbgrader.api", None)
    monkeypatch.setitem(sys.modules, "nbgrader", None)
    hand_in(tmp_path, "ada/01_data.ipynb")
    assert grade("--nbgrader", tmp_path / "book.db")[0] == 2
    assert "pip install nbgrader" in capsys.readouterr().err


CANNOT = [  # what a learner's material may look like that is not graded, in each system's layout
    "{name}/01_data.ipynb", "{name}/ps1/01_data.ipynb", "submitted/{name}/ps1/01_data.ipynb",
    "{name}_72_assignsubmission_file_/01_data.ipynb", "{name}_72_assignsubmission_file_01_data.ipynb",
    "{bare}_12_345_01_data.ipynb", "Lab 1_{name}_attempt_2026-12-01-23-59-07_01_data.ipynb", "{name}/work.zip",
    ".{name}_72_assignsubmission_file_/01_data.ipynb", "class.zip:{name}/01_data.ipynb", "class.zip:{name}/work.zip",
    "class.zip:{name}_72_assignsubmission_file_/01_data.ipynb",
]  # fmt: skip


def place_at(folder, place):
    """A file at a place, in a zip if there is one before the colon; a zip at the place itself is none that can be read."""
    outer, _, inner = place.rpartition(":")
    content = "no zip" if inner.endswith(".zip") else notebook(reference_cell(find("data.jaccard")))
    if not outer:
        return hand_in(folder, inner, text=content)
    (folder / "in").mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / "in" / outer, "w") as archive:
        archive.writestr(inner, content)


@pytest.mark.parametrize("roster", ["the same", "without the rest", "another"])
@pytest.mark.parametrize("place", CANNOT)
def test_whose_material_was_refused_is_never_missing(tmp_path, grade, capsys, place, roster):
    """Known by the name, by a name with something added, or by nothing: then nobody gets 0."""
    name = "Mallory =1+1"
    person = {"the same": name, "without the rest": "Mallory", "another": "Gray"}[roster]
    (tmp_path / "class.csv").write_text(f"Student,ID\nAda Lovelace,1\n{person},2\nBob Late,3\n")
    hand_in(tmp_path, "Ada Lovelace/01_data.ipynb")
    place_at(tmp_path, place.format(name=name, bare="mallory=1+1"))
    status, out = grade("--roster", tmp_path / "class.csv", "--canvas", "--moodle", "--missing", "zero")
    said = capsys.readouterr().out
    assert status == 1
    for table in ("canvas.csv", "moodle.csv"):
        points = {row["ID" if table == "canvas.csv" else "ID number"]: row["01_data"] for row in rows_of(out / table)}
        assert (points["1"], points["2"]) == ("0.5", "")
        assert points["3"] == ("" if roster == "another" else "0")
    assert f"{person}: handed in nothing" not in said
    assert (
        "nobody counts as missing" if roster == "another" else f"{person}: what may be theirs was not graded"
    ) in said


OTHERS = {
    "a link": lambda at: (at.mkdir(), (at / "01_data.ipynb").symlink_to("/etc/hostname")),
    "a link to a folder": lambda at: at.symlink_to("/etc"),
    "no notebook": lambda at: (at.mkdir(), (at / "01_data.pdf").write_text("%PDF")),
    "another's name": lambda at: archive_of(at.parent / "Mallory.zip", "Ada Lovelace/01_data.ipynb"),
    "an empty zip": lambda at: (at.mkdir(), archive_of(at / "work.zip", "readme.txt")),
    "a lab that there is not": lambda at: (at.mkdir(), (at / "99_none.ipynb").write_text(notebook())),
    "a fifo": lambda at: (at.mkdir(), os.mkfifo(at / "01_data.ipynb")),
}  # fmt: skip


def archive_of(path, *names):
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, notebook())


@pytest.mark.parametrize("what", OTHERS)
def test_who_handed_in_what_cannot_be_graded_is_not_missing(tmp_path, grade, what):
    (tmp_path / "class.csv").write_text("Student,ID\nAda Lovelace,1\nMallory,2\nBob Late,3\n")
    hand_in(tmp_path, "Ada Lovelace/01_data.ipynb")
    OTHERS[what](tmp_path / "in" / "Mallory")
    status, out = grade("--roster", tmp_path / "class.csv", "--canvas", "--missing", "zero")
    assert status == 1
    assert {row["ID"]: row["01_data"] for row in rows_of(out / "canvas.csv")[1:]} == {"1": "0.5", "2": "", "3": "0"}


def test_two_of_one_name_are_not_missing(tmp_path, grade):
    (tmp_path / "class.csv").write_text("Student,ID\nMallory,2\nMallory,3\nBob,4\n")
    hand_in(tmp_path, "Mallory/01_data.ipynb")
    status, out = grade("--roster", tmp_path / "class.csv", "--canvas", "--missing", "zero")
    assert status == 1 and [row["01_data"] for row in rows_of(out / "canvas.csv")[1:]] == ["0", "", ""]


def test_files_that_are_no_learners_keep_nobody_from_zero(tmp_path, grade):
    (tmp_path / "class.csv").write_text("Student,ID\nAda Lovelace,1\nBob,4\n")
    hand_in(tmp_path, "Ada Lovelace/01_data.ipynb", "readme.txt", "data/words.txt", "Ada Lovelace/notes.txt")
    status, out = grade("--roster", tmp_path / "class.csv", "--canvas", "--missing", "zero")
    assert status == 0 and [row["01_data"] for row in rows_of(out / "canvas.csv")[1:]] == ["0.5", "0"]
