"""Exercises: what a learner writes, checked at once, with a reply that names the mistake.

Here are the decorator, `use`, and the command `labkit exercise`. What an exercise is made of is in `kinds`, how a cell
is tried in `engine`, how the verdict is shown in `view`; the exercises themselves are in one file for each lab, named
after its topic in `syllabus`.
"""

from __future__ import annotations

import argparse
import difflib
import inspect
import json
import linecache
import random
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from labkit.common import InputError
from labkit.exercises.engine import (
    Verdict,
    check,
    expected_outcomes,
    isolated,
    judge,
    mistaken_outcomes,
    tried_now,
)
from labkit.exercises.kinds import Exercise, Outcome, Probe, alike, plain, same
from labkit.syllabus import LABS

_passed: dict[str, Callable] = {}  # in this kernel: the learner's functions that passed, by exercise


@cache
def catalogue() -> dict[str, Exercise]:
    """All exercises, by id: those of each lab that has a file here, in the order of the file and of the labs."""
    files = [import_module(f"{__name__}.{topic}") for topic in LABS if find_spec(f"{__name__}.{topic}")]
    return {each.id: each for file in files for each in vars(file).values() if isinstance(each, Exercise)}


def find(id: str) -> Exercise:
    """The exercise with this id. Raises `InputError`, with the nearest id, for an unknown one."""
    if id not in catalogue():
        near = difflib.get_close_matches(str(id), catalogue(), n=1)
        raise InputError(
            f"there is no exercise {id!r}; " + (f"did you mean {near[0]!r}?" if near else "`labkit exercise list`")
        )
    return catalogue()[id]


def exercise(id: str) -> Callable:
    """Decorator of a learner's function: tries it as soon as its cell runs, and shows a verdict of one line.

    The name stays the learner's function, right or wrong. The cell is tried once more by itself, without the names of
    other cells.
    """
    if callable(id):
        print(_without_call(id))
        return id
    found = find(id)

    def over(function: Callable) -> Callable:
        from labkit.exercises.view import show

        if (tried := tried_now()) is not None:  # the cell imported labkit itself, and is being tried by itself
            tried[id] = function
            return function
        try:
            verdict = check(found, cell_source(function))
        except InputError as error:
            verdict = Verdict("wrong", str(error))
        if verdict.function is not None:
            _passed[id] = verdict.function
        else:
            _passed.pop(id, None)
        show(found, verdict)
        return function

    return over


def use(id: str) -> Callable:
    """The learner's function if it passed, else the kit's own. Prints nothing: the exercise's cell says which one is
    used.
    """
    return _passed.get(id) or find(id).reference


def _without_call(function: Callable) -> str:
    """The reply to `@lk.exercise` without the exercise's id."""
    name = getattr(function, "__name__", "")
    id = next((each.id for each in catalogue().values() if each.name == name), "lab.name")
    return f'✗ the decorator does not say which exercise this is; write @lk.exercise("{id}") over {name}.'


def cell_source(function: Callable) -> str:
    """The source of the notebook cell that defines a function; of one from a file, the function alone.

    Raises `InputError` for something that is not a function, and if a line such as %%time stops the source from being
    read.
    """
    function = inspect.unwrap(function)  # of the object that @cache makes
    code = getattr(function, "__code__", None)
    if code is None:  # a class, or a call's result
        raise InputError("there is no function under the decorator; write `def …` under it")
    lines = linecache.getlines(code.co_filename)
    if "ipykernel" in code.co_filename or code.co_filename.startswith("<"):
        if not lines:
            raise InputError("the cell cannot be read; remove a first line such as %%time")
        return "".join(lines)
    return inspect.cleandoc("\n" + inspect.getsource(function))


# The check of the exercises themselves


def examine(exercise: Exercise, seeds: Iterable[int]) -> list[str]:
    """What is wrong with an exercise on these seeds, a line each; none if its checks can be trusted.

    The reference passes, by itself too; each misconception is recognized; the stub is "not attempted"; a function that
    returns None, a constant or an argument is rejected, and earns no group of probes.
    """
    problems = []
    source = reference_cell(exercise)
    try:
        alone = isolated(exercise, source)
    except Exception as error:  # the reference needs something that is not in the preamble
        return [f"the reference does not run by itself: {error}"]
    stub = f'@lk.exercise("{exercise.id}")\ndef {exercise.name}(*args):\n    """…"""\n    ...\n'
    if (verdict := check(exercise, stub)).kind != "not attempted":
        problems.append(f"the stub is answered {verdict.text!r}")
    names = [known.name for known in exercise.misconceptions]
    if len(set(names)) < 3:
        problems.append(f"{len(set(names))} misconceptions; at least three are needed")
    for seed in seeds:
        problems += [f"seed {seed}: {problem}" for problem in _examine(exercise, alone, seed)]
    return problems


def reference_cell(exercise: Exercise) -> str:
    """The reference as a learner would hand it in: its own source, under the decorator."""
    return cell_of(exercise, exercise.reference)


