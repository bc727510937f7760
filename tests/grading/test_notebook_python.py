"""What a notebook accepts at home grading accepts: magics, shell lines, help, prompts, comments, encodings.

Home is IPython's own reading of a cell and then `engine.isolated`, as `@lk.exercise` tries it; grading is `assemble`,
and a namespace as the sandbox's kernel makes it. A handful goes through real kernels.
"""

import builtins
import contextlib
import io
import json
import random

import oracle
import pytest
from IPython.core.interactiveshell import InteractiveShell

from labkit.cli import main
from labkit.exercises import find, reference_cell
from labkit.exercises.engine import is_stub, isolated
from labkit.grading import assemble, book, sandbox
from labkit.grading.inside import stub
from labkit.grading.remarks import remarks

JACCARD = find("data.jaccard")
ARGUMENTS = [({1, 2}, {2, 3}), (set(), set()), ({1}, {1})]
TOP = [  # lines that a notebook takes at the top of a cell
    "jaccard?", "jaccard??", "?jaccard", "len?", "%matplotlib inline", "%load_ext autoreload", "%autoreload 2", "!pip install numpy",
    "!ls | head -3", "!echo 'a\"b' \\\n  c", "%timeit 1 + 1", "%time used = 3", "files = !echo a b", "n = !echo 3", "where = %pwd", "%pip list",
    "%config InlineBackend.figure_format = 'retina'", "# a comment with % and ! and ?", "# %%time", "display(3)", "help(len)",
    "# NBVAL_SKIP", "# -*- coding: latin-1 -*-", "café = 'ü%d' % 3; größe = '!ls'", "text = '''\n%time\n!ls\nx?\n'''", "x = 7 % 3", "y = (7\n  % 3)",
    "#@title Form { run: \"auto\" }", "print('50%?', end='!')", "s = 'a\u2028b\x0c'", "%%", "!!ls", "%cd -q /", "/len [1]", ",str a b", "import os; os.getcwd()",
]  # fmt: skip
WITHIN = [
    "# sets only?",
    "z = 50 % 7",
    "!echo inside",
    "%matplotlib inline",
    "listed = !echo 1 2",
    "word = 'naïve?'",
    "assert True  # !",
    "%timeit -n1 -r1 pass",
]
CELL_MAGICS = ["%%time", "%%capture", "%%capture out", "%%time\n%%capture", "\n\n%%time", "%%capture --no-stderr"]


def generated(seed):
    """A cell: the reference under its decorator, with lines of a notebook above, within and below, in some disguise."""
    chance = random.Random(seed)
    above, below = ([chance.choice(TOP) for _ in range(chance.choice((0, 1, 1, 2)))] for _ in range(2))
    lines = reference_cell(JACCARD).rstrip().split("\n")
    body = next(i for i, line in enumerate(lines) if line.startswith("    return") or line.startswith("    if"))
    within = [f"    {chance.choice(WITHIN)}" for _ in range(chance.choice((0, 0, 1)))]
    lines = [*above, *lines[:body], *within, *lines[body:], *below]
    source = "\n".join(lines) + chance.choice(("", "\n", "\n\n", "\n    \n"))
    if chance.random() < 0.25:
        source = chance.choice(CELL_MAGICS) + "\n" + source
    elif chance.random() < 0.15:
        source = "\n".join(f"  {line}" for line in source.split("\n"))
    elif chance.random() < 0.1 and not any("\n" in line for line in (*above, *below)):
        source = "\n".join(
            (">>> " if not line.startswith(" ") and i != body else "... ") + line
            for i, line in enumerate(source.split("\n"))
            if line.strip()
        )
    if chance.random() < 0.2:
        source = source.replace("\n", "\r\n")
    return chance.choice(("", "", "\n", "\n  \n")) + source


@pytest.fixture(scope="module")
def shell():
    """IPython, as a notebook's kernel has it, with its builtins; nothing that it is asked to run runs for long."""
    shell = InteractiveShell.instance()
    before = {name: vars(builtins).get(name) for name in ("get_ipython", "display", "help")}
    yield shell
    InteractiveShell.clear_instance()
    for name, value in before.items():
        if value is None:
            vars(builtins).pop(name, None)
        else:
            setattr(builtins, name, value)


def quiet():
    stack = contextlib.ExitStack()
    stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
    stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
    return stack


