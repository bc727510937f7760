"""What an instructor relies on: honest work gets its points, mistakes their names, and a second run changes nothing."""

import contextlib
import csv
import json
import subprocess
import sys

import pytest
from oracle import notebook

from labkit.cli import main
from labkit.common import InputError
from labkit.exercises import catalogue, cell_of, find, reference_cell
from labkit.grading import assemble, book, judge, pages, sandbox, similarity

pytestmark = pytest.mark.usefixtures("one_judge")
STUB = '@lk.exercise("data.jaccard")\ndef jaccard(a, b):\n    """…"""\n    ...\n'
SMALLER = cell_of(find("data.jaccard"), find("data.jaccard").misconceptions[0].function)


POINTS = sum(exercise.points for exercise in catalogue().values() if exercise.lab == "01")


def write(folder, student, text, lab="01_data"):
    (folder / student).mkdir(parents=True, exist_ok=True)
    (folder / student / f"{lab}.ipynb").write_text(text)


def references(lab="01"):
    return [reference_cell(exercise) for exercise in catalogue().values() if exercise.lab == lab]


TELLS = """@lk.exercise("data.jaccard")
def jaccard(a, b):
    raise type("A" + str(len(a)), (Exception,), {})(repr(a))
"""


@pytest.fixture(scope="module")
def graded(tmp_path_factory, one_judge):
    folder, out = tmp_path_factory.mktemp("submissions"), tmp_path_factory.mktemp("grades")
    write(folder, "ada", notebook(*references()))
    wild = ["", "print('hello')\n" + references()[3], *reversed(references()[:3]), *references()[4:], "1 / 0"]
    write(
        folder,
        "colab",
        notebook(*wild, nbformat_minor=0, metadata={"colab": {"name": "x"}, "widgets": {"state": None}}),
    )
    write(folder, "empty", notebook())
    write(folder, "stub", notebook(STUB))
    write(folder, "raises", notebook('@lk.exercise("data.jaccard")\ndef jaccard(a, b):\n    return a.nothing\n'))
    write(folder, "named", notebook(SMALLER))
    write(
        folder,
        "alone",
        notebook("import json", '@lk.exercise("data.jaccard")\ndef jaccard(a, b):\n    return json.loads(a)\n'),
    )
    write(folder, "tells", notebook(TELLS))
    write(folder, "long", notebook(SMALLER + "# " + "x" * 100_000))
    write(folder, "broken", "{")
    status = main(["grade", str(folder), "--out", str(out), "--seed", "11", "--keep"])
    with open(out / "gradebook.csv") as file:
        rows = {row["student"]: row for row in csv.DictReader(file)}
    return folder, out, status, rows


def test_honest_work_is_graded(graded):
    _, _, status, rows = graded
    assert status == 1  # one of them is no notebook
    assert {s: float(row["points"]) for s, row in rows.items()} == {
        "ada": POINTS, "colab": POINTS, "empty": 0, "stub": 0, "raises": 0, "named": 0, "alone": 0, "tells": 0,
        "long": 0, "broken": 0,
    }  # fmt: skip


def feedback(out, student):
    return (out / "feedback" / student / "01_data.html").read_text()


def test_feedback_names_the_mistake_and_shows_no_hidden_input(graded):
    _, out, _, _ = graded
    rows = {row["student"]: row for row in book.Ledger(out / "ledger.jsonl").rows()}
    page = feedback(out, "raises")
    assert "AttributeError in line 3" in page and rows["raises"]["exercises"]["data.jaccard"]["text"] not in page
    assert "default-src 'none'" in page and "<script" not in page
    assert "known mistake" in feedback(out, "named")
    assert "(for jaccard(" not in page and "details" in pages.feedback(rows["raises"] | {"released": True}, "01_data")
    assert "It raised an error in line 3" in feedback(out, "tells")  # its name would tell the input
    assert "NameError in line 3" in feedback(out, "alone") and "A cell is tried by itself" in feedback(out, "alone")
    assert "more than 100,000 characters" in feedback(out, "long")


DEF = '@lk.exercise("data.jaccard")\ndef jaccard(a, b):\n    '


