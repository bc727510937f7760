"""The ledger, and what is made from it: the gradebook, and Canvas's file.

`ledger.jsonl` has a line for each graded submission. During grading, lines are only added; at the end those that a
newer one replaced are removed, and so is a last line that was cut short by a power failure. Gradebook and pages follow
from the ledger, the roster and the options, so they are the same however often the grading was interrupted and however
many workers did it.
"""

from __future__ import annotations

import contextlib
import csv
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO, Any, NamedTuple

from labkit.common import InputError, write_atomically

Key = tuple[str, str]  # student, lab
Absent = tuple[dict, float | str]  # a row of the roster, and what is written for labs of which there is no line
ABOUT = ("id", "login", "email", "handed_in", "late", "penalty")  # the gradebook's last columns


class Source(NamedTuple):
    """What says that a graded submission is a learner's: the place where it was handed in, or a name inside a zip."""

    own: bool = True
    zip: str | None = None
    id: str = ""
    number: str = ""

    @classmethod
    def of(cls, row: dict[str, Any]) -> Source:
        return cls(row.get("own", True), row.get("zip"), row.get("id", ""), row.get("number", ""))

    def is_another(self, other: Source) -> bool:
        """Whether the system's numbers say that these are two people of one name."""
        return bool(self.id and other.id and self.id != other.id) or bool(
            self.number and other.number and self.number != other.number
        )


class Ledger:
    """The file of lines. `latest` holds, for each student and lab, the place of its newest line and what it is about,
    the newest last.
    """

    def __init__(self, path: Path):
        self.path = path
        self.latest: dict[Key, tuple[int, tuple]] = {}
        self.whose: dict[Key, Source] = {}
        self.released: dict[Key, str] = {}  # of what its learner has seen the hidden inputs: the submission's hash
        self.replaced = False
        self._repair()

    def _repair(self) -> None:
        if not self.path.exists():
            return
        place = 0
        with open(self.path, "rb+") as file:
            for line in file:
                try:
                    row: Any = json.loads(line) if line.endswith(b"\n") else None
                    key = (row["student"], row["lab"])
                    if not all(isinstance(part, str) for part in key):
                        raise TypeError
                except (ValueError, TypeError, KeyError):
                    if file.read(1):  # not the last line, so not an interrupted write
                        raise InputError(
                            f"{self.path} holds a line that does not belong to a ledger; move the file away"
                        ) from None
                    file.truncate(place)
                    return
                self.replaced = self.latest.pop(key, None) is not None or self.replaced
                self._note(key, place, row)
                place += len(line)

    def add(self, line: str) -> None:
        row = json.loads(line)
        with open(self.path, "ab", buffering=0) as file:  # a buffer would retry what a full disk has refused
            place, data = file.tell(), line.encode() + b"\n"
            try:
                while data:
                    data = data[file.write(data) :]
                os.fsync(file.fileno())
            except OSError as error:  # a full disk
                file.truncate(place)
                raise InputError(
                    f"{self.path} cannot be written ({error.strerror}); what was graded so far is kept"
                ) from None
        key = row["student"], row["lab"]
        self.replaced = self.latest.pop(key, None) is not None or self.replaced  # the latest comes last
        self._note(key, place, row)

    def _note(self, key: Key, place: int, row: dict[str, Any]) -> None:
        self.latest[key], self.whose[key] = (place, identity(row)), Source.of(row)
        if row.get("released"):
            self.released[key] = row.get("submission", "")

    def compact(self) -> None:
        """Remove the lines that a newer one has replaced, so that each submission appears once."""
        rows = list(self.latest)
        with write_atomically(self.path) as file, open(self.path, "rb") as old:
            for key in rows:
                old.seek(self.latest[key][0])
                file.write(old.readline().decode())
        fresh = Ledger(self.path)
        self.latest, self.replaced = fresh.latest, False

    def has(self, key: Key, about: tuple) -> bool:
        """Whether this has been graded. A failure of the machine does not count as graded."""
        return key in self.latest and self.latest[key][1] == about

    def rows(self, keys: Iterable[Key] | None = None) -> Iterator[dict[str, Any]]:
        """The newest line of each, sorted by student and lab; one at a time, so that any number fits into memory."""
        if not self.latest:
            return
        with open(self.path, "rb") as file:
            for key in sorted(self.latest if keys is None else set(keys) & set(self.latest)):
                file.seek(self.latest[key][0])
                yield json.loads(file.readline())


def identity(row: dict[str, Any]) -> tuple:
    """What a grade depends on."""
    return row.get("submission"), row.get("reference"), row.get("seed") if not row.get("machine") else None


def gradebook(rows: Callable[[], Iterator[dict]], path: Path, ids: list[str]) -> None:
    """`gradebook.csv`: student, lab, points, possible, a column for each exercise; then whose it is and when it came."""
    with _csv(path) as write:
        write(["student", "lab", "points", "possible", *ids, *ABOUT])
        for row in rows():
            points = {id: row["exercises"].get(id, {}).get("points", "") for id in ids}
            if row.get("machine"):  # it was not graded
                points = dict.fromkeys(points, "")
            write(
                [
                    row["student"],
                    row["lab"],
                    "" if row.get("machine") else row["points"],
                    row["possible"],
                    *points.values(),
                    *_about(row),
                ]
            )


def _about(row: dict[str, Any]) -> list[Any]:
    """A row's cells for the columns `ABOUT`: of the roster, if the learner is in it, and of the file's name."""
    person = row.get("person") or {}
    login, email = person.get("SIS Login ID", ""), person.get("Email", "")
    late = "LATE" if row.get("late") else ""
    return [
        person.get("ID") or row.get("id", ""),
        login,
        email,
        row.get("when", ""),
        late,
        row.get("penalty", "") or "",
    ]


