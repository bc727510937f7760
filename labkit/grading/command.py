"""`labkit grade`: from a folder of submissions to a gradebook, feedback and a report.

What has been graded is in the ledger; the same command again grades what is missing or has changed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import secrets
import stat
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from labkit import cluster
from labkit.common import InputError, printable, private_files, say, write_atomically
from labkit.exercises import catalogue
from labkit.grading import book, handing_back, judge, pages, sandbox, similarity, submissions
from labkit.live import Line


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "submissions", type=Path, help="folder (or zip) of STUDENT/LAB.ipynb, LMS names, or zips of either"
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="where ledger, gradebook and feedback are written"
    )
    parser.add_argument(
        "--seed", type=int, help="of the hidden inputs (kept in DIR; drawn the first time if not given)"
    )
    parser.add_argument("--roster", metavar="FILE.csv", help="match names with this list, and say who is missing")
    parser.add_argument("--canvas", action="store_true", help="write canvas.csv too")
    parser.add_argument("--moodle", action="store_true", help="write moodle.csv too, for Moodle's grade import")
    parser.add_argument(
        "--nbgrader", type=Path, metavar="FILE.db", help="write into nbgrader's gradebook (needs nbgrader)"
    )
    parser.add_argument(
        "--missing", choices=("zero", "blank"), help="what those of the roster get there who handed in nothing"
    )
    parser.add_argument(
        "--feedback",
        choices=handing_back.SYSTEMS,
        action="append",
        default=[],
        help="write feedback-SYSTEM.zip, to upload there (may be repeated)",
    )
    parser.add_argument("--due", metavar="TIME", help="what came later is late: '2026-12-01 23:59'")
    parser.add_argument(
        "--late-penalty", metavar="PERCENT", help="of the points, off late work: 10, or 10/day for each day begun"
    )
    parser.add_argument(
        "--leave-out",
        metavar="EXERCISE",
        action="append",
        default=[],
        help="does not count in this gradebook (may be repeated)",
    )
    parser.add_argument(
        "--release",
        metavar="STUDENT",
        action="append",
        default=[],
        help="grade again, hidden inputs shown (may be repeated)",
    )
    parser.add_argument("--keep", action="store_true", help="keep each assembled notebook in DIR/assembled/STUDENT/")
    parser.add_argument(
        "--cluster", metavar="ADDRESS", help="a Ray cluster: auto, or HOST:PORT (a folder that all share)"
    )
    parser.add_argument("--workers", type=int, help="how many at once (default: one for each core)")
    parser.add_argument(
        "--cpu",
        type=float,
        default=10,
        metavar="S",
        help="CPU seconds of an exercise in each kernel (default %(default)s)",
    )
    parser.add_argument(
        "--wall", type=float, default=40, metavar="S", help="the same by the clock (default %(default)s)"
    )
    parser.add_argument(
        "--memory",
        type=int,
        default=1_500,
        metavar="MB",
        help="of all processes of a sandbox (default %(default)s; a single one at most 2000)",
    )
    parser.add_argument(
        "--unsandboxed", action="store_true", help="run the code as yourself: only what you would run yourself"
    )
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    parser.epilog = (
        "examples:\n  labkit grade submissions/ --out grades/\n"
        "  labkit grade submissions/ --out grades/ --roster class.csv --canvas\n"
        "  labkit grade submissions/ --out grades/ --release ada"
    )


def main(args: argparse.Namespace) -> int:
    if min(args.cpu, args.wall, args.memory) <= 0 or (args.workers is not None and args.workers < 1):
        raise InputError("--cpu, --wall, --memory and --workers must be more than 0")
    if not sys.platform.startswith("linux"):  # the clock and the limits read /proc
        raise InputError("grading needs Linux; grade in a Linux machine, container or WSL 2")
    if not args.unsandboxed and args.cluster is None:
        sandbox.require()
    if unknown := sorted(set(args.leave_out) - set(catalogue())):
        raise InputError(f"--leave-out {unknown[0]}: there is no such exercise; see `labkit exercise list`")
    late = book.Late.parse(args.late_penalty, args.due)
    if args.missing and not args.roster:
        raise InputError("--missing needs --roster FILE.csv, which says who there is")
    out, folder = args.out.expanduser(), args.submissions.resolve()
    if folder.is_dir() and out.resolve().is_relative_to(folder):
        raise InputError(f"{out} is in the folder of the submissions; give a place beside it")
    if not args.unsandboxed:
        sandbox.refuse_shown(folder, out, *([Path(args.roster)] if args.roster else []))
    known = submissions.roster(args.roster) if args.roster else {}
    found, faults = submissions.find(args.submissions, known)
    notes = [printable(each) for each in faults if isinstance(each, submissions.Note)]
    owners = _Owners(faults, found)
    faults = [printable(each) for each in faults if not isinstance(each, submissions.Note)]
    args.release = [_named(wanted, found, known) for wanted in args.release]
    for path, number in Counter(each.path for each in found if not each.own).items():
        one = "put one learner's zip into a folder of their name, and give the class's zip by itself"
        faults.append(f"{printable(path)}: {number} notebooks, assigned by the names inside; {one}")
    with private_files(), _alone(out):
        seed = _seed(out, args.seed)
        ledger = book.Ledger(out / "ledger.jsonl")
        budget = judge.Budget(cpu=args.cpu, wall=args.wall, memory_mb=args.memory)
        found = [_apart(each, ledger, faults) for each in found]
        jobs = []
        for each in found:
            kept = out / "assembled" / each.student
            job = judge.Job(
                each.student,
                each.lab,
                str(Path(each.path).resolve()),
                each.member,
                seed,
                budget,
                keep=str(kept.resolve()) if args.keep else None,
                cells=str((out / "cells" / each.student).resolve()),
                sandboxed=not args.unsandboxed,
                id=each.id,
                number=each.number,
                late=each.late,
                when=each.when,
                place=each.place,
                own=each.own,
            )
            if _displaces(job, ledger):
                faults.append(
                    printable(
                        f"{each.shown}: not graded; {each.student} has handed in lab {each.lab}, and this one has the name only inside a zip"
                    )
                )
                continue
            about = (judge.digest(job), judge.reference(each.lab), seed)
            key = each.student, each.lab
            shown = each.student in args.release or ledger.released.get(key) == about[0]
            job = replace(job, released=shown)
            done = ledger.has((each.student, each.lab), about) and each.student not in args.release
            if not done or (args.keep and not (kept / f"{each.lab}.ipynb").exists()):
                jobs.append(job)
        graded = _grade(jobs, ledger, args)
        if ledger.replaced:
            ledger.compact()
        here = {(each.student, each.lab) for each in found}
        if earlier := sorted({student for student, _ in set(ledger.latest) - here}):
            say(
                f"{len(earlier)} students were graded earlier and are not in {args.submissions}; they stay in the gradebook: {_few(earlier)}"
            )
        gathered = _Gathered(ledger, known, args.leave_out, faults, notes, late, owners)
        alike = _write(out, gathered, args)
        return _print(args, gathered, graded, alike, seed)


class _Owners:
    """Whose the material may be that is not graded: they have handed in something."""

    def __init__(self, lines: list[str], found: list[submissions.Submission]):
        self.refused = {each for line in lines if isinstance(line, submissions.Refused) for each in line.owners}
        rest = [line for line in lines if not isinstance(line, submissions.Refused)]
        self.perhaps = {owner for line in rest for each in getattr(line, "owners", ()) for owner in each}
        self.perhaps |= {submissions.Owner(Path(each.path).stem) for each in found if not each.own}  # zips' own names

    def among(self, known: submissions.Roster, lacking: set[int]) -> tuple[set[int], bool]:
        """(those of the roster's rows, by `id`, who lack something and may be owners; whether anything is nobody's)."""
        fits = {id(person) for owner in self.perhaps for person in submissions.whose(known, owner)}
        unclaimed = False
        for owners in self.refused:
            those = {id(person) for owner in owners for person in submissions.whose(known, owner)}
            unclaimed, fits = unclaimed or not those, fits | those
        return fits & lacking, unclaimed


def _apart(each: submissions.Submission, ledger: book.Ledger, faults: list[str]) -> submissions.Submission:
    """The submission, its student with a number after the name if the gradebook has somebody else of that name."""
    number = each.id or each.number
    apart = f"{each.student} {number}"
    if number and any(student == apart for student, _ in ledger.latest):
        return replace(each, student=apart)
    this = book.Source(id=each.id, number=each.number)
    for (student, lab), other in ledger.whose.items():
        if student == each.student and other.is_another(this if lab == each.lab else this._replace(number="")):
            faults.append(
                printable(
                    f"{each.shown}: not the {each.student} who was graded earlier, by the system's number; kept apart as {apart}"
                )
            )
            return replace(each, student=apart)
    return each


def _displaces(job: judge.Job, ledger: book.Ledger) -> bool:
    """Whether a file whose learner's name comes from inside a zip would replace one that came from elsewhere."""
    earlier = ledger.whose.get((job.student, job.lab))
    if job.own or earlier is None or (not earlier.own and earlier.zip == Path(job.path).name):
        return False
    return ledger.latest[job.student, job.lab][1][0] != judge.digest(job)