@pytest.mark.parametrize(
    "source, says",
    [
        (
            DEF.replace(":\n", "\n") + "return 1\n",
            ["raised SyntaxError", "Python cannot read line 2 of your cell (expected &#39;:&#39;)"],
        ),
        (
            "import tensorflow\n" + DEF + "return 1\n",
            ["raised ModuleNotFoundError in line 1", "the packages of the kit are there"],
        ),
        ("1 / 0\n" + DEF + "return 1\n", ["raised ZeroDivisionError in line 1"]),
        (
            DEF + "return lenn(a) / take(b)\n",
            ["raised NameError in line 3", "does not define: <code>lenn</code>, <code>take</code>"],
        ),
        (
            DEF.replace("a, b", "a, b, c") + "return 1\n",
            ["raised TypeError", "called as <code>jaccard(a, b)</code>; yours takes 3 arguments"],
        ),
        (DEF + "print(a & b)\n", ["there is no <code>return</code>"]),
        (DEF + "for i in range(99_999): print(a)\n    return 1\n", ["It prints too much"]),
        (DEF + "return lk.dedup.jaccard(a, b)\n", ["raised AttributeError in line 3", "only <code>lk.exercise</code>"]),
        (DEF + "return len(a & b) / 0\n", ["raised ZeroDivisionError in line 3", "Hint: "]),
        (DEF + "return len(a & b) / len(a | b)\n", ["a known mistake: Two empty sets have no element in either"]),
        (
            "if False:\n    @lk.exercise('data.jaccard')\n    def jaccard(a, b): return 1\n",
            ["No function in the cell is under"],
        ),
    ],
)
def test_what_the_cell_itself_shows_is_said(told, source, says):
    for words in says:
        assert words in told[source]


@pytest.fixture(scope="module")
def told(tmp_path_factory, one_judge):
    """{source of a cell: its feedback}, all graded in one run."""
    folder, out = tmp_path_factory.mktemp("told"), tmp_path_factory.mktemp("told-grades")
    (mark,) = (mark for mark in test_what_the_cell_itself_shows_is_said.pytestmark if mark.name == "parametrize")
    sources = [source for source, _ in mark.args[1]]
    for number, source in enumerate(sources):
        write(folder, f"s{number}", notebook(source))
    assert main(["grade", str(folder), "--out", str(out), "--seed", "3"]) == 0
    return {source: feedback(out, f"s{number}") for number, source in enumerate(sources)}


@pytest.mark.parametrize("line", ["%matplotlib inline", "!pip install numpy", "%%time", "  "])
def test_lines_that_only_a_notebook_knows_do_no_harm(line):
    source = f"{line}\n{reference_cell(find('data.jaccard'))}"
    cells = assemble.exercise_cells([source], [find("data.jaccard")])
    compile(cells["data.jaccard"], "cell", "exec")


def test_a_percent_sign_at_the_start_of_a_line_may_be_python():
    source = DEF + "return (a\n  % b)\n"
    assert assemble.exercise_cells([source], [find("data.jaccard")]) == {"data.jaccard": source}


@pytest.mark.parametrize(
    "data, says",
    [
        (b"PK\3\4", "a zip, or a word processor document"),
        (b"\xff\xfe", "not even text"),
        (b'{"cells": [', "its end is missing"),
    ],
)
def test_what_is_no_notebook_is_named(data, says):
    with pytest.raises(InputError, match=says):
        assemble.read_cells(data)


def test_what_could_not_be_graded_gets_a_page_that_says_what_to_do(graded):
    page = feedback(graded[1], "broken")
    assert "hand in the file that ends in .ipynb" in page and "data.jaccard" not in page


def test_the_report_orders_mistakes_by_how_many_made_them():
    def row(student, **kinds):
        got = {"points": 0, "possible": 1, "groups": {}}
        exercises = {f"data.{id}": got | {"kind": "misconception", "misconception": name} for id, name in kinds.items()}
        return {
            "student": student,
            "lab": "01",
            "outcome": "graded",
            "exercises": exercises,
            "points": 0,
            "possible": 3,
        }

    rows = [row("a", split_by_time="sorted by date", jaccard="distance"), row("b", jaccard="distance")]
    rows.append(row("c") | {"exercises": {"data.jaccard": {"kind": "raised", "error": "KeyError", "points": 0}}})
    page = pages.report(rows, {"01": "01_data"}, ["Eve"], ["f.ipynb: <no> lab"])
    assert page.index("<strong>2 learners</strong>, data.jaccard, <em>distance</em>") < page.index(
        "<strong>1 learner</strong>"
    )
    assert "a known mistake 2, another mistake 1, not tried 0" in page
    assert (
        "data.jaccard: raised KeyError 1" in page
        and '<a href="feedback/c/01_data.html">c</a>' in page
        and "Eve" in page
        and "&lt;no&gt;" in page
    )


