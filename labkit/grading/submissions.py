"""Finding submissions: folders of students, names as learning management systems give them, and zips of either.

Known are `STUDENT/LAB.ipynb`; nbgrader's `submitted/STUDENT/ASSIGNMENT/LAB.ipynb`; Moodle's
`Some Name_12345_assignsubmission_file_/LAB.ipynb`; Canvas's `student_[LATE_]12345_67890_LAB[-2].ipynb`; Blackboard's
`Assignment_username_attempt_2026-12-01-23-59-00_LAB.ipynb`; of nbgrader's course only `submitted/`; zips of one
student's notebooks, as Otter makes them: `STUDENT.zip`; and a zip of all these. Links are not followed. Nothing is
unpacked to the disk.

The student's folder, or the name that the system gave, says whose a file is. Names inside a student's folder or zip are
chosen by the student, and do not count. The file's name says which lab it is, or else the exercises in it.
"""

from __future__ import annotations

import contextlib
import csv
import io
import os
import re
import stat
import time
import unicodedata
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path, PurePosixPath
from typing import IO, Any, Self

from labkit.common import InputError
from labkit.exercises import catalogue
from labkit.grading import runner

MAX_MEMBERS, MAX_READ = (
    200_000,
    16_000_000,
)  # of a zip, and bytes of it at once: zipfile reads its whole list of members
MAX_FILE, MAX_NAME = 20_000_000, 500  # bytes of a notebook; letters of its place in a zip
MAX_OWN = 1_000  # members of a zip of one student
MAX_UNPACKED = 200_000_000  # bytes that are unpacked, to find out what one learner has handed in
MIN_ROOM = 4_000_000  # that each of them counts, because its zip's list is read again
MAX_FAULTS = 20  # lines on what lies in one place
READ, READ_CLASS = 5, 600  # seconds of CPU time for a zip; for one that the instructor gives
CANVAS = re.compile(r"(?P<student>[^_]+)(?P<late>_LATE)?_(?P<id>\d+)_\d+_(?P<name>.+)")
MOODLE = re.compile(r"(?P<student>.+?)_(?P<number>\d+)_assignsubmission_file_?(?P<name>.*)")
BESIDE = ("timestamp.txt", "submission_secret.txt")  # nbgrader's exchange puts them beside a notebook
BLACKBOARD = re.compile(r".+?_(?P<student>[^_]+)_attempt_(?P<when>\d{4}(?:-\d\d){5})_(?P<name>.+)")
COURSE = ("nbgrader_config.py", "gradebook.db", "source", "release", "autograded")  # beside nbgrader's `submitted`
OTTER = re.compile(r"(?P<student>.+?)(?:_\d{4}_\d\d_\d\dT\d\d_\d\d_\d\d_\d+.*)")
IN_NAMES = " .,@+'’()-_"  # in addition to letters, marks and digits of any script


@dataclass(frozen=True)
class Submission:
    student: str
    lab: str
    path: str
    member: str | None = None  # of a zip; of one inside it, after a null byte
    id: str = ""  # Canvas's number of the student
    number: str = ""  # or Moodle's, which is different for each assignment
    own: bool = True  # its place says whose it is, not a name inside a zip that is among the submissions
    late: bool = False  # the system's name says so
    when: str = ""  # it was handed in: 2026-12-01 23:59:00
    place: str = ""  # in the folder or zip of submissions
    order: tuple = ()  # of two by one student for one lab, the larger counts

    @property
    def shown(self) -> str:
        return self.path if self.member is None else f"{self.path}:{self.member}".replace("\0", ":")


@dataclass(frozen=True)
class Owner:
    """Whose a file is, as its place says it: the fields of `Submission` by these names."""

    student: str
    id: str = ""
    number: str = ""
    late: bool = False
    when: str = ""


