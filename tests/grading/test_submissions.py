"""Whose a notebook is and of which lab, however a system hands it over; a learner cannot hand in for another."""

import json
import os
import random
import time
import unicodedata
import zipfile

import pytest

from labkit import cluster
from labkit.cli import main
from labkit.common import InputError
from labkit.grading import book, judge, submissions

NEW, OLD = time.mktime((2026, 11, 2, 12, 0, 0, 0, 0, -1)), time.mktime((2026, 11, 1, 12, 0, 0, 0, 0, -1))


def place(folder, *names, when=NEW):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
        os.utime(path, (when, when))
    return folder


def archive(path, *names, when=(2026, 11, 1, 12, 0, 0)):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as file:
        for name in names:
            file.writestr(zipfile.ZipInfo(name, when), "{}")
    return path


def found(where):
    """({(student, lab): the file's last name}, faults)."""
    those, faults = submissions.find(where)
    return {(each.student, each.lab): each.shown.split(":")[-1].split("/")[-1] for each in those}, faults


@pytest.mark.parametrize(
    "name",
    [
        "ada/01_data.ipynb",
        "ada/week 3/01_data (1).ipynb",
        "submitted/ada/01_data/anything.ipynb",
        "submissions/ada/Data-2.ipynb",
        "01_data/ada/01_data.ipynb",
        "ada_12345_assignsubmission_file_/01_data.ipynb",
        "ada_12345_assignsubmission_file_01_data.ipynb",
        "ada_12345_67890_01_data-2.ipynb",
        "ada_LATE_12345_67890_01_data.ipynb",
        "01_data/ada_12345_67890_01_data.ipynb",
    ],
)
@pytest.mark.parametrize("how", ["a folder", "a zip", "a zip in a folder", "a zip of a folder"])
def test_the_names_of_systems(tmp_path, name, how):
    if how == "a folder":
        where = place(tmp_path, name)
    elif how == "a zip of a folder":
        where = (
            archive(tmp_path / "class.zip", f"class/{name}")
            if "/" in name
            else archive(tmp_path / "submissions.zip", f"submissions/{name}")
        )
    else:
        where = archive(tmp_path / "in" / "class.zip", name)
        where = where.parent if how == "a zip in a folder" else where
    those, faults = found(where)
    assert list(those) == [("ada", "01")] and not faults


@pytest.mark.parametrize(
    "name",
    [
        "ada.zip",
        "ada/hw.zip",
        "ada_2026_11_25T10_00_00_123456.zip",
        "ada_12345_67890_hw.zip",
        "submitted/ada/01_data/hw.zip",
    ],
)
def test_the_zip_of_one_student(tmp_path, name):
    archive(tmp_path / name, "01_data.ipynb")
    those, faults = found(tmp_path)
    assert list(those) == [("ada", "01")] and not faults


@pytest.mark.parametrize(
    "where",
    [
        "mallory/hw.zip",
        "mallory_12345_67890_hw.zip",
        "mallory_12345_assignsubmission_file_/hw.zip",
        "mallory_2026_11_25T10_00_00_1.zip",
    ],
)
@pytest.mark.parametrize(
    "inner",
    [
        "bob/01_data.ipynb",
        "submitted/bob/01_data.ipynb",
        "bob_1_2_01_data.ipynb",
        "bob_1_assignsubmission_file_/01_data.ipynb",
    ],
)
def test_names_inside_a_students_zip_count_for_nothing(tmp_path, where, inner):
    place(tmp_path, "bob/01_data.ipynb", when=OLD)
    archive(tmp_path / where, inner, when=(2030, 1, 1, 0, 0, 0))
    those, faults = submissions.find(tmp_path)
    assert [(each.student, each.member) for each in those] == [("bob", None), ("mallory", inner)] and not faults