def test_what_was_released_stays_released(tmp_path):
    write(tmp_path / "in", "ada", notebook(SMALLER))
    write(tmp_path / "in", "bob", notebook(SMALLER))
    arguments = ["grade", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--seed", "1"]
    for more, released in (([], False), (["--release", "ada"], True), ([], True)):
        assert main([*arguments, *more]) == 0
        assert ("<details>" in feedback(tmp_path / "out", "ada")) == released
        assert "<details>" not in feedback(tmp_path / "out", "bob")


ROSTER = """Student,ID,SIS Login ID,Section,Lab 01 (555)
"Lovelace, Ada",101,ada,A,
"Hopper, Grace",102,grace,A,
"Turing, Alan",103,alan,A,
"""


def rows_of(path):
    with open(path) as file:
        return list(csv.DictReader(file))


def test_a_class_is_graded_piece_by_piece_into_one_gradebook(tmp_path, capsys):
    (tmp_path / "class.csv").write_text(ROSTER)
    write(tmp_path / "first", "lovelaceada", notebook(SMALLER, references()[0]))
    write(tmp_path / "first", "ghost", notebook(STUB))
    write(tmp_path / "late", "Grace Hopper", "{")
    write(tmp_path / "late", "Ada Lovelace", notebook(), lab="03_cross_entropy")
    more = ["--out", str(tmp_path / "out"), "--roster", str(tmp_path / "class.csv"), "--canvas", "--seed", "1"]
    assert main(["grade", str(tmp_path / "first"), *more]) == 1
    said = capsys.readouterr().out
    assert "ghost: not in the roster" in said and "Turing, Alan: handed in nothing" in said

    assert main(["grade", str(tmp_path / "late"), *more, "--leave-out", "data.jaccard"]) == 1
    said = capsys.readouterr().out
    assert "2 students were graded earlier" in said and "Hopper, Grace: handed in nothing for lab 03" in said
    book_ = {(row["student"], row["lab"]): row for row in rows_of(tmp_path / "out" / "gradebook.csv")}
    assert set(book_) == {("lovelaceada", "01"), ("ghost", "01"), ("Grace Hopper", "01"), ("Ada Lovelace", "03")}
    assert (book_["lovelaceada", "01"]["points"], book_["lovelaceada", "01"]["possible"]) == ("1.0", str(POINTS - 1))
    assert "data.jaccard" not in book_["ghost", "01"]
    first, grace, ada = rows_of(tmp_path / "out" / "canvas.csv")
    assert first["Lab 01 (555)"] == str(POINTS - 1) and first["03_cross_entropy"] == "9"
    assert (ada["ID"], ada["Lab 01 (555)"], ada["03_cross_entropy"]) == ("101", "1.0", "0")
    assert (grace["ID"], grace["Lab 01 (555)"]) == ("102", "")  # it could not be read

    write(tmp_path / "again", "Ada Lovelace", notebook(*references()))  # who was graded as lovelaceada
    assert main(["grade", str(tmp_path / "again"), *more]) == 1
    assert "graded for lab 01 as lovelaceada and as Ada Lovelace; the later counts" in capsys.readouterr().out
    assert rows_of(tmp_path / "out" / "canvas.csv")[2]["Lab 01 (555)"] == f"{POINTS}.0"


def test_keeping_comes_later_too_and_release_knows_the_roster(tmp_path):
    (tmp_path / "class.csv").write_text(ROSTER)
    write(tmp_path / "in", "lovelaceada", notebook(SMALLER))
    more = [
        "grade",
        str(tmp_path / "in"),
        "--out",
        str(tmp_path / "out"),
        "--roster",
        str(tmp_path / "class.csv"),
        "--seed",
        "1",
    ]
    assert main(more) == 0
    assert main([*more, "--keep", "--release", "Lovelace, Ada"]) == 0
    assert (tmp_path / "out" / "assembled" / "lovelaceada" / "01.ipynb").exists()
    page = feedback(tmp_path / "out", "lovelaceada")
    assert "<details>" in page and f"Lovelace, Ada: <strong>0 of {POINTS}" in page
    assert main([*more, "--release", "Hopper, Grace"]) == 2


@pytest.mark.parametrize("out", ["in", "in/grades"])
def test_the_grades_do_not_go_among_the_submissions(tmp_path, out, capsys):
    write(tmp_path / "in", "ada", notebook(STUB))
    assert main(["grade", str(tmp_path / "in"), "--out", str(tmp_path / out)]) == 2
    assert "give a place beside it" in capsys.readouterr().err and not (tmp_path / "in" / "grades").exists()


def test_a_kept_notebook_runs_by_check_lab_as_it_is(graded):
    _, out, _, _ = graded
    for student, right in (("ada", True), ("named", False), ("raises", False)):
        path = out / "assembled" / student / "01.ipynb"
        assert (main(["check-lab", str(path), "--kernel", "labkit-grade"]) == 0) == right
        assert "run it in a terminal" in path.read_text()


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


def test_cells_of_a_spreadsheet_are_no_formulas():
    assert [book.safe(cell) for cell in ("=1+1", "@x", " -2", "ada", 3)] == ["'=1+1", "'@x", "' -2", "ada", 3]


def test_the_last_definition_wins_and_format_3_is_read():
    old = {
        "nbformat": 3,
        "worksheets": [{"cells": [{"cell_type": "code", "input": [STUB]}, {"cell_type": "code", "input": SMALLER}]}],
    }
    cells = assemble.exercise_cells(assemble.read_cells(json.dumps(old).encode()), [find("data.jaccard")])
    assert cells == {"data.jaccard": SMALLER}


def test_expected_answers_are_outputs_and_never_sources():
    made, parts = assemble.notebook({"data.jaccard": SMALLER}, 3)
    probes = [cell for cell, part in zip(made["cells"], parts) if part.what == "probe"]
    assert probes and all(cell["outputs"] and "value" not in cell["source"] for cell in probes)


ODD = [
    "x",
    7,
    None,
    [],
    {},
    [[]],
    ["m", "x", None],
    [["m"], [1, 2, 3], "no"],
    [[{}, []], ["m", True], ["m", 10**30]],
    {"a": 1},
]


@pytest.mark.parametrize("words", ODD)
@pytest.mark.parametrize(
    "answers", [*ODD, [{"error": "ValueError"}] * 3, [{"value": 1}, {"value": {"set": 3}}, {"error": 3}]]
)
def test_whatever_is_displayed_is_an_outcome_for_each_call(answers, words):
    for said in (answers, {"answers": answers}, {"failed": answers}):
        for metadata in (words, {assemble.ANSWER: words}):
            outcomes = assemble.decoded({"data": {assemble.ANSWER: said}, "metadata": metadata}, [(1,)] * 3)
            assert len(outcomes) == 3
            for outcome, _ in outcomes:
                assert isinstance(outcome.message, str) and type(outcome.line) in (int, type(None))
                json.dumps([outcome.value, outcome.error])


def test_renaming_hides_no_copy():
    one = reference_cell(find("data.clusters"))
    assert similarity.normal(one) == similarity.normal(one.replace("pairs", "edges").replace("group", "g"))


def test_what_is_no_python_is_compared_in_no_time():
    assert similarity.normal("x = '" + r"\'" * 50_000 + "\n") == ["x", "=", "'" + r"\'" * 50_000]


def test_a_hundred_copies_are_no_five_thousand_lines():
    """Of the reference, of a changed reference, and of a learner's own."""
    known = reference_cell(find("data.clusters"))
    own = known.replace("return", "print(1, 2, 3)\n    return") + "".join(
        f"    x = [{n}, {n} + 1, {n} * 2]\n" for n in range(9)
    )
    changed = [known + f"    x = {n}\n" for n in range(100)]
    known, own, *changed = map(similarity.normal, (known, own, *changed))
    cells = [("data.clusters", similarity.REFERENCE, known)]
    cells += [("data.clusters", f"copy-{n}", known) for n in range(100)]
    cells += [("data.clusters", f"changed-{n}", changed[n]) for n in range(100)]
    cells += [("data.clusters", f"own-{n}", own) for n in range(100)]
    found = similarity.pairs(cells)
    assert {one for _, one, *_ in found} == {similarity.REFERENCE, "copy-0", "changed-0", "own-0"}
    assert len(found) == 100 + 99 + 100 + 99 + 99


@pytest.fixture
def nothing_in_path(monkeypatch):
    """A judge keeps the environment that it was started in: this one is for the test alone."""
    judge._stop_judge()
    monkeypatch.setenv("PATH", "/nowhere")
    yield
    judge._stop_judge()


def test_unsandboxed_gives_the_same_grades(tmp_path, nothing_in_path):
    """Also where there can be no sandbox."""
    write(tmp_path / "in", "ada", notebook(*references()))
    write(tmp_path / "in", "named", notebook(SMALLER))
    assert main(["grade", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--seed", "1", "--unsandboxed"]) == 0
    with open(tmp_path / "out" / "gradebook.csv") as file:
        assert {row["student"]: row["points"] for row in csv.DictReader(file)} == {"ada": f"{POINTS}.0", "named": "0.0"}


def test_a_whole_lab_finds_its_questions_in_the_sandbox(tmp_path):
    """As a notebook's cells do, which nbval runs in `labkit-sandbox`; nothing outside can be written to."""
    look = "import os, labkit as lk; from labkit import quizzes, lab; "
    look += "assert quizzes.choose('data', 'before', None) and lab.shipped_labs(); "
    look += "assert not any(os.access(p, os.W_OK) for p in ('/', lab.PACKAGE, lab.PACKAGE.parent)); print('held')"
    with contextlib.ExitStack() as stack:
        command, options = sandbox.wrapped([sys.executable, "-c", look], sandbox.WHOLE_LAB, "lab", stack)
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, **options)
    assert done.stdout.strip() == "held", done.stderr