def body_of(cell):
    """What IPython runs in the end: `%%time` and `%%capture` hand their cell on to be read again."""
    lines = cell.lstrip().split("\n", 1)
    if lines[0].startswith(("%%time", "%%capture")):
        return body_of(lines[1] if len(lines) > 1 else "")
    return cell


def at_home(source, shell):
    """What the function gives, if the cell passes at home; else None."""
    try:
        with quiet():
            python = shell.transform_cell(body_of(source.replace("\r\n", "\n")))
            builtins.get_ipython, builtins.display = lambda: shell, lambda *args: None
            function = isolated(JACCARD, python)
            return [function(*args) for args in ARGUMENTS]
    except Exception:
        return None


def when_graded(source):
    cells = assemble.exercise_cells(assemble.read_cells(oracle.notebook(source).encode()), [JACCARD])
    assert JACCARD.id in cells and not is_stub(cells[JACCARD.id], JACCARD.id)
    python = cells[JACCARD.id]
    assert not [line for line in remarks(python, JACCARD) if "cannot read" in line]
    names = {"__name__": "__exercise__", "lk": stub, "math": __import__("math"), "np": __import__("numpy")}
    vars(builtins).update(stub.notebooks_own())
    stub._defined.clear()
    with quiet():
        exec(compile(python, "<cell 1>", "exec", dont_inherit=True), names)
        return [stub._defined[JACCARD.id](*args) for args in ARGUMENTS]


def without_running(shell, monkeypatch):
    monkeypatch.setattr(type(shell), "run_line_magic", lambda *args, **kwargs: None)
    monkeypatch.setattr(type(shell), "system", lambda *args, **kwargs: None)
    monkeypatch.setattr(type(shell), "getoutput", lambda *args, **kwargs: ["3"])


def test_two_hundred_cells_that_pass_at_home_pass_when_graded(shell, monkeypatch):
    without_running(shell, monkeypatch)
    passed = 0
    for seed in range(230):
        source = generated(seed)
        home = at_home(source, shell)
        if home is not None:
            passed += 1
            assert when_graded(source) == home, source
    assert passed >= 200, passed


@pytest.mark.parametrize(
    "source",
    [reference_cell(find(id)) for id in ("data.jaccard", "data.clusters")]
    + ["x = 7 % 3\n\n", "y = '''\n!ls\n%time\n'''"],
)
def test_what_is_python_stays_as_it_is(source, shell):
    assert assemble.python_of(source) == source and shell.transform_cell(source).rstrip() == source.rstrip()


@pytest.mark.parametrize(
    "above",
    ["%%time\n", "\n\njaccard?\n", "%%time\n\n!ls\n%%capture\n", "x = !ls\n", "a = 'ü'; !ls\n", "%time q = 1\n"],
)
def test_lines_keep_their_numbers(above):
    python = assemble.python_of(above + "def f():\n    1 / 0\n")
    if "def f" in python and assemble._parsed(python):
        assert python.split("\n").index("    1 / 0") == above.count("\n") + 1


@pytest.mark.skipif(sandbox.missing() is not None, reason="no sandbox here")
def test_a_handful_through_real_kernels(tmp_path, one_judge):
    right = reference_cell(JACCARD)
    cells = {
        "help": right + "\njaccard?\nhelp(jaccard)\ndisplay(jaccard)\n",
        "shell": "files = !echo a b\nassert files == ['a b'], files\nn = !echo 3\n" + right,
        "magic": "%matplotlib inline\n!pip install nothing-like-this\n%time used = 3\nassert used == 3\n" + right,
        "timed": "%%time\n%timeit 1\n" + right,
        "prompts": "".join(
            (">>> " if line[:1] in ("@", "d") else "... ") + line + "\n" for line in right.rstrip().split("\n")
        ),
        "value": "spent = %timeit -o -q -n1 -r1 sum([1])\nassert spent.loops == 1\n" + right,
        "coding": "# -*- coding: latin-1 -*-\n" + right + "\nx = 'größe'\nx?",
    }
    for student, source in cells.items():
        (tmp_path / "in" / student).mkdir(parents=True)
        (tmp_path / "in" / student / "01_data.ipynb").write_text(oracle.notebook(source))
    assert main(["grade", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--seed", "5"]) == 0
    rows = {
        row["student"]: row["exercises"]["data.jaccard"]
        for row in book.Ledger(tmp_path / "out" / "ledger.jsonl").rows()
    }
    assert {student: row["text"] for student, row in rows.items()} == dict.fromkeys(cells, "passed"), json.dumps(rows)