class _Line(str):
    """A line about submissions; `owners` holds, for each thing that it is about, all those whose that may be."""

    owners: frozenset[frozenset[Owner]]

    def __new__(cls, line: str, owners: Iterable[frozenset[Owner]] = ()) -> Self:
        made = super().__new__(cls, line)
        made.owners = frozenset(owners)
        return made


class Note(_Line):
    """One that leaves nothing to be done."""


class Refused(_Line):
    """One about material that is not graded. An owner without a name: anybody's."""


@cache
def labs() -> dict[str, str]:
    """{a lab's name in small letters: its number}, for all labs that have exercises: 01, data, 01_data."""
    names: dict[str, str] = {}
    for exercise in catalogue().values():
        topic = exercise.id.split(".")[0]
        names |= {exercise.lab: exercise.lab, topic: exercise.lab, f"{exercise.lab}_{topic}": exercise.lab}
    return names


def lab_of(stem: str) -> str | None:
    """The lab that a notebook's name says: `01_data`, `01_data-2`, `01_data (1)`, `Data_ada`."""
    name, known = stem.lower(), labs()
    while name not in known and (added := re.search(r"(?: ?\(\d+\)|[-_ ](?:\d{1,2}|copy\d*|submission))$", name[-20:])):
        name = name[: -len(added[0])]
    if name in known:
        return known[name]
    parts = re.split(r"[-_ ]", name)
    found = {known[part] for part in ("_".join(parts[:2]), *parts) if part in known}
    found |= {lab for key, lab in known.items() if len(key) > 2 and name.startswith(key)}
    return found.pop() if len(found) == 1 else None


def find(folder: str | Path, known: dict | None = None) -> tuple[list[Submission], list[str]]:
    """(one submission for each student and lab, a line for each file that is none). Raises `InputError` for nothing.

    With a roster as `known`, two names of one person are one student.
    """
    root = Path(folder)
    if not root.exists():
        raise InputError(f"there is no {folder}; give the folder, or the zip, that holds the submissions")
    root = inside_course(root)
    if root.is_file() and root.suffix.lower() == ".ipynb":
        raise InputError(f"{folder} is a notebook; give the folder that holds it, as STUDENT/{root.name}")
    found: dict[tuple, Submission] = {}
    told: dict[str, _Place] = defaultdict(_Place)
    for submission in _apart(list(_all(root, told))):
        person = in_roster(known or {}, submission.student, submission.id, submission.number)
        key = person["Student"] + person["ID"] if person else submission.student, submission.lab
        if key in found:
            older, newer = sorted((found[key], submission), key=lambda each: (each.own, each.order))
            found[key] = newer
            whose = person["Student"] if person else submission.student
            twice = f"{older.shown}: {whose} handed in lab {submission.lab} twice; {newer.shown} is graded"
            told[f"{folder}: {whose}"].say(_twice(twice, older, newer))
        else:
            found[key] = submission
    faults = [line for place, each in told.items() for line in each.all(place)]
    if not found and all(isinstance(line, Note) for line in faults):
        raise InputError(f"{folder} holds no notebook; expected is STUDENT/LAB.ipynb, or a zip of such files")
    return sorted(found.values(), key=lambda each: (each.student, each.lab)), faults


def _twice(line: str, *both: Submission) -> _Line:
    """The line on two submissions of one learner for one lab: of a zip among them, perhaps another handed it in."""
    zips = [frozenset([Owner(Path(each.path).stem)]) for each in both if not each.own]
    return _Line(line, zips) if zips else Note(line)


def inside_course(root: Path) -> Path:
    """`submitted/` of nbgrader's course; any other folder, or a zip, as it is."""
    course = (root / "submitted").is_dir() and any((root / name).exists() for name in COURSE)
    return root / "submitted" if course else root