def _named(wanted: str, found: list[submissions.Submission], known: dict) -> str:
    """The student that `--release` means: as in the submissions, or as in the roster."""
    students = sorted({each.student for each in found})
    if wanted in students:
        return wanted
    person = submissions.in_roster(known, wanted)
    those = {each.student for each in found if person and submissions.in_roster(known, each.student, each.id) is person}
    if len(those) != 1:
        raise InputError(f"--release {wanted}: there is no submission of that name; there are {_few(students)}")
    return those.pop()


def _few(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _grade(jobs: list[judge.Job], ledger: book.Ledger, args: argparse.Namespace) -> int:
    """Grade the jobs; each line goes into the ledger as it comes. What the machine failed at is tried once more, alone."""
    left, alone = dict(enumerate(jobs)), []
    line, kept, began = Line(), 0, time.monotonic()

    def keep(number: int, row: dict[str, Any]) -> None:
        nonlocal kept
        ledger.add(json.dumps(row))
        kept += 1
        line.show(progress(kept, len(jobs), time.monotonic() - began), kept / len(jobs))

    try:
        while left:
            order = list(left)

            def done(index: int, result: str, order: list[int] = order) -> None:
                row = json.loads(result)
                left.pop(order[index])
                if row.get("machine"):
                    alone.append(order[index])
                else:
                    keep(order[index], row)

            try:
                cluster.map(
                    judge.work, [left[i] for i in order], cluster=args.cluster, workers=args.workers, progress=done
                )
            except cluster.WorkError as error:
                number = order[error.index]
                if left.pop(number, None):
                    alone.append(number)
        for number in alone:
            try:
                (result,) = cluster.map(judge.work, [jobs[number]], cluster=args.cluster, workers=1)
                row = json.loads(result)
            except cluster.WorkError:
                row = judge.failed(jobs[number], "the grader's own process was ended")
            keep(number, row)
    except KeyboardInterrupt:
        line.close()
        say(f"{kept} of {len(jobs)} are graded and kept; the same command continues")
        raise
    line.close()
    return len(jobs)


def progress(done: int, total: int, seconds: float) -> str:
    """How far it is: submissions a minute, and the time left at that rate."""
    pace = done / max(seconds, 1e-9)
    left = round((total - done) / pace)
    return f"graded {done} of {total}, {60 * pace:.0f} a minute, {left // 60}:{left % 60:02} left"


class _Gathered:
    """The result of the ledger with this roster and these options: rows, counts, who is missing, what to look at."""

    def __init__(
        self,
        ledger: book.Ledger,
        known: dict,
        leave_out: list[str],
        faults: list[str],
        notes: list[str],
        late: book.Late,
        owners: _Owners,
    ):
        self.ledger, self.known, self.late = ledger, known, late
        self.notes = [*notes]  # lines that leave nothing to be done
        self.late_count = 0
        self.names = {number: name for name, number in submissions.labs().items() if name[0].isdigit() and "_" in name}
        self.keys = [key for key in ledger.latest if key[1] in self.names]
        self.labs = {lab for _, lab in self.keys}
        self.students = {student for student, _ in self.keys}
        self.ids = [id for id, each in catalogue().items() if each.lab in self.labs and id not in leave_out]
        self.people = {id(person): person for fits in known.values() for person in fits}
        self.faults = [*faults]
        self.newest: dict[tuple[int, str], book.Key] = {}  # {(a person of the roster, a lab): the line that counts}
        self._find_newest()
        self.count = self.full = 0
        self.refused: list[str] = []
        strangers, handed_in, empty = set(), defaultdict(set), []
        for row in self.rows():
            self.count += 1
            self.late_count += row["late"]
            if row["empty"]:
                empty.append(f"{row['student']}, lab {row['lab']}")
            self.full += row["points"] == row["possible"]
            if row["outcome"] != "graded":
                self.refused.append(printable(f"{row['student']}, lab {row['lab']}: {row['outcome']}"))
            if row["person"]:
                handed_in[id(row["person"])].add(row["lab"])
            else:
                strangers.add(row["student"])
        if known:
            self.faults += [f"{student}: not in the roster, or there more than once" for student in sorted(strangers)]
        if empty:
            self.notes.append(f"notebooks that hold no exercise of their lab: {_few(empty)}")
        owners.perhaps |= {submissions.Owner(student) for student in strangers}
        lacking = {number for number in self.people if self.labs - handed_in[number]}
        self.unclear, unclaimed = owners.among(known, lacking)
        whose = "what may be theirs was not graded, so they do not count as missing"
        self.faults += sorted(f"{self.people[number]['Student']}: {whose}" for number in self.unclear)
        if lacking and unclaimed:
            self.unclear = lacking
            self.faults.append(
                "some of what was not graded is nobody's of the roster: until it has an owner, nobody counts as missing"
            )
        self.faults = [printable(fault) for fault in self.faults]
        self.missing = sorted(map(printable, self._missing(handed_in)))

    def rows(self) -> Iterator[dict[str, Any]]:
        """The lines of the ledger, with the points that count, and with the person in the roster."""
        for row in self.ledger.rows(self.keys):
            person = submissions.in_roster(self.known, row["student"], row.get("id", ""), row.get("number", ""))
            key = row["student"], row["lab"]
            counted = {each: got for each, got in row["exercises"].items() if each in self.ids}
            points, possible = (round(sum(got[what] for got in counted.values()), 2) for what in ("points", "possible"))
            outdated = self.newest.get((id(person), row["lab"]), key) != key
            off = self.late.off(row, points)
            kinds = {got["kind"] for got in row["exercises"].values()}
            about = {"points": round(points - off, 2), "possible": possible, "person": person, "outdated": outdated}
            about |= {"late": self.late.days(row) > 0, "penalty": off}
            about |= {"empty": row["outcome"] == "graded" and kinds <= {"missing"}}
            yield row | {"exercises": counted} | about

    def _find_newest(self) -> None:
        """Of two lines for the same person and lab, the learner's own counts, then the later one."""
        whose, latest = self.ledger.whose, self.ledger.latest
        for row in self.rows() if self.known else ():
            if row["person"]:
                this, place = (row["student"], row["lab"]), (id(row["person"]), row["lab"])
                one, other = sorted(
                    (self.newest.get(place, this), this), key=lambda key: (whose[key].own, latest[key][0])
                )
                if one != other:
                    which = (
                        "the later"
                        if whose[one].own == whose[other].own
                        else f"{other[0]}, which is the learner's own,"
                    )
                    twice = f"graded for lab {row['lab']} as {one[0]} and as {other[0]}; {which} counts"
                    self.faults.append(f"{row['person']['Student']}: {twice}")
                self.newest[place] = other

    def absent(self, missing: str | None) -> Iterator[book.Absent]:
        """What `--missing` gives to whom: nobody gets 0 who may have handed in what was not graded."""
        for number, person in self.people.items() if missing else ():
            yield person, 0 if missing == "zero" and number not in self.unclear else ""

    def _missing(self, handed_in: dict[int, set[str]]) -> Iterator[str]:
        for number, person in self.people.items():
            if number in self.unclear:
                continue
            lacks = sorted(self.labs - handed_in[number])
            if lacks == sorted(self.labs):
                yield f"{person['Student']}: handed in nothing"
            elif lacks:
                yield f"{person['Student']}: handed in nothing for lab {', '.join(lacks)}"


def _write(out: Path, gathered: _Gathered, args: argparse.Namespace) -> int:
    """Gradebook, feedback, report, near-copies; how many pairs of those there are."""
    book.gradebook(gathered.rows, out / "gradebook.csv", gathered.ids)
    for write in [book.canvas] * args.canvas + [book.moodle] * args.moodle:
        path = out / f"{write.__name__}.csv"
        write(gathered.rows, path, gathered.names, bool(gathered.known), gathered.absent(args.missing))
    for row in gathered.rows():
        page = out / "feedback" / row["student"] / f"{gathered.names[row['lab']]}.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        with write_atomically(page) as file:
            file.write(pages.feedback(row, gathered.names[row["lab"]]))
    for system in dict.fromkeys(args.feedback):
        if left := handing_back.feedback(gathered.rows(), args.submissions, out, system, gathered.names):
            whose = (
                f"{left} pages are not in feedback-{system}.zip, because their notebooks have no name of that system's"
            )
            gathered.notes.append(whose)
    if args.nbgrader is not None:
        count = handing_back.nbgrader(gathered.rows(), args.nbgrader, gathered.names)
        gathered.notes.append(f"{args.nbgrader}: nbgrader's gradebook has the points of {count} submissions")
    with write_atomically(out / "report.html") as file:
        file.write(pages.report(gathered.rows(), gathered.names, gathered.missing, gathered.faults))
    return similarity.write(out, gathered.keys)


def _print(args: argparse.Namespace, gathered: _Gathered, graded: int, alike: int, seed: int) -> int:
    """Print the result; return the exit status."""
    for line in gathered.refused:
        say(line)
    if args.canvas:
        if not gathered.known:
            say("canvas.csv has no IDs; for Canvas give the roster that it exports, as --roster FILE.csv")
        columns: dict[str, str] = next((person["columns"] for person in gathered.people.values()), {})
        for lab in sorted(gathered.labs):
            say(f"canvas.csv: lab {lab} is the column {columns.get(lab, gathered.names[lab])!r}")
    if gathered.late.percent:
        gathered.notes.append(f"{gathered.late}; {gathered.late_count} submissions were late")
    for line in (*gathered.faults, *gathered.missing, *gathered.notes):
        say(line)
    out, students = args.out.expanduser(), len(gathered.students)
    whole = f"{gathered.count} submissions of {students} students, {graded} graded now, {gathered.full} with all points"
    say(f"{whole}; {out / 'gradebook.csv'}")
    if alike:
        say(f"{alike} pairs of cells look alike; {out / 'similar.csv'} is for you to read, not a grade")
    if args.json:
        figures = {"submissions": gathered.count, "students": students, "graded": graded, "full": gathered.full}
        figures |= {"refused": len(gathered.refused), "faults": len(gathered.faults), "missing": len(gathered.missing)}
        print(json.dumps(figures | {"similar": alike, "seed": seed}))
    if not gathered.count:
        return 2
    return 1 if gathered.faults or gathered.refused else 0


@contextlib.contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Refuse a second grading into the same folder, which would write the same ledger. What one that was killed left
    half written is removed.
    """
    import fcntl

    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out} cannot be made ({error.strerror})") from None
    if stat.S_IMODE(out.stat().st_mode) & 0o007:
        say(f"{out} can be read by others on this machine; `chmod -R o-rwx {out}` keeps it to yourself")
    try:
        file = open(out / ".lock", "wb")
    except OSError as error:
        raise InputError(f"{out} cannot be written ({error.strerror})") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"another grading is writing into {out}; wait for it, or give another --out") from None
        for half in out.rglob(".*.tmp"):
            half.unlink(missing_ok=True)
        yield


def _seed(out: Path, given: int | None) -> int:
    path = out / "seed"
    if given is None and path.exists():
        try:
            return int(path.read_text())
        except ValueError:
            raise InputError(f"{path} does not hold a number; give --seed") from None
    seed = secrets.randbits(128) if given is None else given
    if path.exists() and path.read_text().strip() != str(seed):
        say(f"the seed in {path} was {path.read_text().strip()[:20]}; with another, these are graded again")
    with write_atomically(path) as file:
        file.write(f"{seed}\n")
    return seed