@pytest.mark.parametrize(
    "name",
    [
        "mallory/bob_1_2_01_data.ipynb",
        "mallory/submitted/bob/01_data.ipynb",
        "mallory/bob_1_assignsubmission_file_01_data.ipynb",
        "mallory_1_2_bob_1_2_01_data.ipynb",
        "mallory_1_2_x_bob_attempt_2026-12-01-23-59-00_01_data.ipynb",
        "Lab 1_mallory_attempt_2026-12-01-23-59-00_x_bob_attempt_2026-12-01-23-59-00_01_data.ipynb",
    ],
)
def test_names_that_a_student_chose_count_for_nothing(tmp_path, name):
    assert [each.student for each in submissions.find(place(tmp_path, name))[0]] == ["mallory"]


def test_of_two_marks_of_moodles_none_is_believed(tmp_path):
    """In a file's name both a person's name and the name of the file are chosen."""
    place(tmp_path, "mallory_1_assignsubmission_file_bob_2_assignsubmission_file_01_data.ipynb")
    ((), (fault,)) = submissions.find(tmp_path)
    assert "belongs to no student" in fault


@pytest.mark.parametrize("other", ["=ada", "id 101", "number 71", "ada."])
def test_a_name_in_the_roster_is_no_login_and_no_number(tmp_path, other):
    (tmp_path / "class.csv").write_text(f"Student,ID,Login,Identifier\nAda,101,ada,Participant 71\n{other},9,m,\n")
    known = submissions.roster(tmp_path / "class.csv")
    for asked in (("ada",), ("x", "101"), ("x", "", "71")):
        assert submissions.in_roster(known, *asked)["Student"] == "Ada"


def test_a_class_zip_does_not_displace_what_lies_in_the_students_folder(tmp_path):
    place(tmp_path, "bob/01_data.ipynb", when=OLD)
    archive(tmp_path / "class.zip", "bob/01_data.ipynb", "eve/01_data.ipynb", when=(2030, 1, 1, 0, 0, 0))
    those, faults = submissions.find(tmp_path)
    assert [(each.student, each.own) for each in those] == [("bob", True), ("eve", False)]
    assert "bob handed in lab 01 twice" in faults[0] and faults[0].startswith(str(tmp_path / "class.zip"))


def test_of_two_the_later_counts_wherever_it_is(tmp_path):
    place(tmp_path, "ada/01_data.ipynb", when=OLD)
    archive(tmp_path / "ada" / "again.zip", "data.ipynb", when=(2026, 11, 2, 12, 0, 0))
    assert found(tmp_path)[0] == {("ada", "01"): "data.ipynb"}
    place(tmp_path, "ada/01_data.ipynb", when=NEW + 60)
    assert found(tmp_path)[0] == {("ada", "01"): "01_data.ipynb"}


def test_of_two_at_one_time_the_higher_number_counts(tmp_path):
    place(tmp_path, "ada_1_2_01_data.ipynb", "ada_1_3_01_data-10.ipynb", "ada_1_3_01_data-2.ipynb")
    assert found(tmp_path)[0] == {("ada", "01"): "ada_1_3_01_data-10.ipynb"}


@pytest.mark.parametrize("name", ["José", "O'Brien, Ann (2)", "अदिती", "สมชาย", "ada@uni.edu", "a_b-c.d+e"])
def test_people_have_names(tmp_path, name):
    assert [each.student for each in submissions.find(place(tmp_path, f"{name}/01_data.ipynb"))[0]] == [name]
    apart = place(tmp_path / "macOS", unicodedata.normalize("NFD", name) + "/01_data.ipynb")
    assert [each.student for each in submissions.find(apart)[0]] == [name]


@pytest.mark.parametrize(
    "name",
    ["=1+1", "@SUM(1)", "+1", "-1", "a\tb", "a\nb", "a|b", "a;b", '"a"', "x" * 101, "語" * 80, "a\u202eb", "_", "a."],
)
def test_what_is_no_name_is_a_line(tmp_path, name):
    those, faults = submissions.find(place(tmp_path, f"{name}/01_data.ipynb", "ada/01_data.ipynb"))
    assert [each.student for each in those] == ["ada"] and len(faults) == 1 and "\n" not in faults[0]