@dataclass
class _Place:
    """A learner's folder, or a zip: what is to be said about it, and how much of it may still be unpacked."""

    lines: list[str] = field(default_factory=list)
    more: int = 0  # lines that are left out
    owners: set[frozenset[Owner]] = field(default_factory=set)  # of what these are about
    room: int = MAX_UNPACKED

    def say(self, line: str) -> None:
        if len(self.lines) < MAX_FAULTS:
            self.lines.append(line)
        else:
            self.more += 1
            self.owners |= getattr(line, "owners", frozenset())

    def refuse(self, line: str, owner: Owner | None) -> None:
        """Say of an owner's material why it is not graded; None if anybody's."""
        self.say(Refused(line, [frozenset([owner or Owner("")])]))

    def all(self, place: str) -> list[str]:
        if not self.more:
            return self.lines
        text = f"{place}: {self.more:,} more such files"
        kind = Note if all(isinstance(line, Note) for line in self.lines) else Refused
        return [*self.lines, kind(text, self.owners)]


def _apart(submissions: list[Submission]) -> list[Submission]:
    """The same; if the system's numbers say that two students have one name, the number follows the name."""
    ids: dict[str, set[str]] = defaultdict(set)
    numbers: dict[tuple[str, str], set[str]] = defaultdict(set)
    for each in submissions:
        ids[each.student] |= {each.id} - {""}
        numbers[each.student, each.lab] |= {each.number} - {""}
    shared = {student for student, them in ids.items() if len(them) > 1}
    shared |= {student for (student, _), them in numbers.items() if len(them) > 1}
    return [
        replace(each, student=f"{each.student} {each.id or each.number}".strip()) if each.student in shared else each
        for each in submissions
    ]


def _all(root: Path, told: dict[str, _Place]) -> Iterator[Submission]:
    if root.is_file():
        yield from _read_zip(root, PurePosixPath(), told[str(root)])
        return
    others: dict[Owner, str] = {}  # whose files are neither notebooks nor zips, and one of those
    seen: set[Owner | None] = set()

    def closed(error: OSError) -> None:
        place = PurePosixPath(os.path.relpath(error.filename, root))
        told[error.filename].refuse(f"{error.filename}: {error.strerror}", _owner(place / "x"))

    for at, folders, files in os.walk(root, onerror=closed):
        for name in [each for each in folders if os.path.islink(os.path.join(at, each))]:
            path, place = Path(at, name), PurePosixPath(Path(at, name).relative_to(root))
            told[at].refuse(f"{path}: a link to a folder; links are not followed", _owner(place / "x"))
        folders[:] = sorted(each for each in folders if not _hidden(each))
        for name in sorted(files):
            path = Path(at, name)
            place = PurePosixPath(path.relative_to(root))
            if _hidden(name):
                continue
            if path.suffix.lower() not in (".ipynb", ".zip"):
                if name not in BESIDE and (owner := _owner(place)):
                    others.setdefault(owner, str(path))
                continue
            here, owner = told[str(root / place.parts[0])], _owner_of_zip(place)
            seen.add(_named_only(owner))
            try:
                status = path.lstat()
            except OSError as error:
                here.refuse(f"{path}: {error.strerror}", owner)
                continue
            if not stat.S_ISREG(status.st_mode):
                here.refuse(f"{path}: not a regular file (perhaps a link); links are not followed", owner)
            elif path.suffix.lower() == ".zip":
                yield from _read_zip(path, place, here)
            else:
                whose = _owner(place) or Owner("")
                whose = replace(whose, when=whose.when or _stamped(path.parent))
                yield from _checked(_by(whose, path, None, True, place, _time(path)), _time(path), place, here)
    for owner, other in others.items():
        if _named_only(owner) not in seen:
            told[other].say(_no_notebook(other, owner))


def _no_notebook(shown: str, owner: Owner) -> Note:
    """A line about the file of a folder that holds nothing to grade; perhaps it is no learner's."""
    return Note(f"{shown}: not a notebook, and no other file lies there", [frozenset([owner])])


def _named_only(owner: Owner | None) -> Owner | None:
    """An owner without what differs between the owner's files."""
    return owner and replace(owner, late=False, when="")


