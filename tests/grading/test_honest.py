"""For every exercise: the reference earns all, idle functions earn nothing, a known mistake is named; in any notebook.

The first part judges without a kernel, on what a call in the sandbox gives: arguments made anew from their literals, the
stub's form of answers, through JSON. The second grades lab 01 once in the real sandbox, in the forms that notebooks take.
"""

import ast
import json

import numpy as np
import pytest

from labkit.cli import main
from labkit.exercises import catalogue, reference_cell
from labkit.exercises.engine import expected_outcomes
from labkit.exercises.kinds import literal
from labkit.grading import assemble, book, comparison
from labkit.grading.inside import ANSWER, stub

SEED = 987_654_321  # `tests/exercises` take more


def answers(function, exercise, seed):
    """{group: the (outcome, fault) of its probes} of a function, as they come out of the sandbox."""
    names = {"np": np}
    if exercise.torch:
        import torch

        names["torch"] = torch
    probes = exercise.draw(seed)
    said = {}
    for group, members in assemble.grouped(exercise, seed).items():
        calls = eval(f"[{', '.join(literal(probes[i].args) for i in members)}]", dict(names))
        tried = [stub._tried(function, args) for args in calls]
        data = {ANSWER: {"answers": [stub._written(*each) for each in tried]}}
        display = {"data": data, "metadata": {ANSWER: [stub._words(outcome) for outcome, *_ in tried]}}
        said[group] = assemble.decoded(json.loads(json.dumps(display)), [probes[i].args for i in members])
    return said


def earned(exercise, seed, said):
    return [group for group, outcomes in said.items() if comparison.earns(exercise, seed, group, outcomes)]


@pytest.mark.parametrize("exercise", catalogue().values(), ids=catalogue())
def test_the_reference_earns_all_and_idle_functions_nothing(exercise):
    said = answers(exercise.reference, exercise, SEED)
    assert earned(exercise, SEED, said) == list(said) and comparison.verdict(exercise, SEED, said)["kind"] == "passed"

    probes, expected = exercise.draw(SEED), expected_outcomes(exercise, SEED)
    first = exercise.reference(*probes[next(i for i, each in enumerate(expected) if not each.error)].args)
    idle = {f"the constant {value!r:.60}": lambda *args, value=value: value for value in (None, 0, [], first)}
    for what, function in (idle | {"the first argument": lambda *args: args[0]}).items():
        said = answers(function, exercise, SEED)
        assert earned(exercise, SEED, said) == [], what
        assert comparison.verdict(exercise, SEED, said)["kind"] != "passed", what


@pytest.mark.parametrize("exercise", catalogue().values(), ids=catalogue())
def test_a_misconception_loses_points_and_is_named(exercise):
    assert len(exercise.misconceptions) >= 3
    for known in exercise.misconceptions:
        said = answers(known.function, exercise, SEED)
        assert len(earned(exercise, SEED, said)) < len(said), known.name
        row = comparison.verdict(exercise, SEED, said)
        assert (row["kind"], row.get("misconception")) == ("misconception", known.name)


# Honest notebooks, in all the forms that they are handed in


def code(source, **more):
    return {"cell_type": "code", "source": source, "metadata": {}, "outputs": [], "execution_count": None} | more


def notebook(cells, **more):
    return {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5} | more


def renamed(exercise):
    """The reference's own code, every argument and local under another name; the call keeps its order."""
    tree = ast.parse(reference_cell(exercise))
    function = tree.body[0]
    names = [each.arg for each in function.args.args]
    names += [each.id for each in ast.walk(function) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)]
    new = {name: f"mine_{number}" for number, name in enumerate(dict.fromkeys(names))}
    for each in ast.walk(function):
        if isinstance(each, ast.arg):
            each.arg = new[each.arg]
        elif isinstance(each, ast.Name):
            each.id = new.get(each.id, each.id)
    return ast.unparse(tree)


def noisy(source):
    """Prints, warnings and stderr at the top of the cell and in the function."""
    say = "import sys, warnings; print('so far'); warnings.warn('old'); print('!' * 2000, file=sys.stderr)"
    lines, first = source.splitlines(), ast.parse(source).body[0].body[0].lineno - 1
    return "\n".join([say, *lines[:first], f"    {say}", *lines[first:], "print('done')", ""])


def forms():
    """{student: the notebook}."""
    exercises = assemble.lab_exercises("01")
    cells = [reference_cell(exercise) for exercise in exercises]
    out = {"output_type": "stream", "name": "stdout", "text": ["3\n"]}
    colab = {"id": "aB3x", "colab": {"base_uri": "https://localhost:8080/"}, "cellView": "form"}
    vscode = {"vscode": {"languageId": "python"}}
    kernel = {"kernelspec": {"name": "python3", "display_name": ".venv"}, "language_info": {"name": "python"}}
    worksheet = {
        "cells": [
            {"cell_type": "code", "input": s.splitlines(True), "language": "python", "outputs": []} for s in cells
        ]
    }
    return {
        "plain": notebook([code(source, id=str(number)) for number, source in enumerate(cells)]),
        "renamed": notebook([code(renamed(exercise)) for exercise in exercises]),
        "reordered": notebook([code(source) for source in reversed(cells)]),
        "blank": notebook([each for source in cells for each in (code(""), code(source), code("\n\n"), code([]))]),
        "noisy": notebook([code(noisy(source), outputs=[out], execution_count=7) for source in cells]),
        "colab": notebook(
            [code(source.splitlines(True), metadata=colab, outputs=[out]) for source in cells],
            nbformat_minor=0,
            metadata={"colab": {"provenance": [], "toc_visible": True}, "widgets": {"application/x": {"state": None}}},
        ),
        "vscode": notebook(
            [code(source.replace("\n", "\r\n"), metadata=vscode) for source in cells],
            nbformat_minor=2,
            metadata=kernel | vscode,
        ),
        "format3": {"worksheets": [worksheet], "metadata": {"name": "01_data"}, "nbformat": 3, "nbformat_minor": 0},
    }


def test_every_form_of_an_honest_notebook_gets_all_points(tmp_path, one_judge):
    for student, made in forms().items():
        (tmp_path / "in" / student).mkdir(parents=True)
        (tmp_path / "in" / student / "01_data.ipynb").write_text(json.dumps(made))
    assert main(["grade", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--seed", "5"]) == 0
    possible = sum(exercise.points for exercise in assemble.lab_exercises("01"))
    rows = {row["student"]: row for row in book.Ledger(tmp_path / "out" / "ledger.jsonl").rows()}
    assert {student: row["points"] for student, row in rows.items()} == dict.fromkeys(forms(), possible)
    assert {row["kind"] for each in rows.values() for row in each["exercises"].values()} == {"passed"}