def cell_of(exercise: Exercise, function: Callable) -> str:
    """A function, right or a known mistake, as a learner would hand it in: its source, under the exercise's name."""
    source = inspect.cleandoc("\n" + inspect.getsource(function))
    source = re.sub(r"\A@mistake\(.*?^(?=def )", "", source, flags=re.DOTALL | re.MULTILINE)
    return f"@lk.exercise({exercise.id!r})\n" + re.sub(rf"\b{function.__name__}\b", exercise.name, source) + "\n"


def _examine(exercise: Exercise, alone: Callable, seed: int) -> list[str]:
    problems = []
    for what, function in (("the reference", exercise.reference), ("the reference by itself", alone)):
        if not (verdict := judge(exercise, function, seed)).passed:
            problems.append(f"{what} is answered {verdict.text!r}")
    probes, expected = exercise.draw(seed), expected_outcomes(exercise, seed)
    groups: dict[str, list[int]] = {}
    for index, probe in enumerate(probes):
        groups.setdefault(probe.group, []).append(index)

    def earns(outcomes: list[Outcome]) -> list[str]:
        right = [same(a, b, exercise.compare) for a, b in zip(outcomes, expected)]
        return [group for group, members in groups.items() if all(right[i] for i in members)]

    results = [mistaken_outcomes(exercise, known, seed) for known in exercise.misconceptions]
    for i, known in enumerate(exercise.misconceptions):
        verdict = judge(exercise, known.function, seed)
        if verdict.misconception != known.name:
            problems.append(f"misconception {known.name!r} is answered {verdict.text!r}")
        for group in earns(results[i]):
            problems.append(f"misconception {known.name!r} earns the group {group!r}")
        for j in range(i):
            if all(alike(a, b, exercise.compare) for a, b in zip(results[i], results[j])):
                problems.append(f"{known.name!r} and {exercise.misconceptions[j].name!r} cannot be told apart")
    for what, outcomes in idle(probes, expected, seed):  # what earns no group does not pass either
        for group in earns(outcomes):
            problems.append(f"a function that {what} earns the group {group!r}")
    return problems


def idle(probes: Sequence[Probe], expected: Sequence[Outcome], seed: int) -> Iterator[tuple[str, list[Outcome]]]:
    """What functions that do no work would give on the probes, each with a description: they must earn nothing."""
    values: list[Any] = [None, 0, 1, -1, 0.5, True, False, "", "ok", [], (), {}, set(), [[]], ([], []), (True, None)]
    for value in values:
        yield f"gives {value!r} back", [Outcome(value=plain(value))] * len(probes)
    for place in range(max(len(probe.args) for probe in probes)):
        echoes = [Outcome(value=plain(p.args[place])) if place < len(p.args) else NO_ARGUMENT for p in probes]
        yield f"returns argument {place + 1}", echoes
    for outcome in random.Random(seed).sample(expected, min(6, len(expected))):
        if not outcome.error:
            yield f"always returns a probe's answer {outcome.value!r:.60}", [outcome] * len(probes)
    yield "always raises ValueError", [Outcome(error="ValueError")] * len(probes)


NO_ARGUMENT = Outcome(error="IndexError")


# The command


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "examples:\n  labkit exercise list\n  labkit exercise check\n  labkit exercise check data.jaccard --seeds 5"
    )
    parser.add_argument("action", choices=("list", "check"), help="list the exercises, or try their checks")
    parser.add_argument("ids", metavar="ID", nargs="*", help="only these exercises")
    parser.add_argument("--seeds", type=int, default=50, help="try the seeds 0 … SEEDS−1 (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")


def main(args: argparse.Namespace) -> int:
    if args.seeds < 1:
        raise InputError(f"--seeds is {args.seeds}: give at least 1")
    chosen = [find(id) for id in args.ids] or list(catalogue().values())
    rows, bad = {}, 0
    for each in chosen:
        row: dict[str, Any] = {
            "lab": each.lab,
            "points": each.points,
            "probes": len(each.draw(0)),
            "groups": len({probe.group for probe in each.draw(0)}),
            "misconceptions": len(each.misconceptions),
        }
        rows[each.id] = row
        line = f"{each.id:<36} lab {each.lab}  {each.points} points"
        line += f"  {row['probes']:>3} probes in {row['groups']} groups"
        line += f"  {row['misconceptions']} misconceptions"
        if args.action == "check":
            problems = row["problems"] = examine(each, range(args.seeds))
            bad += bool(problems)
            line += "  " + (f"{len(problems)} problems" if problems else f"all caught on {args.seeds} seeds")
        print(line)
        for problem in row.get("problems", [])[:10]:
            print(f"    {problem}")
    if args.json:
        print(json.dumps(rows))
    return 1 if bad else 0


__all__ = ["Exercise", "Verdict", "catalogue", "exercise", "find", "use"]