@dataclass(frozen=True)
class Late:
    """What being late costs: a share of the points, once, or for each day begun after `due`."""

    percent: float = 0.0
    daily: bool = False
    due: datetime | None = None

    @classmethod
    def parse(cls, rule: str | None, due: str | None) -> Late:
        """Of `10` or `10/day`, and of a time such as 2026-12-01 23:59. Raises `InputError`."""
        try:
            when = datetime.fromisoformat(due).astimezone().replace(tzinfo=None) if due else None
        except (ValueError, OverflowError):
            raise InputError(f"--due {due}: expected is a time such as '2026-12-01 23:59'") from None
        if rule is None:
            return cls(due=when)
        found = re.fullmatch(r"(\d+(?:\.\d+)?) ?%?(/day)?", rule)
        if not found or not 0 < float(found[1]) <= 100:
            raise InputError(f"--late-penalty {rule}: expected is a percentage such as 10, or 10/day")
        if found[2] and when is None:
            raise InputError("--late-penalty by the day needs --due TIME")
        return cls(float(found[1]), bool(found[2]), when)

    def __str__(self) -> str:
        """The rule, in a sentence."""
        after = f" after {self.due:%Y-%m-%d %H:%M}" if self.due else ""
        each = f" for each day begun{after}" if self.daily else ""
        whose = "" if self.daily else f" handed in{after or ' late, as the system says'}"
        return f"late work{whose}: {self.percent:g}% of the points are taken off{each}, never more than all"

    def days(self, row: dict[str, Any]) -> int:
        """How many days late a line of the ledger is, begun ones counted; 0 if it was in time."""
        with contextlib.suppress(ValueError):
            when = datetime.fromisoformat(row.get("when", ""))
            if self.due and when > self.due:
                return math.ceil((when - self.due) / timedelta(days=1))
        return int(bool(row.get("late")))

    def off(self, row: dict[str, Any], points: float) -> float:
        """The points that are taken off."""
        days = self.days(row)
        share = self.percent / 100 * (days if self.daily else min(days, 1))
        return round(points * min(share, 1), 2) if share else 0


def canvas(
    rows: Callable[[], Iterator[dict]],
    path: Path,
    names: dict[str, str],
    known: bool,
    absent: Iterable[Absent] = (),
) -> None:
    """`canvas.csv`: a row for each student, a column for each lab, in the form that Canvas imports.

    With a roster as `known`, people who are not in it are left out, and a column is named like its column for the lab.
    What could not be graded is left empty; a line that another one of the same person replaces is left out. Those
    `absent` get a row too, and what they have not handed in gets what stands beside them.
    """
    table, possible = _table(rows, known, absent)
    labs = sorted(possible)
    people = [person for person, _ in table.values()]
    columns = [
        "Student",
        "ID",
        *["SIS User ID"] * any(each.get("SIS User ID") for each in people),
        "SIS Login ID",
        "Section",
    ]
    titles = people[0].get("columns", {}) if people else {}
    with _csv(path) as write:
        write([*columns, *(titles.get(lab, names[lab]) for lab in labs)])
        write(["    Points Possible", *[""] * (len(columns) - 1), *(possible[lab] for lab in labs)])
        for _, (person, points) in sorted(table.items()):
            write([*(person.get(column, "") for column in columns), *(points.get(lab, "") for lab in labs)])


def moodle(
    rows: Callable[[], Iterator[dict]],
    path: Path,
    names: dict[str, str],
    known: bool,
    absent: Iterable[Absent] = (),
) -> None:
    """`moodle.csv`, for Moodle's *Grades, Import, CSV file*: who, by name, ID number and e-mail, and a column for each
    lab. An empty cell changes nothing there.
    """
    table, possible = _table(rows, known, absent)
    labs = sorted(possible)
    with _csv(path) as write:
        write(["Full name", "ID number", "Email address", *(names[lab] for lab in labs)])
        for _, (person, points) in sorted(table.items()):
            about = [person["Student"], person.get("ID", ""), person.get("Email", "")]
            write([*about, *(points.get(lab, "") for lab in labs)])


def _table(
    rows: Callable[[], Iterator[dict]], known: bool, absent: Iterable[Absent]
) -> tuple[dict[str, tuple[dict, dict[str, float | str]]], dict[str, float]]:
    """({person: (the row of the roster, {lab: points})}, {lab: possible points}), for a system's file."""
    table: dict[str, tuple[dict, dict[str, float | str]]] = {}
    possible: dict[str, float] = {}
    for row in rows():
        possible[row["lab"]] = row["possible"]
        if row["outdated"]:
            continue
        if person := row["person"] or (None if known else {"Student": row["student"], "SIS Login ID": row["student"]}):
            points = row["points"] if row["outcome"] == "graded" else ""
            table.setdefault(person["Student"] + person.get("ID", ""), (person, {}))[1][row["lab"]] = points
    for person, given in absent:
        points_of = table.setdefault(person["Student"] + person.get("ID", ""), (person, {}))[1]
        for lab in possible:
            points_of.setdefault(lab, given)
    return table, possible


class _csv:
    def __init__(self, path: Path):
        self._file = write_atomically(path)

    def __enter__(self) -> Callable[[list], None]:
        file: IO[str] = self._file.__enter__()
        writer = csv.writer(file, lineterminator="\n")
        return lambda cells: writer.writerow([safe(cell) for cell in cells])

    def __exit__(self, *error: Any) -> None:
        self._file.__exit__(*error)


def safe(cell: Any) -> Any:
    """A cell that a spreadsheet does not treat as a formula. (owasp.org/www-community/attacks/CSV_Injection)"""
    return f"'{cell}" if isinstance(cell, str) and cell.lstrip()[:1] in tuple("=+-@\t\r") and cell.strip() else cell