def _hidden(name: str) -> bool:
    """Whether a file or folder is a program's own, and not what a system named after a learner."""
    given = moodle_name(name) or CANVAS.fullmatch(name) or BLACKBOARD.fullmatch(name)
    return name.startswith((".", "__MACOSX")) and not given


def _by(whose: Owner, path: Path, member: str | None, own: bool, place: PurePosixPath, when: tuple) -> Submission:
    """A submission of which it is not yet known to which lab it belongs."""
    said = whose.when
    with contextlib.suppress(ValueError):  # an entry of a zip may have no date
        said = said or f"{datetime(*when):%Y-%m-%d %H:%M:%S}"
    about: dict[str, Any] = {
        "id": whose.id,
        "number": whose.number,
        "own": own,
        "late": whose.late,
        "when": said,
        "place": str(place),
    }
    return Submission(whose.student, "", str(path), member, **about)


def _stamped(folder: Path) -> str:
    """When a folder was handed in, in this machine's time, as nbgrader's exchange notes it in UTC; empty if it does not."""
    with contextlib.suppress(InputError, OSError, ValueError, OverflowError):
        text = read(str(folder / "timestamp.txt"), None)[:40].decode().strip().removesuffix(" UTC")
        return f"{datetime.fromisoformat(text).replace(tzinfo=UTC).astimezone():%Y-%m-%d %H:%M:%S}"
    return ""


def _time(path: Path) -> tuple:
    return time.localtime(min(max(path.lstat().st_mtime, 0), 2**32))[:6]


class _Capped(io.FileIO):
    """A file that refuses large reads in one piece."""

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size if size is not None and 0 <= size <= MAX_READ else MAX_READ + 1)
        if len(data) > MAX_READ:
            raise zipfile.BadZipFile(f"its list of files takes more than {MAX_READ // 1_000_000} MB")
        return data


def read(path: str, member: str | None) -> bytes:
    """The bytes of a submission. Raises `InputError` for a file that is too large or not a regular file."""
    if member is None:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            data = file.read(MAX_FILE + 1)
    else:
        try:
            with _Capped(path) as packed, _in_zip(packed, member) as inner:
                data = inner.read(MAX_FILE + 1)
        except Exception as error:  # zipfile can raise many kinds of errors
            raise InputError(f"it cannot be extracted from the zip ({type(error).__name__}: {error})") from None
    if len(data) > MAX_FILE:
        raise InputError(f"the file is larger than {MAX_FILE // 1_000_000} MB; was something huge left in an output?")
    return data


@contextlib.contextmanager
def _in_zip(file: IO[bytes], member: str) -> Iterator[IO[bytes]]:
    name, _, inside = member.partition("\0")
    with zipfile.ZipFile(file) as archive:
        if archive.getinfo(name).compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise zipfile.BadZipFile("compressed in a way that cannot be read piece by piece")  # bzip2, LZMA
        with archive.open(name) as inner:
            if not inside:
                yield inner
                return
            data = inner.read(MAX_FILE + 1)
    if len(data) > MAX_FILE:
        raise zipfile.BadZipFile(f"{name} is larger than {MAX_FILE // 1_000_000} MB")
    with _in_zip(io.BytesIO(data), inside) as inner:
        yield inner


