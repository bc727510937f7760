"""All exercises: their references pass, by themselves too, and every known mistake is caught by its name."""

import inspect
import json
import subprocess
import sys

import pytest
from toy_exercise import TOY, mean

import labkit as lk
from labkit import cli, exercises
from labkit.common import InputError
from labkit.exercises import catalogue, cell_of, examine, find, reference_cell
from labkit.exercises.engine import check, judge
from labkit.exercises.kinds import Misconception, Probe

CATALOGUE = catalogue()
SEEDS = 12  # `labkit exercise check` takes fifty


@pytest.mark.slow
@pytest.mark.parametrize("id", CATALOGUE)
def test_an_exercise_can_be_trusted(id):
    assert examine(CATALOGUE[id], range(SEEDS)) == []


@pytest.mark.parametrize("id", CATALOGUE)
def test_the_reference_handed_in_as_a_cell_passes(id):
    verdict = check(CATALOGUE[id], reference_cell(CATALOGUE[id]), seed=SEEDS)
    assert verdict.passed, verdict.text


@pytest.mark.parametrize("id", CATALOGUE)
def test_an_exercise_is_told_completely(id):
    each = CATALOGUE[id]
    assert each.id == id and each.name == each.reference.__name__
    assert each.points >= 1 and each.minutes >= 1 and len(each.hints) == 3
    assert 8 <= len(each.draw(0)) <= 50
    assert all(len(text) > 10 and text == text.strip() for text in each.hints)
    assert all(known.message.endswith((".", "?")) for known in each.misconceptions)
    assert each.reference.__doc__ and inspect.signature(each.reference)


@pytest.mark.parametrize("topic", dict.fromkeys(each.topic for each in CATALOGUE.values()))
def test_every_known_mistake_is_taken_by_one_exercise(topic):
    """A wrong function that no exercise names would be caught by nobody."""
    written = [each for each in vars(getattr(exercises, topic)).values() if isinstance(each, Misconception)]
    taken = [known for each in CATALOGUE.values() if each.topic == topic for known in each.misconceptions]
    assert written == taken and written


@pytest.mark.parametrize("topic", dict.fromkeys(each.topic for each in CATALOGUE.values()))
def test_nothing_but_a_known_mistake_is_written_without_types(topic):
    """mypy is told to let such functions be in these files; all others there have types."""
    module = getattr(exercises, topic)
    own = [each for each in vars(module).values() if inspect.isfunction(each) and each.__module__ == module.__name__]
    complete = [each for each in own if {*inspect.signature(each).parameters, "return"} <= each.__annotations__.keys()]
    assert own and own == complete


def test_a_new_labs_file_is_found_by_its_topic_alone(tmp_path, monkeypatch):
    (tmp_path / "capstone.py").write_text("from toy_exercise import TOY\n")
    monkeypatch.setattr(exercises, "__path__", [*exercises.__path__, str(tmp_path)])
    catalogue.cache_clear()
    try:
        assert list(catalogue()) == [*CATALOGUE, "start.mean"]
    finally:
        catalogue.cache_clear()
        sys.modules.pop("labkit.exercises.capstone", None)


def test_a_known_mistake_can_be_handed_in_as_a_cell():
    verdict = check(TOY, cell_of(TOY, TOY.misconceptions[2].function))
    assert verdict.misconception == "sum"


