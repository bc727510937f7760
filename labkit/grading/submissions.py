"""Finding what was handed in: folders of students, names as learning management systems give them, and zips of either.

Known are `STUDENT/LAB.ipynb`; nbgrader's `submitted/STUDENT/ASSIGNMENT/LAB.ipynb`; Moodle's
`Some Name_12345_assignsubmission_file_/LAB.ipynb`; Canvas's `student_[LATE_]12345_67890_LAB[-2].ipynb`; zips of these,
and zips of one student's notebooks, as Otter makes them: `STUDENT.zip`. Links are not followed. Nothing is unpacked.

Whose a file is, says who put it there: the student's folder, or the name that the system gave. Names inside a student's
folder or zip are the student's to choose, and count for nothing.
"""

from __future__ import annotations

import csv
import io
import os
import re
import stat
import time
import unicodedata
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from labkit.data import InputError
from labkit.exercises import catalogue

MAX_MEMBERS, MAX_READ = 200_000, 16_000_000  # of a zip, and bytes of it at once: zipfile reads its whole list of members
CANVAS = re.compile(r"(?P<student>[^_]+)(?:_LATE)?_\d+_\d+_(?P<name>.+)")
MOODLE = re.compile(r"(?P<student>.+?)_\d+_assignsubmission_file_?(?P<name>.*)")
OTTER = re.compile(r"(?P<student>.+?)(?:_\d{4}_\d\d_\d\dT\d\d_\d\d_\d\d_\d+.*)")
IN_NAMES = " .,@+'’()-_"  # beside letters, marks and digits of any script


@dataclass(frozen=True)
class Submission:
    student: str
    lab: str
    path: str
    member: str | None = None
    own: bool = True  # its place says whose it is; not the names inside a class's zip
    order: tuple = ()  # of two by one student for one lab, the larger counts

    @property
    def shown(self) -> str:
        return self.path if self.member is None else f"{self.path}:{self.member}"


def labs() -> dict[str, str]:
    """{a lab's name in small letters: its number}, for all labs that have exercises: 01, data, 01_data."""
    names = {}
    for exercise in catalogue().values():
        topic = exercise.id.split(".")[0]
        names |= {exercise.lab: exercise.lab, topic: exercise.lab, f"{exercise.lab}_{topic}": exercise.lab}
    return names


def lab_of(stem: str) -> str | None:
    """The lab that a notebook's name says: `01_data`, `01_data-2`, `01_data (1)`, `Data_ada`."""
    name, known = stem.lower(), labs()
    name = re.sub(r"( ?\(\d+\)|[-_ ]\d{1,2}|[-_ ]copy\d*|[-_ ]submission)+$", "", name) if name not in known else name
    if name in known:
        return known[name]
    parts = re.split(r"[-_ ]", name)
    found = {known[part] for part in ("_".join(parts[:2]), *parts) if part in known}
    found |= {lab for key, lab in known.items() if len(key) > 2 and name.startswith(key)}
    return found.pop() if len(found) == 1 else None


def find(folder: str | Path) -> tuple[list[Submission], list[str]]:
    """(one submission for each student and lab, a line for each file that is none). Raises `InputError` for nothing."""
    root = Path(folder)
    if not root.exists():
        raise InputError(f"there is no {folder}; give the folder, or the zip, that holds the submissions")
    found: dict[tuple[str, str], Submission] = {}
    faults: list[str] = []
    for submission in _all(root, faults):
        key = submission.student, submission.lab
        if key in found:
            older, newer = sorted((found[key], submission), key=lambda each: (each.own, each.order))
            found[key] = newer
            faults.append(f"{older.shown}: {submission.student} handed in lab {submission.lab} twice; {newer.shown} is graded")
        else:
            found[key] = submission
    if not found and not faults:
        raise InputError(f"{folder} holds no notebook; STUDENT/LAB.ipynb is expected, or a zip of such")
    return sorted(found.values(), key=lambda each: (each.student, each.lab)), faults


