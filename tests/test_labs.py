"""Labs with exercises: every cell but the exercises' own says the same solved, left or wrong.

Only cells that an exercise's function can reach are run here, with what they need; nbval runs all of them, as shipped.
"""

import re
import symtable
from itertools import cycle
from pathlib import Path

import pytest

from labkit.exercises import find, reference_cell
from labkit.workshop import notebooks

pytestmark = pytest.mark.slow

LABS = Path(__file__).parent.parent / "labs"
EXERCISE = re.compile(r"^@lk\.exercise\(\"([\w.]+)\"\)", re.MULTILINE)
SOURCES = [source for source in sorted((LABS / "source").glob("*.py")) if EXERCISE.search(source.read_text())]

# Training and scoring are cut down to a step and two questions: the same in all three states, and all that matters here.
SHORTENED = """
import dataclasses, labkit
def shorten(module, name, less):
    whole = getattr(module, name)
    setattr(module, name, lambda *args, **options: whole(*less(*args), **options))
shorten(labkit.training, "fit", lambda model, rows, settings: (model, rows[:4], dataclasses.replace(settings, steps=2, batch_size=2)))
def short(trial):
    return dataclasses.replace(trial, settings=dataclasses.replace(trial.settings, steps=2, batch_size=2))
shorten(labkit.training, "sweep", lambda model, rows, trials: (model, rows[:4], [short(trial) for trial in trials]))
shorten(labkit.models, "score", lambda model, tokenizer, examples: (model, tokenizer, examples[:2]))
import labkit.runs.execution
whole_mix = labkit.runs.mix
labkit.runs.mix = labkit.runs.execution.mix = lambda recipe: tuple(part[:count] for part, count in zip(whole_mix(recipe), (8, 2)))
"""


def names(cell) -> tuple[set[str], set[str]]:
    """(names of the notebook that a code cell binds, names of it that the cell or a function in it reads)."""
    bound, read = set(), set()

    def visit(table, top: bool = False) -> None:
        for symbol in table.get_symbols():
            if symbol.is_global() or top:
                bound.update([symbol.get_name()] if symbol.is_assigned() or symbol.is_imported() else [])
                read.update([symbol.get_name()] if symbol.is_referenced() else [])
        for child in table.get_children():
            visit(child)

    visit(symtable.symtable(cell.source, "cell", "exec"), top=True)
    return bound, read


def reached(cells: list) -> list:
    """The cells that hold an exercise or call its function (`lk.use`), and those that these need."""
    code = [(cell, *names(cell)) for cell in cells if cell.cell_type == "code"]
    given = {name for cell, *_ in code for name in re.findall(r"^(\w+) = lk\.use\(", cell.source, re.MULTILINE)}
    wanted = {i for i, (cell, _, read) in enumerate(code) if EXERCISE.search(cell.source) or read & given}
    for place in range(len(code) - 1, -1, -1):
        if place in wanted:
            for name in code[place][2] - code[place][1]:
                wanted |= {i for i in range(place) if name in code[i][1]} - {place}
    return [code[place][0] for place in sorted(wanted)]


def in_state(source: Path, *states: str):
    """The lab's notebook, run with its exercises left, solved or wrong, by turns."""
    import nbformat

    notebook = notebooks.read_source(source)
    notebook.cells = reached(notebook.cells)
    turns = cycle(states)
    for cell in notebook.cells:
        if cell.cell_type == "code" and (found := EXERCISE.search(cell.source)):
            id, state = found[1], next(turns)
            if state == "solved":
                cell.source = reference_cell(find(id))
            elif state == "wrong":
                cell.source = f'@lk.exercise("{id}")\ndef {find(id).name}(*args):\n    return None\n'
    notebook.cells.insert(0, nbformat.v4.new_code_cell(SHORTENED))
    return notebooks.execute(notebook, source.parent.parent)


def told(cell):
    """What a cell's outputs say, pictures aside."""
    return [
        output.get("text") or [text for kind, text in output.data.items() if not kind.startswith("image/")]
        for output in cell.outputs
    ]


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_the_other_cells_say_the_same_whatever_is_solved(source):
    """One run has all exercises solved; in the other they are left and wrong by turns."""
    solved, unsolved = in_state(source, "solved"), in_state(source, "left", "wrong")
    replies = []
    for one, other in zip(solved.cells, unsolved.cells, strict=True):
        if one.cell_type != "code":
            continue
        if EXERCISE.search(one.source):
            assert "passed. Later cells use yours." in str(told(one)), one.source
            replies.append(str(told(other)))
        elif "nbval-ignore-output" not in one.metadata.get("tags", []):
            assert told(one) == told(other), one.source
    assert all("not attempted" in reply for reply in replies[::2])
    assert all("Later cells use the kit's." in reply and "not attempted" not in reply for reply in replies[1::2])


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_exercise_cells_stand_alone_and_are_not_compared(source):
    exercises = [c for c in notebooks.read_source(source).cells if c.cell_type == "code" and EXERCISE.search(c.source)]
    ids = [EXERCISE.findall(cell.source) for cell in exercises]
    assert all(len(found) == 1 for found in ids) and len({found[0] for found in ids}) == len(ids)
    assert all("nbval-ignore-output" in cell.metadata.get("tags", []) for cell in exercises)
    assert all(find(found[0]).lab == source.stem[:2] for found in ids)