def test_links_are_not_followed(tmp_path):
    place(tmp_path, "out/01_data.ipynb", "in/ada/01_data.ipynb")
    (tmp_path / "in" / "bob").symlink_to(tmp_path / "out", target_is_directory=True)
    (tmp_path / "in" / "eve").mkdir()
    (tmp_path / "in" / "eve" / "01_data.ipynb").symlink_to(tmp_path / "out" / "01_data.ipynb")
    those, faults = found(tmp_path / "in")
    assert list(those) == [("ada", "01")]
    assert len(faults) == 2 and all("links are not followed" in fault for fault in faults)


def nested(path, inside, *names):
    """A zip at `path` that holds the zip `inside`, which holds these names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    inner = archive(path.parent / "inner.zip", *names)
    with zipfile.ZipFile(path, "w") as file:
        file.write(inner, inside)
    inner.unlink()
    return path


@pytest.mark.parametrize(
    "where, inside, names, expected",
    [
        ("class.zip", "ada.zip", ["01_data.ipynb"], ["ada"]),
        ("class.zip", "ada_1_2_hw.zip", ["bob/01_data.ipynb", "02_tokenization.ipynb"], ["ada", "ada"]),
        ("class.zip", "ada/hw.zip", ["bob_1_2_01_data.ipynb"], ["ada"]),
        ("class.zip", "ada_2026_11_25T10_00_00_1.zip", ["01_data.ipynb"], ["ada"]),
        ("ada/hw.zip", "bob.zip", ["eve/01_data.ipynb"], ["ada"]),
    ],
)
def test_a_students_zip_in_a_zip_is_the_students(tmp_path, where, inside, names, expected):
    nested(tmp_path / where, inside, *names)
    those, faults = submissions.find(tmp_path)
    assert [each.student for each in those] == expected and not faults
    assert submissions.read(those[0].path, those[0].member) == b"{}" and "\0" not in those[0].shown


def test_a_zip_in_a_zip_in_a_zip_is_told(tmp_path):
    nested(tmp_path / "class.zip", "ada.zip", "more.zip")
    (fault,) = submissions.find(tmp_path)[1]
    assert "a zip in a zip in a zip" in fault and "\0" not in fault


NAMED = '{"cells": [{"cell_type": "code", "source": ["@lk.exercise(\\"data.jaccard\\")\\n"]}]}'


def test_a_notebook_under_another_name_is_known_by_its_exercises(tmp_path):
    (place(tmp_path, "ada/My homework final.ipynb") / "ada" / "My homework final.ipynb").write_text(NAMED)
    those, faults = submissions.find(tmp_path)
    assert [(each.student, each.lab) for each in those] == [("ada", "01")] and "treated as lab 01" in faults[0]
    place(tmp_path, "ada/01_data.ipynb", when=OLD)  # what bears the lab's name goes before it
    assert found(tmp_path)[0] == {("ada", "01"): "01_data.ipynb"}


@pytest.mark.parametrize(
    "name, text", [("99_nothing.ipynb", NAMED), ("notes.ipynb", "{}"), ("both.ipynb", NAMED + "exercise('masking.x')")]
)
def test_what_is_no_lab_is_told(tmp_path, name, text):
    (place(tmp_path, f"ada/{name}") / "ada" / name).write_text(text)
    (fault,) = submissions.find(tmp_path)[1]
    assert "not that of a lab with exercises" in fault


ROSTER = """Student,ID,SIS User ID,SIS Login ID,Section,Lab 01 (555),Notes
    Points Possible,,,,,10,
