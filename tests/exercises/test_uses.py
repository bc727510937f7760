"""An exercise may use earlier references of its lab: they stand before its cell, at home as in grading."""

from dataclasses import replace

import pytest
from jupyter_client.manager import start_new_kernel
from toy_exercise import TOY, mean

from labkit.exercises import examine, reference_cell
from labkit.exercises.engine import check
from labkit.exercises.kinds import Exercise, Probe, mistake
from labkit.grading import assemble, comparison, sandbox
from labkit.grading.inside import ANSWER
from labkit.grading.remarks import remarks


def deviation(values: list[float]) -> float:
    """The mean distance of the values from their mean. Raises `ValueError` if there are none."""
    centre = mean(values)
    return mean([abs(value - centre) for value in values])


@mistake("squares", "You square the distances: that is the variance.")
def deviation_squared(values):
    return mean([(value - mean(values)) ** 2 for value in values])


@mistake("signed", "You keep the signs: the distances cancel out. Take `abs`.")
def deviation_signed(values):
    return mean([value - mean(values) for value in values])


@mistake("from zero", "You take the distance from zero: subtract the mean first.")
def deviation_from_zero(values):
    return mean([abs(value) for value in values])


def probes(rng):
    for group in ("edges", "typical"):
        yield Probe(([],), group)
        yield Probe(([3.0],), group)
        for _ in range(3):
            yield Probe(([float(rng.randrange(1, 100)), 0.0, 205.0],), group)


DEVIATION = Exercise(
    id="start.deviation",
    points=1,
    minutes=1,
    reference=deviation,
    probes=probes,
    misconceptions=(deviation_squared, deviation_signed, deviation_from_zero),
    hints=TOY.hints,
    uses=(TOY,),
)

CELL = """@lk.exercise("start.deviation")
def deviation(values):
    distances = [abs(value - mean(values)) for value in values]
    return mean(distances)
"""
OWN = CELL + "\n\ndef mean(values):\n    return {}\n"  # the cell's own definition of what is used
RIGHT = OWN.format("statistics.fmean(values)")  # which is in the preamble, and raises a ValueError for none
WRONG = OWN.format("1.0")


def in_the_sandbox(cell, exercise, seed=3):
    """The kind of verdict on a cell whose assembled notebook ran in the kernel that grades."""
    made, parts = assemble.notebook({exercise.id: cell}, seed)
    manager, client = start_new_kernel(kernel_name="labkit-grade")
    answers = {}
    try:
        for source, part in zip((each["source"] for each in made["cells"]), parts):
            shown = []
            client.execute_interactive(source, output_hook=lambda message, out=shown: out.append(message), timeout=60)
            if part.what == "probe":
                (said,) = [each["content"] for each in shown if ANSWER in each["content"].get("data", {})]
                probes = exercise.draw(seed)
                calls = [probes[i].args for i in assemble.grouped(exercise, seed)[part.group]]
                answers[part.group] = assemble.decoded(said, calls)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    return comparison.verdict(exercise, seed, answers)


@pytest.fixture
def toys(monkeypatch):
    monkeypatch.setattr(assemble, "catalogue", lambda: {each.id: each for each in (TOY, DEVIATION)})


GRADED = pytest.mark.skipif(sandbox.missing() is not None, reason="no sandbox here")
HOME = pytest.param(lambda cell: check(DEVIATION, cell).kind, id="at home")
SANDBOX = pytest.param(lambda cell: in_the_sandbox(cell, DEVIATION)["kind"], id="graded", marks=GRADED)


@pytest.mark.parametrize("judged", [HOME, SANDBOX])
def test_an_earlier_reference_can_be_called_and_the_cells_own_definition_wins(toys, judged):
    assert judged(CELL) == "passed"
    assert judged(RIGHT) == "passed"
    assert judged(WRONG) == "wrong"
    assert judged(CELL.replace("abs", "")) == "misconception"


@GRADED
def test_the_line_that_is_named_is_the_learners_also_where_what_they_called_fails(toys):
    cell = CELL.replace("mean(distances)", "mean(5)")
    assert "raised TypeError in your line 4: " in check(DEVIATION, cell).text
    row = in_the_sandbox(cell, DEVIATION)
    assert (row["error"], row["line"]) == ("TypeError", 4)


def test_an_exercise_that_does_not_say_so_uses_nothing():
    assert "`mean` is not defined in this cell" in check(replace(DEVIATION, uses=()), CELL).text
    assert remarks(CELL, replace(DEVIATION, uses=())) == ["The cell uses names that it does not define: `mean`."]
    assert remarks(CELL, DEVIATION) == []


def test_an_exercise_that_uses_another_is_examined_like_all():
    assert examine(DEVIATION, range(5)) == []
    assert any("the reference by itself is answered" in said for said in examine(replace(DEVIATION, uses=()), [0]))


def test_what_is_used_brings_along_what_it_uses_and_torch():
    third = replace(TOY, id="start.third", uses=(replace(DEVIATION, torch=True), TOY))
    assert [each.id for each in third.earlier] == ["start.mean", "start.deviation"]
    assert third.preamble().index("def mean(") < third.preamble().index("def deviation(")
    assert third.preamble().count("def mean(") == 1 and "\nimport torch\n" in third.preamble()
    assert check(third, reference_cell(TOY).replace("start.mean", "start.third")).passed


def test_an_exercise_of_another_lab_cannot_be_used():
    with pytest.raises(ValueError, match="lora.far uses start.mean, which is of another lab"):
        replace(DEVIATION, id="lora.far")


def test_torch_is_there_at_home_and_graded_if_the_cell_uses_its_name_and_only_then(toys):
    with_torch = RIGHT.replace("statistics.fmean(values)", "torch.tensor(values).mean() if values else int('')")
    for cell, there in ((with_torch, True), (RIGHT + "# not torch\n", False)):
        assert ("\nimport torch\n" in DEVIATION.preamble(cell)) == there
        assembled = assemble.notebook({DEVIATION.id: cell}, 3)[0]["cells"][0]["source"]
        assert assembled == assemble.RESET + DEVIATION.preamble(cell)
        assert check(DEVIATION, cell).passed and remarks(cell, DEVIATION) == []