def test_references_run_where_there_is_nothing_but_python_numpy_torch_and_a_stub(tmp_path):
    """As in grading: a fresh interpreter whose `labkit` is the decorator alone, and torch only where it is declared."""
    (tmp_path / "labkit.py").write_text("def exercise(id):\n    return lambda function: function\n")
    for torch in (False, True):
        source = "".join(each.preamble() + reference_cell(each) for each in CATALOGUE.values() if each.torch == torch)
        blocked = "" if torch else "import sys\nsys.modules['torch'] = None\n"
        (tmp_path / "cells.py").write_text(blocked + source + "\nprint('done')\n")
        done = subprocess.run([sys.executable, "cells.py"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert done.stdout == "done\n", done.stderr


def test_an_exercise_with_a_hole_is_found():
    """The examination itself: probes that miss a mistake, a group that a constant earns, a stub that passes."""
    from dataclasses import replace

    blunt = replace(TOY, probes=lambda rng: [Probe(([1.0],), "edges"), Probe(([0.0, -4.0],), "edges")])
    assert any("'median'" in problem for problem in examine(blunt, [0]))
    giving = replace(TOY, probes=lambda rng: [*TOY.probes(rng), Probe(([7.0],), "alone")])
    assert any("earns the group 'alone'" in problem for problem in examine(giving, [0]))
    few = replace(TOY, misconceptions=TOY.misconceptions[:2])
    assert any("at least three" in problem for problem in examine(few, [0]))
    other = replace(TOY, reference=lambda values: mean(values))
    assert examine(other, [0])
    assert examine(TOY, range(5)) == []


def notebook_cell(source):
    """Run a cell as a kernel does: in a shared namespace, its source in linecache under a file name."""
    import linecache

    name = "/tmp/ipykernel_1/1.py"
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    namespace = {"lk": lk}
    exec(compile(source, name, "exec"), namespace)
    return namespace


@pytest.fixture
def toy(monkeypatch):
    monkeypatch.setattr(exercises, "catalogue", lambda: {TOY.id: TOY})
    yield TOY
    exercises._passed.clear()


def test_the_name_stays_the_learners_and_later_cells_use_what_is_right(toy, capsys):
    namespace = notebook_cell('@lk.exercise("start.mean")\ndef mean(values):\n    return 0\n')
    assert namespace["mean"]([4]) == 0
    assert lk.use("start.mean") is mean
    assert "✗ start.mean: " in capsys.readouterr().out

    namespace = notebook_cell(
        '@lk.exercise("start.mean")\ndef mean(values):\n    if not values: raise ValueError\n    return sum(values) / len(values)\n'
    )
    assert capsys.readouterr().out == "✓ start.mean: passed. Later cells use yours.\n"
    assert lk.use("start.mean")([1, 3]) == 2 and lk.use("start.mean") is not mean
    assert capsys.readouterr().out == ""

    notebook_cell('@lk.exercise("start.mean")\ndef mean(values):\n    ...\n')
    assert capsys.readouterr().out == "○ start.mean: not attempted. Later cells use the kit's.\n"
    assert lk.use("start.mean") is mean


def test_an_unknown_exercise_is_told_with_the_nearest(toy):
    with pytest.raises(InputError, match="did you mean 'start.mean'"):
        lk.use("start.meen")
    with pytest.raises(InputError, match="there is no exercise"):
        lk.exercise("nothing like it")


@pytest.mark.parametrize("value", ["int", "5", "functools.partial(sum, [1])", "None"])
def test_what_is_no_function_under_the_decorator_is_told_in_one_line(toy, capsys, value):
    notebook_cell(f'import functools\nmean = lk.exercise("start.mean")({value})\n')
    assert capsys.readouterr().out == (
        "✗ start.mean: there is no function under the decorator; write `def …` under it. Later cells use the kit's.\n"
    )


def test_a_decorator_without_the_exercise_is_told_in_one_line(toy, capsys):
    namespace = notebook_cell("@lk.exercise\ndef mean(values):\n    return 1\n")
    assert capsys.readouterr().out == (
        '✗ the decorator does not say which exercise this is; write @lk.exercise("start.mean") over mean.\n'
    )
    assert namespace["mean"]([]) == 1


def test_a_cache_and_a_cell_that_cannot_be_read(toy, capsys):
    notebook_cell('import functools\n@lk.exercise("start.mean")\n@functools.cache\ndef mean(values):\n    return 1\n')
    assert "`@cache` cannot handle lists" in capsys.readouterr().out
    timed = compile('@lk.exercise("start.mean")\ndef mean(values):\n    return 1\n', "<timed exec>", "exec")
    exec(timed, {"lk": lk})  # as %%time runs a cell
    assert "the cell cannot be read; remove a first line such as %%time. Later" in capsys.readouterr().out


def test_a_misconception_is_told_in_one_clean_line(toy, capsys):
    notebook_cell('import labkit as lk\n\n@lk.exercise("start.mean")\ndef mean(values):\n    return sum(values)\n')
    said = capsys.readouterr().out
    assert said == "✗ start.mean: misconception: You forgot to divide. Later cells use the kit's.\n"


def test_every_wrong_verdict_ends_with_what_later_cells_use(toy, capsys):
    for body in ("return None", "return 1 / 0", "return sum(values)"):
        notebook_cell(f'@lk.exercise("start.mean")\ndef mean(values):\n    {body}\n')
        said = capsys.readouterr().out
        assert said.count("\n") == 1 and said.endswith("Later cells use the kit's.\n")


def test_the_command_lists_and_checks(toy, capsys):
    assert cli.main(["exercise", "list"]) == 0
    assert "start.mean" in capsys.readouterr().out
    assert cli.main(["exercise", "check", "start.mean", "--seeds", "3", "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "all caught on 3 seeds" in lines[0]
    assert json.loads(lines[-1])["start.mean"]["problems"] == []
    assert cli.main(["exercise", "check", "start.nothing"]) == 2
    assert cli.main(["exercise", "check", "--seeds", "0"]) == 2
    assert find("start.mean") is TOY
    assert judge(TOY, mean).passed


def test_the_command_says_what_is_wrong(monkeypatch, capsys):
    from dataclasses import replace

    monkeypatch.setattr(exercises, "catalogue", lambda: {TOY.id: replace(TOY, misconceptions=TOY.misconceptions[:2])})
    assert cli.main(["exercise", "check", "--seeds", "1"]) == 1
    assert "at least three" in capsys.readouterr().out