"Smith, John",108,u108,jsmith,A,,
"Smith, John",109,u109,jsmith2,B,,
"Kim, Lee",1,,lkim,A,,
"Lee, Kim",2,,klee,A,,
"Lovelace, Ada",101,u101,ada,A,,
"lkim",66,,mallory,A,,
"Lovelace, Ada",101,u101,ada,B,,
"Student, Test",7,,test,A,,
"""


@pytest.fixture
def known(tmp_path):
    (tmp_path / "class.csv").write_text(ROSTER)
    return submissions.roster(tmp_path / "class.csv")


@pytest.mark.parametrize(
    "name, id, expected",
    [
        ("lovelaceada", "", "101"), ("Ada Lovelace", "", "101"), ("Lovelace, Ada", "", "101"), ("ada", "", "101"),
        ("101", "", "101"), ("u101", "", "101"), ("nickname", "101", "101"), ("kimlee", "1", "1"), ("leekim", "2", "2"),
        ("kimlee", "", None), ("smithjohn", "", None), ("smithjohn 109", "109", "109"), ("nobody", "", None),
        ("Student, Test", "", None), ("lkim", "", "1"),
    ],
)  # fmt: skip
def test_the_roster_finds_people_and_never_guesses(known, name, id, expected):
    person = submissions.in_roster(known, name, id)
    assert (person and person["ID"]) == expected


def test_two_people_of_one_name_are_two(tmp_path, known):
    folder = place(
        tmp_path / "in",
        "smithjohn_108_1_01_data.ipynb",
        "smithjohn_109_2_01_data.ipynb",
        "smithjohn_109_3_02_tokenization.ipynb",
    )
    place(folder, "John Kim_8_assignsubmission_file_/01_data.ipynb", "John Kim_9_assignsubmission_file_/01_data.ipynb")
    those, _ = submissions.find(folder, known)
    assert [each.student for each in those] == [
        "John Kim 8",
        "John Kim 9",
        "smithjohn 108",
        "smithjohn 109",
        "smithjohn 109",
    ]
    assert [submissions.in_roster(known, each.student, each.id)["ID"] for each in those[2:]] == ["108", "109", "109"]


def test_one_person_under_two_names_is_one(tmp_path, known):
    folder = place(tmp_path / "in", "Ada Lovelace/01_data.ipynb", when=OLD)
    place(folder, "lovelaceada_101_5_01_data.ipynb")
    those, (fault,) = submissions.find(folder, known)
    assert [each.student for each in those] == ["lovelaceada"] and "Lovelace, Ada handed in lab 01 twice" in fault


@pytest.mark.parametrize(
    "titles, expected",
    [
        (["Lab 01 (555)", "Lab 3: loss (7)", "Final Score"], {"01": "Lab 01 (555)", "03": "Lab 3: loss (7)"}),
        (["01_data (9)", "lab-04"], {"01": "01_data (9)", "04": "lab-04"}),
        (["Lab 01 quiz (1)", "Lab 01 (2)", "Big data (3)", "1st essay", "Lab 99", "Week 1 lab"], {}),
    ],
)
def test_a_column_of_the_roster_is_a_labs_only_if_one_says_so(tmp_path, titles, expected):
    (tmp_path / "class.csv").write_text(f"Student,ID,{','.join(titles)}\nAda,1\n")
    assert submissions.in_roster(submissions.roster(tmp_path / "class.csv"), "Ada")["columns"] == expected


@pytest.mark.parametrize("text", ["name;email\nJosé;j@x\n", "name\temail\nJosé\tj@x\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252"])
def test_what_spreadsheets_write_is_read(tmp_path, text, encoding):
    (tmp_path / "class.csv").write_bytes(text.encode(encoding))
    assert submissions.in_roster(submissions.roster(tmp_path / "class.csv"), "José")["Student"] == "José"


@pytest.mark.parametrize("data", [b"", b"a,b\n1,2\n", b"\0\0\0", b"Student\n"])
def test_what_is_no_roster_is_a_line(tmp_path, data):
    (tmp_path / "class.csv").write_bytes(data)
    with pytest.raises(InputError, match="needs a first line|cannot be read"):
        submissions.roster(tmp_path / "class.csv")


@pytest.mark.parametrize("data", [b"", b"PK\5\6", b"PK\3\4" + b"\0" * 100])
def test_a_zip_that_is_none_is_told(tmp_path, data):
    (tmp_path / "class.zip").write_bytes(data)
    (fault,) = submissions.find(tmp_path)[1]
    assert "not a readable zip" in fault


def test_a_zip_whose_list_of_members_is_huge_is_refused_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(submissions, "MAX_READ", 1_000)
    archive(tmp_path / "class.zip", *(f"student-{number}/01_data.ipynb" for number in range(50)))
    (fault,) = submissions.find(tmp_path)[1]
    assert "its list of files takes more than" in fault


@pytest.mark.parametrize("how", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_what_can_only_be_unpacked_whole_is_refused(tmp_path, how):
    with zipfile.ZipFile(tmp_path / "ada.zip", "w", how) as file:
        file.writestr("01_data.ipynb", b"0" * 1_000)
    (submission,), _ = submissions.find(tmp_path)
    with pytest.raises(InputError, match="cannot be read piece by piece"):
        submissions.read(submission.path, submission.member)


@pytest.mark.parametrize("seed", range(40))
def test_a_damaged_zip_is_a_line_whatever_is_damaged(tmp_path, seed):
    path, rng = nested(tmp_path / "class.zip", "bob.zip", "01_data.ipynb"), random.Random(seed)
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("ada/01_data.ipynb", "{}" * 50)
    data = bytearray(path.read_bytes())
    for _ in range(rng.choice((1, 3, 10))):
        data[rng.randrange(len(data))] = rng.randrange(256)
    path.write_bytes(data)
    try:
        for submission in submissions.find(tmp_path)[0]:
            submissions.read(submission.path, submission.member)
    except InputError as error:
        assert "\n" not in str(error)


def test_long_names_cost_nothing():
    assert (
        submissions.lab_of("-1" * 100_000 + "x") is None
        and submissions.lab_of("01_data" + " (1)-copy2-submission" * 9) == "01"
    )


def test_one_zip_makes_few_lines(tmp_path):
    archive(
        tmp_path / "class.zip", *(f"s{number}/nothing.ipynb" for number in range(500)), "s/" + "x" * 1_000 + ".ipynb"
    )
    faults = submissions.find(tmp_path)[1]
    assert len(faults) == submissions.MAX_FAULTS + 1 and "481 more such files" in faults[-1]


def test_a_students_own_zip_goes_before_names_in_anothers(tmp_path):
    archive(tmp_path / "bob.zip", "01_data.ipynb")
    archive(tmp_path / "mallory.zip", "bob/01_data.ipynb", when=(2107, 1, 1, 0, 0, 0))
    (bob,), (fault,) = submissions.find(tmp_path)
    assert bob.path.endswith("bob.zip") and "twice" in fault


def test_a_zip_of_very_many_members_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(submissions, "MAX_MEMBERS", 3)
    archive(tmp_path / "class.zip", *(f"student-{number}/01_data.ipynb" for number in range(4)))
    (fault,) = submissions.find(tmp_path)[1]
    assert "4 files in one zip" in fault


@pytest.mark.parametrize(
    "name, says",
    [("none", "there is no"), ("", "holds no notebook"), ("01_data.ipynb", "is a notebook; give the folder")],
)
def test_nothing_is_refused(tmp_path, name, says):
    if name.endswith("ipynb"):
        place(tmp_path, name)
    with pytest.raises(InputError, match=says):
        submissions.find(tmp_path / name)


# What is in the gradebook already


def graded(tmp_path, monkeypatch, capsys, name, *more):
    """(exit status, {student: (points, the file)}, the lines) after grading what lies in `name`; a file's text is its points."""

    def one_by_one(function, items, *, progress=lambda index, line: None, **_):
        lines = []
        for job in items:
            points = int(submissions.read(job.path, job.member) or b"0")
            lines.append(
                json.dumps(judge._line(job, judge.digest(job), "graded", {}) | {"points": points, "shown": job.path})
            )
            progress(len(lines) - 1, lines[-1])
        return lines

    monkeypatch.setattr(cluster, "map", one_by_one)
    status = main(
        ["grade", str(tmp_path / name), "--out", str(tmp_path / "out"), "--seed", "1", "--unsandboxed", *more]
    )
    rows = {
        (row["student"], row["lab"]): row["points"] for row in book.Ledger(tmp_path / "out" / "ledger.jsonl").rows()
    }
    return status, {student: points for (student, _), points in rows.items()}, capsys.readouterr().out.splitlines()


