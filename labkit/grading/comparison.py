"""Comparing the answers of an assembled notebook's probes with the reference's, within nbval, and reporting the result.

This and `assemble` decide a grade: after a change here, graded submissions are graded again.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

from labkit.exercises import find
from labkit.exercises.engine import NOT_OF_LK, decide, expected_outcomes
from labkit.exercises.kinds import Outcome, same, shown
from labkit.grading import assemble
from labkit.grading.assemble import grouped

MAX_TEXT = 2_000  # characters that the ledger keeps of the report on an exercise
MAX_ANSWER = 1_000  # characters of an answer that a released feedback shows
DONE = {"at": "done", "exercise": "", "group": ""}


class Comparison:
    """A plugin of pytest: nbval runs the cells, this compares the probes' outputs and reports the result of each.

    What a cell prints, raises, or displays otherwise is ignored.
    """

    def __init__(
        self, parts: list, cells: dict[str, str], seed: int, emit: Callable[[dict], None], shows: bool = False
    ):
        self.parts, self.seed, self.emit, self.called = parts, seed, emit, 0
        self.shows = shows  # whether the answers themselves are reported, for a released feedback
        self.lines = {id: assemble.lines_of(source) for id, source in cells.items()}
        self.answers: dict[str, dict[str, list]] = {}
        self.kernel: Any = None  # as nbval holds it

    def pytest_itemcollected(self, item: Any) -> None:
        part = self.parts[item.cell_num]
        item.options = {"check": part.what == "probe", "check_exception": True, "skip": False}
        item.compare_outputs = partial(self.compare, part)
        item.runtest = partial(self.run, part, item, item.runtest)

    def run(self, part: Any, item: Any, stock: Callable) -> None:
        self.kernel = item.parent.kernel
        self.ask_kernel()
        self.emit({"at": part.what, "exercise": part.exercise, "group": part.group})
        stock()

    def ask_kernel(self) -> None:
        """If the kernel is gone, say how it ended, and go."""
        if not self.kernel.is_alive():
            process = self.kernel.km.provisioner.process
            self.emit({"gone": process and process.returncode})
            os._exit(0)

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "setup" and report.failed:  # before any of the learner's cells has run
            reason = "the sandbox's kernel did not start; is the machine out of memory? `labkit doctor`"
            self.emit({"machine": reason})
            os._exit(1)
        self.called += report.when == "call"
        if self.called == len(self.parts):
            self.ask_kernel()  # one that ended in the last part has not been asked
            self.emit(DONE)  # asking the kernel to end takes longer than grading; the judge kills it
            os._exit(0)

    def compare(self, part: Any, found: list, stored: list, skip_compare: Any = None) -> bool:
        """Whether the answers earn the group; reported to the judge in any case."""
        exercise = find(part.exercise)
        members = assemble.grouped(exercise, self.seed)[part.group]
        shown = [out for out in found if isinstance(out.get("data"), dict) and assemble.ANSWER in out["data"]]
        probes = exercise.draw(self.seed)
        outcomes = assemble.decoded(shown[0] if len(shown) == 1 else {}, [probes[i].args for i in members])
        try:
            earned = earns(exercise, self.seed, part.group, outcomes)
        except Exception:  # answers in a form that no function gives
            earned = False
        self.emit({"exercise": part.exercise, "group": part.group, "earned": earned})
        if self.shows:
            answers = [in_short(*each) for each in outcomes]
            expected = expected_outcomes(exercise, self.seed)
            right = [
                outcomes[n][1] is None and _same(outcomes[n][0], expected[i], exercise) for n, i in enumerate(members)
            ]
            self.emit({"of": part.exercise, "in": part.group, "answers": [*zip(answers, right)]})
        self.answers.setdefault(part.exercise, {})[part.group] = outcomes
        if len(self.answers[part.exercise]) == len(assemble.grouped(exercise, self.seed)):
            try:
                row = verdict(exercise, self.seed, self.answers.pop(part.exercise))
            except Exception:
                row = {"kind": "wrong", "text": "its answers have a form that no function gives"}
            if row.get("line") and row["line"] > self.lines[part.exercise]:
                row["line"] = None
            self.emit({"exercise": part.exercise, **row})
        return earned


def in_short(outcome: Outcome, fault: str | None) -> str:
    """An answer as a released feedback shows it."""
    if outcome.error is not None:
        return f"raises {outcome.error}: {outcome.message[:MAX_ANSWER]}".rstrip(": ")
    try:
        text = shown(outcome.value, MAX_ANSWER)
    except Exception:  # in a form that no function gives
        return "a value of no known form"
    said = text.encode("utf-8", "replace").decode()
    return said + {"changed": " (and changes its argument)", "shared": " (which is its argument itself)"}.get(
        fault or "", ""
    )


def _same(outcome: Outcome, expected: Outcome, exercise: Any) -> bool:
    try:
        return same(outcome, expected, exercise.compare)
    except Exception:
        return False


def earns(exercise: Any, seed: int, group: str, outcomes: list) -> bool:
    """Whether these (outcome, fault) of a group's probes are all right."""
    expected = expected_outcomes(exercise, seed)
    members = grouped(exercise, seed)[group]
    return len(members) == len(outcomes) and all(
        fault is None and same(outcome, expected[i], exercise.compare) for i, (outcome, fault) in zip(members, outcomes)
    )


def verdict(exercise: Any, seed: int, answers: dict[str, list]) -> dict:
    """What the ledger says about an exercise: the kind of verdict and its text, which includes hidden inputs."""
    outcomes: dict[int, Outcome] = {}
    faults: dict[int, str | None] = {}
    for group, members in grouped(exercise, seed).items():
        for index, (outcome, fault) in zip(members, answers[group]):
            outcomes[index], faults[index] = outcome, fault
    ordered = [outcomes[i] for i in sorted(outcomes)]
    said = decide(exercise, ordered, [faults[i] for i in sorted(outcomes)], seed)
    row: dict[str, Any] = {"kind": said.kind, "text": said.text.encode("utf-8", "replace").decode()[:MAX_TEXT]}
    if said.misconception:
        row["misconception"] = said.misconception
    if said.kind == "raised":
        first = next((each for each in ordered if each.error and each.error in said.text), None)
        first = first or next(each for each in ordered if each.error)
        row |= {"error": first.error, "line": first.line}
        if NOT_OF_LK in first.message:
            row["of_lk"] = True
    return row