def _read_zip(path: Path, place: PurePosixPath, told: _Place) -> Iterator[Submission]:
    """`_zip` in a process of its own, with a clock."""

    owner = _owner_of_zip(place) if place.parts else None
    named = set() if owner else {Owner(path.stem)}  # it may be theirs, whatever the names inside

    def work() -> tuple[list[dict[str, Any]], list[tuple[str, list, bool]], int, list]:
        inside = _Place()
        found = [asdict(each) for each in _zip(path, place, inside)]
        if place.parts and not found and not inside.lines:
            inside.refuse(f"{path}: a zip without a notebook", owner or Owner(path.stem))
        lines = [(str(each), packed(getattr(each, "owners", ())), isinstance(each, Note)) for each in inside.lines]
        return found, lines, inside.more, packed(inside.owners)

    def packed(things: Iterable[frozenset[Owner]]) -> list[list[dict]]:
        return [[asdict(each) for each in owners] for owners in things]

    def unpacked(things: list[list[dict]]) -> list[frozenset[Owner]]:
        return [frozenset({Owner(**each) for each in owners} | named) for owners in things]

    try:
        found, lines, more, owners = runner.apart(work, *((READ, 60) if place.parts else (READ_CLASS, READ_CLASS)))
    except InputError as error:
        told.refuse(f"{path}: {error}; it was left out", owner or Owner(path.stem))
        return
    for line, things, noted in lines:
        told.say((Note if noted else Refused)(line, unpacked(things)) if things else line)
    told.more += more
    told.owners |= set(unpacked(owners))
    for each in found:
        says_lab, when, number, at = each.pop("order")
        yield Submission(**each, order=(says_lab, tuple(when), number, at))


def _zip(path: Path, place: PurePosixPath, told: _Place) -> Iterator[Submission]:
    """The submissions in a zip that was handed in at `place`; `place` is empty for the zip that holds all submissions."""
    owner = _owner_of_zip(place) if place.parts else None
    given = not place.parts  # the instructor named this zip: the names in it are the system's
    rooms: dict[Owner, int] = {}  # for each learner in a class's zip
    for member, inner in _listed(path, None, told, MAX_OWN if owner else MAX_MEMBERS, owner):
        whose = owner
        if not owner:  # a class's zip, or a student's, known only by its name
            inner = _inside(inner, path.stem)
            whose = _owner(inner) or _owner_of_zip(PurePosixPath(path.name))
        whose = whose or Owner(path.stem)
        if given:
            told.room = rooms.get(whose, MAX_UNPACKED)
        if inner.suffix.lower() == ".ipynb":
            own = given or bool(owner) or whose == Owner(path.stem)
            when, at = (member.date_time, inner) if given else (_time(path), place)
            submission = _by(whose, path, member.filename, own, at, when)
            yield from _checked(submission, member.date_time, place.parent / inner, told)
            rooms[whose] = told.room
            continue
        whose, own = owner or _owner_of_zip(inner) or Owner(inner.stem), given or bool(owner)
        before, empty = len(told.lines) + told.more, True
        for nested, deeper in _listed(path, member.filename, told, MAX_OWN, whose):
            empty = False
            name = f"{member.filename}\0{nested.filename}"
            when, at = (member.date_time, inner) if given else (_time(path), place)
            submission = _by(whose, path, name, own, at, when)
            if deeper.suffix.lower() == ".ipynb":
                yield from _checked(submission, nested.date_time, place.parent / inner.parent / deeper, told)
            else:
                what = "a zip in a zip in a zip; unpack the outer ones, and give the folder"
                told.refuse(f"{submission.shown!r}: {what}", whose)
            rooms[whose] = told.room
        if empty and before == len(told.lines) + told.more:
            told.refuse(f"{path}:{member.filename!r}: a zip without a notebook", whose)