def _all(root: Path, faults: list[str]) -> Iterator[Submission]:
    if root.is_file():
        yield from _zip(root, PurePosixPath(), faults)
        return
    for at, folders, files in os.walk(root):
        for name in [each for each in folders if os.path.islink(os.path.join(at, each))]:
            faults.append(f"{os.path.join(at, name)}: a link to a folder; links are not followed")
        folders[:] = sorted(each for each in folders if not each.startswith((".", "__MACOSX")))
        for name in sorted(files):
            path = Path(at, name)
            if name.startswith(".") or path.suffix.lower() not in (".ipynb", ".zip"):
                continue
            try:
                status = path.lstat()
            except OSError as error:
                faults.append(f"{path}: {error.strerror}")
                continue
            place = PurePosixPath(path.relative_to(root))
            if not stat.S_ISREG(status.st_mode):
                faults.append(f"{path}: no plain file (a link, perhaps); links are not followed")
            elif path.suffix.lower() == ".zip":
                yield from _zip(path, place, faults)
            else:
                submission = Submission(_owner(place) or "", "", str(path), order=_order(time.localtime(status.st_mtime)[:6], place))
                yield from _checked(submission, place, faults)


class _Capped(io.FileIO):
    """A file that refuses to be read in one piece where that is large."""

    def read(self, size: int = -1) -> bytes:
        data = super().read(size if 0 <= size <= MAX_READ else MAX_READ + 1)
        if len(data) > MAX_READ:
            raise zipfile.BadZipFile(f"its list of files takes more than {MAX_READ // 1_000_000} MB")
        return data


def _zip(path: Path, place: PurePosixPath, faults: list[str]) -> Iterator[Submission]:
    """The submissions in a zip. `place` is where it was handed in; nowhere, for the one that holds all submissions."""
    try:
        with _Capped(path) as file, zipfile.ZipFile(file) as archive:
            members = archive.infolist()
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        faults.append(f"{path}: no zip that can be read ({error})")
        return
    if len(members) > MAX_MEMBERS:
        faults.append(f"{path}: {len(members):,} files in one zip; at most {MAX_MEMBERS:,} are read")
        return
    otter = OTTER.fullmatch(path.stem)
    said = _owner(PurePosixPath(path.name)) or (otter and otter["student"])
    owner = _owner(place) or (said if place.parts else None)
    for member in members:
        inner = PurePosixPath(member.filename)
        hidden = any(part.startswith((".", "__MACOSX")) and part not in (".", "..") for part in inner.parts)
        if member.is_dir() or hidden or inner.suffix.lower() not in (".ipynb", ".zip"):
            continue
        if inner.suffix.lower() == ".zip":
            faults.append(f"{path}:{member.filename!r}: a zip in a zip; unpack the outer one, and give the folder")
            continue
        if inner.is_absolute() or ".." in inner.parts or "\\" in member.filename or stat.S_ISLNK(member.external_attr >> 16):
            faults.append(f"{path}:{member.filename!r}: leads out of the zip, or is a link")
            continue
        whose = owner
        if whose is None:  # a class's zip, or a student's whose name is all it says
            inner = _inside(inner, path.stem)
            whose = _owner(inner) or said or path.stem
        order = _order(member.date_time, inner)
        submission = Submission(whose, "", str(path), member.filename, owner is not None, order)
        yield from _checked(submission, place.parent / inner, faults)


def _inside(place: PurePosixPath, *more: str) -> PurePosixPath:
    """The place without folders around all students': `submitted`, a lab's name, and so on."""
    parts = list(place.parts)
    while len(parts) > 1 and (parts[0].lower() in ("submitted", "submissions", *labs()) or (len(parts) > 2 and parts[0] in more)):
        del parts[0]
    return PurePosixPath(*parts)