def hand_in(path, points, inner=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    if inner is None:
        path.write_text(str(points))
    else:
        with zipfile.ZipFile(path, "a") as file:
            file.writestr(inner, str(points))


def test_in_a_later_batch_too_no_zip_displaces_what_its_owner_handed_in(tmp_path, monkeypatch, capsys):
    hand_in(tmp_path / "first" / "bob" / "01_data.ipynb", 7)
    assert graded(tmp_path, monkeypatch, capsys, "first")[:2] == (0, {"bob": 7})
    hand_in(tmp_path / "late" / "mallory.zip", 0, "bob/01_data.ipynb")
    hand_in(tmp_path / "late" / "mallory.zip", 3, "eve/01_data.ipynb")
    status, points, lines = graded(tmp_path, monkeypatch, capsys, "late")
    assert status == 1 and points == {"bob": 7, "eve": 3}
    assert any("not graded; bob has handed in lab 01" in line for line in lines)
    report = (tmp_path / "out" / "report.html").read_text().partition("To look at")[2]
    assert "not graded; bob has handed in lab 01" in report and "assigned by the names inside" in report

    hand_in(tmp_path / "again" / "other.zip", 0, "eve/01_data.ipynb")  # nor what another zip gave her
    status, points, _ = graded(tmp_path, monkeypatch, capsys, "again")
    assert status == 1 and points == {"bob": 7, "eve": 3}

    hand_in(tmp_path / "own" / "eve" / "01_data.ipynb", 9)  # she herself may
    hand_in(tmp_path / "own" / "bob" / "01_data.ipynb", 8)
    assert graded(tmp_path, monkeypatch, capsys, "own")[:2] == (0, {"bob": 8, "eve": 9})


def test_a_zip_that_is_itself_given_is_the_classs(tmp_path, monkeypatch, capsys):
    hand_in(tmp_path / "class.zip", 5, "bob/01_data.ipynb")
    assert graded(tmp_path, monkeypatch, capsys, "class.zip")[:2] == (0, {"bob": 5})
    hand_in(tmp_path / "class-2.zip", 6, "bob/01_data.ipynb")
    assert graded(tmp_path, monkeypatch, capsys, "class-2.zip")[:2] == (0, {"bob": 6})
    hand_in(tmp_path / "late" / "mallory.zip", 0, "bob/01_data.ipynb")
    assert graded(tmp_path, monkeypatch, capsys, "late")[:2] == (1, {"bob": 6})


def test_with_a_roster_the_learners_own_counts_under_whatever_name(tmp_path, monkeypatch, capsys):
    (tmp_path / "class.csv").write_text('Student,ID,SIS Login ID,Section\n"Smith, Bob",1,bob,A\n')
    more = ["--roster", str(tmp_path / "class.csv"), "--canvas"]
    hand_in(tmp_path / "first" / "smithbob_1_2_01_data.ipynb", 7)
    assert graded(tmp_path, monkeypatch, capsys, "first", *more)[0] == 0
    hand_in(tmp_path / "late" / "mallory.zip", 0, "bob/01_data.ipynb")
    status, _, lines = graded(tmp_path, monkeypatch, capsys, "late", *more)
    assert status == 1 and any("smithbob, which is the learner's own, counts" in line for line in lines)


@pytest.mark.parametrize("one, other", [("bob_1_2_01_data.ipynb", "bob_3_4_01_data.ipynb"),
                                        ("bob_1_assignsubmission_file_01_data.ipynb", "bob_3_assignsubmission_file_01_data.ipynb")])  # fmt: skip
def test_two_of_one_name_are_kept_apart_in_later_batches_too(tmp_path, monkeypatch, capsys, one, other):
    hand_in(tmp_path / "first" / one, 7)
    hand_in(tmp_path / "late" / other, 2)
    hand_in(tmp_path / "last" / other, 3)
    assert graded(tmp_path, monkeypatch, capsys, "first")[:2] == (0, {"bob": 7})
    status, points, lines = graded(tmp_path, monkeypatch, capsys, "late")
    assert status == 1 and points == {"bob": 7, "bob 3": 2} and any("not the bob who" in line for line in lines)
    assert graded(tmp_path, monkeypatch, capsys, "last")[:2] == (0, {"bob": 7, "bob 3": 3})