def _listed(
    path: Path, outer: str | None, told: _Place, most: int, owner: Owner | None
) -> Iterator[tuple[zipfile.ZipInfo, PurePosixPath]]:
    """(member, its place) of the notebooks and zips in a zip, or in the one that is its member `outer`. Without an
    `owner`, a member's place says whose it is; what has no other member either is refused.
    """
    shown = str(path) if outer is None else f"{path}:{outer}"
    try:
        with (
            _Capped(path) if outer is None else io.BytesIO(_unpacked(str(path), outer, told)) as file,
            zipfile.ZipFile(file) as archive,
        ):
            members = archive.infolist()
    except Exception as error:  # zipfile can raise many kinds of errors
        told.refuse(f"{shown!r}: not a readable zip ({error})", owner)
        return
    if len(members) > most:
        told.refuse(f"{shown!r}: {len(members):,} files in one zip; at most {most:,} are read", owner)
        return
    others: dict[Owner, str] = {}
    seen: set[Owner | None] = set()
    for member in members:
        inner = PurePosixPath(member.filename)
        hidden = any(_hidden(part) and part not in (".", "..") for part in inner.parts)
        if member.is_dir() or hidden:
            continue
        whose = owner or _owner_of_zip(_inside(inner, path.stem))
        if inner.suffix.lower() not in (".ipynb", ".zip"):
            if not owner and whose and inner.name not in BESIDE:
                others.setdefault(whose, member.filename[:MAX_NAME])
            continue
        seen.add(_named_only(whose))
        if len(member.filename) > MAX_NAME:
            told.refuse(f"{shown}: a file in it has a name of {len(member.filename):,} characters", whose)
        elif (
            inner.is_absolute()
            or ".." in inner.parts
            or "\\" in member.filename
            or stat.S_ISLNK(member.external_attr >> 16)
        ):
            told.refuse(f"{shown}:{member.filename!r}: leads out of the zip, or is a link", whose)
        else:
            yield member, inner
    for whose, name in others.items():
        if _named_only(whose) not in seen:
            told.say(_no_notebook(f"{shown}:{name!r}", whose))


def _unpacked(path: str, member: str | None, told: _Place) -> bytes:
    """`read`, as long as there is room for it. Raises `InputError`."""
    if told.room <= 0:
        raise InputError(f"what was handed in there unpacks to more than {MAX_UNPACKED // 1_000_000} MB")
    outer = member.partition("\0")[0] if member else None
    data = read(path, member)
    told.room -= max(len(data), MIN_ROOM) if outer == member else MAX_FILE  # the zip around it was unpacked too
    return data


def _inside(place: PurePosixPath, *more: str) -> PurePosixPath:
    """The place without folders that contain all students' folders: `submitted`, a lab's name, and so on."""
    parts = list(place.parts)
    while len(parts) > 1 and (
        parts[0].lower() in ("submitted", "submissions", *labs()) or (len(parts) > 2 and parts[0] in more)
    ):
        del parts[0]
    return PurePosixPath(*parts)


def _owner(place: PurePosixPath) -> Owner | None:
    """Whose file it is, by the place where it was handed in: the outermost folder, or else the name; None if neither says it."""
    place = _inside(place)
    named = moodle_name(place.parts[0] if len(place.parts) > 1 else place.stem)
    if named:
        return Owner(named["student"], number=named["number"])
    if len(place.parts) > 1:
        return Owner(place.parts[0])
    if named := CANVAS.fullmatch(place.stem):
        return Owner(named["student"], named["id"], late=bool(named["late"]))
    if named := BLACKBOARD.fullmatch(place.stem):
        day, clock = named["when"][:10], named["when"][11:].replace("-", ":")
        return Owner(named["student"], when=f"{day} {clock}")
    return None


def moodle_name(text: str) -> re.Match | None:
    """A name as Moodle gives it. None if its mark is there twice: a learner may have chosen one, so no one is guessed."""
    return MOODLE.fullmatch(text) if text.count("_assignsubmission_file_") == 1 else None


def _owner_of_zip(place: PurePosixPath) -> Owner | None:
    otter = OTTER.fullmatch(place.stem)
    return _owner(place) or (Owner(otter["student"]) if otter else None)