def _owner(place: PurePosixPath) -> str | None:
    """Whose a file is that was handed in at this place: the outermost folder says it, without one the name."""
    place = _inside(place)
    if len(place.parts) > 1:
        moodle = MOODLE.fullmatch(place.parts[0])
        return moodle["student"] if moodle else place.parts[0]
    named = MOODLE.fullmatch(place.stem) or CANVAS.fullmatch(place.stem)
    return named["student"] if named else None


def _order(when: tuple, place: PurePosixPath) -> tuple:
    """(date and time, the number behind a name that was there already: `01_data-2`, `01_data (2)`; the name)."""
    number = re.search(r"[-( ](\d{1,2})\)?$", place.stem)
    return tuple(when), int(number[1]) if number else 0, str(place)


def _checked(submission: Submission, place: PurePosixPath, faults: list[str]) -> Iterator[Submission]:
    """The submission with its lab, as its place says; if that cannot be, a fault."""
    named = MOODLE.fullmatch(place.stem) or CANVAS.fullmatch(place.stem)
    lab = lab_of(named["name"] if named else place.stem)
    for folder in reversed(place.parts[:-1]):  # ASSIGNMENT/any name.ipynb
        lab = lab or (labs().get(folder.lower()) if folder == place.parts[0] else lab_of(folder))
    student, shown = unicodedata.normalize("NFC", submission.student), submission.shown  # macOS takes letters apart
    if not student:
        faults.append(f"{shown!r}: nobody's; put it into a folder with the student's name")
    elif lab is None:
        known = ", ".join(sorted({key for key in labs() if "_" in key and key[0].isdigit()}))
        faults.append(f"{shown!r}: its name is that of no lab with exercises ({known})")
    elif not _is_name(student):
        faults.append(f"{shown!r}: {student!r} cannot be a student's name here; letters and digits can, and{IN_NAMES} inside")
    else:
        yield replace(submission, student=student, lab=lab)


def _is_name(text: str) -> bool:
    """Whether it can be a file's name, a CSV's cell and a person's name."""
    known = all(unicodedata.category(c)[0] in "LMN" or c in IN_NAMES for c in text)
    return known and len(text) <= 100 and text[:1].isalnum() and text.strip(" .") == text


def roster(path: str | Path) -> dict[str, dict[str, str]]:
    """{name as in the submissions: the row} of a CSV with columns such as Student, ID, SIS Login ID, Section.

    A student is found by any of the columns `student`, `name`, `id`, `login`, `email` and Canvas's; also by the name
    without spaces, small, family name first, as in Canvas's file names.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"the roster {path} cannot be read ({error})") from None
    if not rows or not {key.lower() for key in rows[0] if key} & {"student", "name", "id", "login", "email"}:
        raise InputError(f"the roster {path} needs a first line with a column such as student, name or ID")
    known: dict[str, dict[str, str]] = {}
    for row in rows:
        lower = {key.lower(): (value or "").strip() for key, value in row.items() if key and isinstance(value, (str, type(None)))}
        name = lower.get("student") or lower.get("name") or lower.get("login") or lower.get("email") or lower.get("id", "")
        if not name or name.lower().strip() in ("points possible", "student, test"):
            continue
        wanted = {"Student": name, "ID": lower.get("id", ""), "SIS Login ID": lower.get("sis login id") or lower.get("login", "")}
        wanted["Section"] = lower.get("section", "")
        family, _, given = name.partition(",")
        turned = f"{given.strip()} {family.strip()}".strip()
        for key in (name, turned, family + given, *(lower.get(each, "") for each in ("id", "sis login id", "login", "email"))):
            for form in (key, re.sub(r"[\W_]", "", key)):
                if form:
                    known.setdefault(form.lower(), wanted)
    return known


def in_roster(known: dict[str, dict[str, str]], student: str) -> dict[str, str] | None:
    return known.get(student.lower()) or known.get(re.sub(r"[\W_]", "", student.lower()))
