"""What goes back to learners and to the systems they handed in to: feedback as each system takes it, nbgrader's gradebook.

Canvas (*Upload Submissions*) and Moodle (*Upload multiple feedback files in a zip*) recognize a file by the name that
they gave it, so only that name's end is changed here. The zip for nbgrader holds its `feedback/` folder.
"""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
import zipfile
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from labkit.common import InputError, write_atomically
from labkit.grading.submissions import CANVAS, _inside, inside_course, moodle_name, read

SYSTEMS = ("canvas", "moodle", "nbgrader")
NOTES, MAX_NOTE = ("timestamp.txt", "submission_secret.txt"), 1_000  # what nbgrader's exchange puts beside a notebook


def feedback(rows: Iterable[dict[str, Any]], folder: Path, out: Path, system: str, names: dict[str, str]) -> int:
    """`feedback-SYSTEM.zip` in `out`, of the pages in `out/feedback`. How many pages that system would not recognize.

    In nbgrader's, what `nbgrader release_feedback` needs lies beside a page if it lies in `folder`, the submissions.
    """
    left, noted = 0, set()
    with (
        write_atomically(out / f"feedback-{system}.zip", binary=True) as file,
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for row in rows:
            page = out / "feedback" / row["student"] / f"{names[row['lab']]}.html"
            if row.get("outdated") or (place := _place(row, system, names[row["lab"]])) is None:
                left += 1
            else:
                archive.writestr(zipfile.ZipInfo(place), page.read_bytes(), zipfile.ZIP_DEFLATED)
                for name in NOTES if system == "nbgrader" else ():
                    note, source = f"{os.path.dirname(place)}/{name}", inside_course(folder) / row["place"]
                    with contextlib.suppress(InputError, OSError):
                        data = read(str(source.with_name(name)), None)[:MAX_NOTE]
                        if note not in noted:
                            archive.writestr(zipfile.ZipInfo(note), data)
                        noted.add(note)
    return left


def _place(row: dict[str, Any], system: str, lab: str) -> str | None:
    """Where a learner's page lies in that system's zip; None for what did not come from it."""
    place = _inside(PurePosixPath(row.get("place") or "none"))
    if system == "canvas":
        named = CANVAS.fullmatch(place.stem)
        return f"{place.stem[: named.start('name')]}{lab}.html" if named else None
    if system == "moodle":
        named = moodle_name(place.parts[0] if len(place.parts) > 1 else place.stem)
        return f"{named['student']}_{named['number']}_assignsubmission_file_/{lab}.html" if named else None
    notebook = place.stem if place.stem.isprintable() else lab  # inside the folder the learner chose the names
    return f"feedback/{place.parts[0]}/{assignment(row, lab)}/{notebook}.html" if len(place.parts) > 1 else None


def assignment(row: dict[str, Any], lab: str) -> str:
    """nbgrader's name for a lab: that of the folder in `submitted/STUDENT/`, or the lab's own."""
    parts = _inside(PurePosixPath(row.get("place") or lab)).parts
    return parts[1] if len(parts) > 2 and parts[1].isprintable() else lab


def nbgrader(rows: Iterator[dict[str, Any]], database: Path, names: dict[str, str]) -> int:
    """Write points into nbgrader's gradebook, through its own API. How many submissions there are. Raises `InputError`."""
    try:
        from nbgrader.api import Gradebook, MissingEntry
    except ImportError:
        raise InputError("nbgrader's gradebook needs nbgrader; `pip install nbgrader` where you grade") from None
    count = 0
    beside = os.path.dirname(sys.executable)  # where alembic's program is, which nbgrader starts
    os.environ["PATH"] = os.pathsep.join((beside, os.environ.get("PATH", os.defpath)))
    try:
        opened = Gradebook(f"sqlite:///{database.resolve()}")
    except Exception as error:  # SQLAlchemy's, alembic's, the system's
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"{database}: nbgrader cannot open it as its gradebook ({reason})") from None
    with opened as book, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SQLAlchemy's, about nbgrader's own code
        for row in rows:
            if row.get("outdated") or row["outcome"] != "graded":
                continue
            lab = names[row["lab"]]
            named = assignment(row, lab)
            book.update_or_create_assignment(named)
            book.update_or_create_notebook(lab, named)
            for id, got in row["exercises"].items():
                book.update_or_create_grade_cell(id, lab, named, max_score=got["possible"], cell_type="code")
            book.update_or_create_student(row["student"], **_person(row))
            came = {"timestamp": when} if (when := _utc(row.get("when", ""))) else {}
            submission = book.update_or_create_submission(named, row["student"], **came)
            for id, got in row["exercises"].items():
                try:
                    grade = book.find_grade(id, lab, named, row["student"])
                except MissingEntry:
                    raise InputError(
                        f"{database}: {named} has submissions that were graded by other cells; give a new file"
                    ) from None
                grade.auto_score, grade.needs_manual_grade = got["points"], False
            for each in submission.notebooks:
                each.late_submission_penalty = row.get("penalty") or None
            book.db.commit()
            count += 1
    return count


def _utc(when: str) -> datetime | None:
    """A time of this machine's, as nbgrader keeps times; None if it is none."""
    with contextlib.suppress(ValueError, OverflowError):
        return datetime.fromisoformat(when).astimezone(UTC).replace(tzinfo=None)
    return None


def _person(row: dict[str, Any]) -> dict[str, str]:
    person = row.get("person") or {}
    name = person.get("Student", row["student"])
    family, comma, given = name.partition(",")
    if not comma:
        given, _, family = name.rpartition(" ")
    return {"first_name": given.strip(), "last_name": family.strip(), "email": person.get("Email", "")}