def _checked(submission: Submission, when: tuple, place: PurePosixPath, told: _Place) -> Iterator[Submission]:
    """The submission with its lab, from its place or from the exercises in it; or a fault if neither says."""
    named = moodle_name(place.stem) or CANVAS.fullmatch(place.stem) or BLACKBOARD.fullmatch(place.stem)
    lab = lab_of(named["name"] if named else place.stem)
    for folder in reversed(place.parts[:-1]):  # ASSIGNMENT/any name.ipynb
        lab = lab or (labs().get(folder.lower()) if folder == place.parts[0] else lab_of(folder))
    student, shown = (
        unicodedata.normalize("NFC", submission.student),
        submission.shown,
    )  # macOS decomposes accented letters
    says_lab = lab is not None
    if not says_lab and not re.match(r"\d\d_", place.stem):  # the name of a lab that does not exist
        lab = _lab_inside(submission, told)
    owner = Owner(student, submission.id, submission.number)
    if not student:
        told.refuse(f"{shown!r}: belongs to no student; put it into a folder with the student's name", owner)
    elif lab is None:
        known = ", ".join(sorted({key for key in labs() if "_" in key and key[0].isdigit()}))
        told.refuse(f"{shown!r}: its name is not that of a lab with exercises ({known})", owner)
    elif not _is_name(student):
        what = f"{student!r} cannot be a student's name here; use letters and digits, and{IN_NAMES} inside"
        told.refuse(f"{shown!r}: {what}", owner)
    else:
        if not says_lab:
            told.say(f"{shown!r}: treated as lab {lab}, because of its exercises; its name does not say so")
        # of two, the one that is named after the lab counts, then the later, then the one with the higher number: `01_data-2`
        number = re.search(r"[-( ](\d{1,2})\)?$", place.stem)
        order = says_lab, tuple(when), int(number[1]) if number else 0, str(place)
        yield replace(submission, student=student, lab=lab, order=order)


def _lab_inside(submission: Submission, told: _Place) -> str | None:
    """The lab whose exercises, and no other's, are named in the file. It is not parsed here."""
    try:
        data = _unpacked(submission.path, submission.member, told)
    except (InputError, OSError):
        return None
    topics = {topic.decode() for topic in re.findall(rb"exercise\(\\?[\"']([a-z_]{1,40})\.", data)}
    found = {labs()[topic] for topic in topics if topic in labs()}
    return found.pop() if len(found) == 1 else None


def _is_name(text: str) -> bool:
    """Whether it can be a file's name, a CSV's cell and a person's name."""
    known = all(unicodedata.category(c)[0] in "LMN" or c in IN_NAMES for c in text)
    return (
        known
        and len(text) <= 100
        and len(text.encode("utf-8", "replace")) <= 200
        and text[:1].isalnum()
        and text.strip(" .") == text
    )


SAME = {  # how a column is called in Moodle's, Blackboard's and nbgrader's exports
    "first_name": "first name",
    "last_name": "last name",
    "full name": "name",
    "surname": "last name",
    "id number": "id",
    "student id": "id",
    "email address": "email",
    "username": "login",
    "sis email": "email",
}


Roster = dict[tuple[str, str], list[dict]]


def roster(path: str | Path) -> Roster:
    """{(kind, value): the rows it fits} of a CSV with columns such as Student, ID, SIS Login ID, Section.

    A student is found by any of the columns `student`, `name`, `id`, `login`, `email` and those of Canvas, Moodle (its
    participants and its grading worksheet), Blackboard and nbgrader; also by the name without spaces, in lower case, family name
    first, as in Canvas's file names. Canvas's number finds the row with that ID, Moodle's the one with that Identifier.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"the roster {path} cannot be read ({error.strerror})") from None
    try:
        text = data.decode("utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig")  # Blackboard's
    except UnicodeDecodeError:
        text = data.decode("cp1252", "replace")  # what a spreadsheet writes by default
    first = text.partition("\n")[0]
    try:
        rows = list(csv.DictReader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count)))
    except csv.Error as error:
        raise InputError(f"the roster {path} cannot be read ({error})") from None
    columns_there = (
        {SAME.get(title, title) for key in rows[0] if key and (title := key.lower().strip())} if rows else set()
    )
    if not columns_there & {"student", "name", "id", "login", "email", "first name"}:
        raise InputError(f"the roster {path} needs a first line with a column such as student, name or ID")
    known: Roster = {}
    people: dict[tuple, dict] = {}
    titles = {title: lab for title in rows[0] if title and (lab := _lab_of_column(title))}
    columns = {lab: title for title, lab in titles.items() if [*titles.values()].count(lab) == 1}
    for row in rows:
        lower = {
            SAME.get(key.lower().strip(), key.lower().strip()): (value or "").strip()
            for key, value in row.items()
            if key and isinstance(value, (str, type(None)))
        }
        both = f"{lower.get('first name', '')} {lower.get('last name', '')}".strip()
        names = (lower.get("student"), lower.get("name"), both, lower.get("login"), lower.get("email"), lower.get("id"))
        name = next(filter(None, names), "")
        participant = re.sub(r"\D", "", lower.get("identifier", ""))  # `Participant 12345`
        if not name or name.lower().strip() in ("points possible", "student, test"):
            continue
        login, sis = lower.get("sis login id") or lower.get("login", ""), lower.get("sis user id", "")
        wanted: dict[str, Any] = {"Student": name, "ID": lower.get("id", ""), "SIS User ID": sis, "SIS Login ID": login}
        wanted |= {"Section": lower.get("section", ""), "Email": lower.get("email", ""), "columns": columns}
        wanted = people.setdefault((name, wanted["ID"], sis, login), wanted)  # a person may be in two sections
        family, _, given = name.partition(",")
        turned = f"{given.strip()} {family.strip()}".strip()
        keys = {
            ("exactly", key.lower())
            for key in (wanted["ID"], sis, login, lower.get("login", ""), lower.get("email", ""))
            if key
        }
        forms = {
            (kind, form.lower())
            for key in (name, turned, family + given)
            for kind, form in (("name", key), ("bare", re.sub(r"[\W_]", "", key)))
            if form
        }
        numbers = {(kind, each) for kind, each in (("id", wanted["ID"]), ("number", participant)) if each}
        for key in keys | forms | numbers:
            if wanted not in known.setdefault(key, []):
                known[key].append(wanted)
    return known


def _lab_of_column(title: str) -> str | None:
    """The lab of a gradebook's column such as `Lab 1: near-duplicates (12345)` or `01_data (12345)`."""
    title = re.sub(r" *\(\d+\)$", "", title.strip()).lower()
    number = re.match(r"(?:lab\W*)?0*(\d+)(?:_[a-z_]+)?\b", title)
    lab = f"{int(number[1]):02d}" if number else ""
    return lab if lab in labs() and ("lab" in title or title in labs()) else None


def in_roster(known: Roster, student: str, id: str = "", number: str = "") -> dict | None:
    """The row of a student; None if there is none, or if there are several candidates. Names, which people may choose,
    come last.
    """
    small = student.lower()
    ways = ("id", id), ("number", number), ("exactly", small), ("name", small), ("bare", re.sub(r"[\W_]", "", small))
    fits = next((known[way] for way in ways if known.get(way)), None)
    return fits[0] if fits and len(fits) == 1 else None


def whose(known: Roster, owner: Owner) -> list[dict]:
    """The rows of a roster whose material something may be: by number or name as `in_roster`, several where these are
    not unique; or else those of whose name, or login, all words are in its own, as with a name that was altered.
    """
    small = unicodedata.normalize("NFC", owner.student).lower()
    ways = ("id", owner.id), ("number", owner.number), ("exactly", small), ("name", small)
    if fits := next((known[way] for way in (*ways, ("bare", re.sub(r"[\W_]", "", small))) if known.get(way)), None):
        return fits
    words = set(_words(small))
    return list({
        id(person): person
        for people in known.values()
        for person in people
        if any((parts := _words(person[key].lower())) and words >= set(parts) for key in ("Student", "SIS Login ID"))
    }.values())  # fmt: skip


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", unicodedata.normalize("NFC", text))
