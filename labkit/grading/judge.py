"""Grading one submission: a child process reads it, runs it by nbval and compares; its parent owns the clock.

`work(job)` gives one line of JSON. It talks to a *judge*, a process of one thread that has imported what grading needs
and forks a child for each submission (`runner`). The child is trusted code with limits of its own, the kernel that it
starts is in a sandbox (`sandbox`), and the judge kills both, with all that they started, when a budget is used up. A
group of probes is earned only by an answer that arrived and was compared; nothing else that the learner's code does
earns anything. What the machine ended is tried again; if that does not help, the line says so, and grades nothing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import inspect
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, cast

from labkit.cluster import ONE_THREAD
from labkit.common import InputError
from labkit.grading import processes, runner, submissions
from labkit.grading.runner import End

MAX_FILES = 20_000  # in a sandbox
PATIENCE = 2.0  # seconds for the child to show how a kernel ended that is gone without a trace
MOST_FAULTS = 3  # of the machine, in one submission, before it is left
RAN = ("next", "learner", "probe")  # parts in which a learner's code may be in the kernel


@dataclass(frozen=True)
class Budget:
    """What an exercise may use. CPU time is what counts; the wall clock is for code that sleeps."""

    cpu: float = 10.0  # seconds in each kernel, for its cell and the probes tried there
    wall: float = 40.0
    start: float = 90.0  # wall seconds until a kernel has started, and torch is imported
    memory_mb: int = 1_500  # of all processes together
    read: float = 10.0  # CPU seconds for reading and parsing the file
    times: int = 5  # a submission as a whole may use so many times the CPU time and the wall time of an exercise


@dataclass(frozen=True)
class Job:
    """One submission to grade: its file (in a zip, the member's name too), and how."""

    student: str
    lab: str
    path: str
    member: str | None = None
    seed: int = 0
    budget: Budget = Budget()
    keep: str | None = None  # a folder for the assembled notebook
    cells: str | None = None  # a folder for what `similarity` compares of its exercise cells
    sandboxed: bool = True
    id: str = ""  # Canvas's number of the student
    number: str = ""  # or Moodle's
    late: bool = False  # the system says so
    when: str = ""  # it was handed in
    place: str = ""  # among the submissions
    released: bool = False  # its learner is shown the hidden inputs, and the own answers to them
    own: bool = (
        True  # whether its place says whose it is; otherwise a name inside a zip does, which may be another learner's
    )


def work(job: Job) -> str:
    """The submission's line of the ledger. If its judge ends, another tries; if that ends too, the line says so."""
    for _ in range(2):
        try:
            judge = _judge(os.getpid())
            assert judge.stdin and judge.stdout  # both are pipes
            judge.stdin.write(json.dumps(dataclasses.asdict(job)) + "\n")
            judge.stdin.flush()
            line = judge.stdout.readline()
        except OSError:  # also if no judge can be started
            line = ""
        if line.endswith("\n"):
            return line.rstrip("\n")
        _stop_judge()
    return json.dumps(failed(job, "the grader's own process was ended"))


def failed(job: Job, why: str) -> dict[str, Any]:
    """The line of a submission that the machine could not grade: no grade, and a reason to try again."""
    reason = f"the machine's fault: {why}; the same command tries again (`labkit doctor`)"
    return _line(job, digest(job), reason, {}) | {"machine": True}


def digest(job: Job) -> str:
    """A hash of a submission's bytes, or of the reason if they cannot be read."""
    try:
        return hashlib.sha256(submissions.read(job.path, job.member)).hexdigest()
    except (InputError, OSError) as error:
        return hashlib.sha256(str(error).encode()).hexdigest()


@cache
def _judge(worker: int) -> subprocess.Popen:
    """This worker's judge. Each has one: a process with threads, such as Ray's, must not fork."""
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    return subprocess.Popen(
        [sys.executable, "-c", "from labkit.grading.judge import serve; serve()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | ONE_THREAD | {"PYTHONPATH": path},
        start_new_session=True,
    )


def _stop_judge() -> None:
    with contextlib.suppress(OSError):
        judge = _judge(os.getpid())
        judge.kill()
        judge.wait()
    _judge.cache_clear()


def serve() -> None:
    """What a judge does until its worker is gone."""
    processes.prctl(processes.SUBREAPER, 1)  # processes that a child leaves running become the judge's, which ends them
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    os.umask(0o077)
    _import_all()
    runner.sweep()
    with contextlib.suppress(BrokenPipeError):  # the worker is gone, and the result is not needed
        for line in sys.stdin:
            fields = json.loads(line)
            job = Job(**fields | {"budget": Budget(**fields["budget"])})
            replies.write(json.dumps(grade(job)) + "\n")
            replies.flush()
    os._exit(0)


def _import_all() -> None:
    """Import, before the forks, what every child needs; much of it would be imported only when a notebook is collected."""
    os.environ["JUPYTER_PATH"] = str(Path(__file__).parent)
    # With these jsonschema checks forms of text that no notebook has; building their grammars takes over a second.
    sys.modules.update(dict.fromkeys(("rfc3987_syntax", "isoduration"), cast(Any, None)))
    import nbval.kernel
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.provisioning import KernelProvisionerFactory

    from labkit.exercises import catalogue
    from labkit.grading import assemble, comparison, sandbox, similarity  # noqa: F401

    nbval.kernel.pformat = str  # it formats each message for a log that is not read
    KernelSpecManager().get_kernel_spec("labkit-grade")
    KernelProvisionerFactory.instance().get_provisioner_entries()
    with runner.folder() as folder, contextlib.redirect_stdout(io.StringIO()):
        path = folder / "none.ipynb"
        path.write_text(json.dumps(assemble.notebook({}, 0)[0]))
        runner.nbval(path, "--collect-only")
    catalogue()
    sandbox.missing()


def _prepare(job: Job) -> None:
    """Load, before the fork, what all submissions of a lab need: torch, where one of its exercises does."""
    from labkit.grading.assemble import lab_exercises

    if any(exercise.torch for exercise in lab_exercises(job.lab)):
        import torch  # noqa: F401


def grade(job: Job) -> dict[str, Any]:
    """The submission's line of the ledger, as a dict."""
    began, cpu = time.monotonic(), _cpu_used()
    try:
        _prepare(job)
        with runner.folder() as folder:
            grading = _Grading(job, folder)
            grading.run_all()
    except (OSError, MemoryError) as error:  # no process, no room on the disk
        return failed(job, getattr(error, "strerror", None) or type(error).__name__)
    if grading.machine:
        return failed(job, grading.machine)
    line = _line(job, digest(job), grading.refused or "graded", grading.rows)
    line["seconds"] = round(time.monotonic() - began, 3)
    line["cpu_seconds"] = round(_cpu_used() - cpu + grading.cpu, 3)
    line["sandbox_cpu_seconds"] = round(grading.cpu, 3)  # of these
    return line


def _line(job: Job, submission: str, outcome: str, rows: dict[str, dict]) -> dict[str, Any]:
    name = Path(job.path).name if job.member is None else job.member.replace("\0", ":")
    about = {"student": job.student, "id": job.id, "number": job.number, "own": job.own, "zip": None}
    about |= {"late": job.late, "when": job.when, "place": job.place, **({"released": True} if job.released else {})}
    if job.member is not None:
        about["zip"] = Path(job.path).name
    about |= {"lab": job.lab, "file": name, "submission": submission}
    return about | {"reference": reference(job.lab), "seed": job.seed, "outcome": outcome, **_points(job.lab, rows)}


class _Grading:
    """What is known about a submission so far, and the runs that find out the rest."""

    def __init__(self, job: Job, folder: Path):
        self.job, self.folder = job, folder
        self.read = False
        self.cells: dict[str, str] | None = None  # what was read: the source of each exercise that is more than a stub
        self.refused: str | None = None  # why nothing of it is graded
        self.machine: str | None = None  # the same, if that is not the learner's doing
        self.faults: list[str] = []  # of the machine, so far
        self.rows: dict[str, dict] = {}  # by exercise
        self.left: set[tuple[str, str]] = set()  # (exercise, group) without an outcome
        self.again: set[str] = set()  # exercises that took too long, to be tried once more
        self.ended: set[str] = set()  # exercises that ended a kernel
        self.killed: set[str] = set()  # exercises whose kernel was killed once, by itself or from outside
        self.cpu = 0.0  # seconds that sandboxes took: the system does not count what ends with its namespace
        budget = job.budget
        self.rest_cpu, self.rest_wall = budget.times * budget.cpu, budget.times * budget.wall  # seconds it still has

    @property
    def over(self) -> bool:
        return bool(self.refused or self.machine)

    def run_all(self) -> None:
        """Run until each group has an outcome: first all together, then in new kernels the groups that an early end
        left over, those of exercises that have ended no kernel before the others.
        """
        self.run(None)
        while (self.left or not self.read) and not self.over:
            calm = {each for each in self.left if each[0] not in self.ended}
            self.run((calm or self.left) if self.read else None)
        budget = self.job.budget
        for id in sorted(self.again):  # once more, alone; after a group that takes too long again nothing is tried
            if self.rest_cpu < budget.cpu or self.rest_wall < budget.wall:
                break
            groups = {(id, group) for group in self.rows[id]["groups"]}
            self.rows[id] = self._blank([group for _, group in groups], self.rows[id].get("remarks", ()))
            self.left = groups
            while self.left and not self.over and self.run(self.left, again=True):
                pass

    def run(self, only: set[tuple[str, str]] | None, again: bool = False) -> bool:
        """Run these groups in one kernel. Returns whether to do it once more, for a reason that is not the learner's
        fault.
        """
        only = None if only is None else set(only)  # of the groups in `left`, which go from there as they are reported
        if self.read and min(self.rest_cpu, self.rest_wall) <= 0:
            self._fail(None, End("slow", run_out(self.job.budget)))
            return False
        killed = processes.killed_for_memory()
        run = _Run(self.job, only, self.folder, self._take, self.cells, (self.rest_cpu, self.rest_wall))
        end = run.run()
        self.cpu += run.cpu
        if end is None or end.whose != "machine":
            self.rest_cpu, self.rest_wall = self.rest_cpu - run.spent[0], self.rest_wall - run.spent[1]
        if end is None:
            if not self.read and not self.over:
                end = End("ended", "the process that reads it said nothing", "machine")
            else:
                if asked := {each for each in self.left if only is None or each in only}:
                    if not self.over:  # it ended successfully, and said nothing
                        self._fail_all(asked, End("ended", "the kernel gave no answer"))
                return False
        if self.over:
            return False
        if end.whose == "unknown":
            id = run.at[0] if run.at else ""
            if processes.killed_for_memory() > killed:
                end = End("memory", "memory ran out", "machine")
            elif id not in self.killed:  # perhaps from outside; then it will not happen again
                self.killed.add(id)
                self._anew(id)
                return True
        if end.whose == "machine":
            self.faults.append(end.text)
            if len(self.faults) >= MOST_FAULTS:
                self.machine = end.text
            self._anew(run.at[0] if run.at else "")
            return True
        if not self.read:
            self.refused = f"reading it {end.text}"
            return False
        self.ended.add(run.at[0] if run.at else "")
        self._fail(run.at, end)
        if end.kind == "slow" and run.at and not again:
            self.again.add(run.at[0])
        return False

    def _take(self, event: dict) -> None:
        if "refused" in event:
            self.refused = event["refused"]
        elif "found" in event:  # {exercise: its groups}, and in `tried` which are more than a stub
            self.read = True
            for id, groups in event["found"].items():
                if id not in self.rows:
                    self.rows[id] = self._blank(groups)
                    self.left |= {(id, group) for group in groups} if event["tried"][id] else set()
        elif "cells" in event:
            self.cells = event["cells"]
        elif "remarks" in event:
            self.rows[event["of"]]["remarks"] = event["remarks"]
        elif "group" in event:
            self.rows[event["exercise"]]["groups"][event["group"]] = event["earned"]
            self.left.discard((event["exercise"], event["group"]))
        elif "answers" in event:
            self.rows[event["of"]].setdefault("answers", {})[event["in"]] = event["answers"]
        elif "kind" in event:
            id = event.pop("exercise")
            if self.rows[id]["kind"] in ("not attempted", "ended"):
                self.rows[id] |= event

    def _blank(self, groups: list[str], remarks: list[str] | tuple = ()) -> dict:
        row = {"kind": "not attempted", "text": "not attempted", "groups": dict.fromkeys(sorted(groups), False)}
        return row | {"remarks": [*remarks]}

    def _anew(self, id: str) -> None:
        """All groups of an exercise are to be run again: a verdict is based on the answers of one kernel."""
        if id in self.rows:
            groups = self.rows[id]["groups"]
            self.rows[id] |= {"groups": dict.fromkeys(groups, False)}
            self.left |= {(id, group) for group in groups}

    def _fail(self, at: tuple[str, str] | None, end: End) -> None:
        """Note that the kernel was ended at this group; at an exercise's own cell, all its groups are lost."""
        lost = {each for each in self.left if at is None or each == at or (each[0] == at[0] and not at[1])}
        if at is not None and not lost:
            lost = {each for each in self.left if each[0] == at[0]} or set(self.left)
        self._fail_all(lost, end)

    def _fail_all(self, lost: set[tuple[str, str]], end: End) -> None:
        for exercise, _ in lost:
            self.rows[exercise] |= {"kind": end.kind, "text": end.text}
        self.left -= lost


class _Run(runner.Watch):
    """One child of a submission, which runs the groups in `only` (None: all), and its clock."""

    def __init__(
        self,
        job: Job,
        only: set[tuple[str, str]] | None,
        folder: Path,
        take: Callable[[dict], None],
        cells: dict[str, str] | None,
        rest: tuple[float, float],
    ):
        self.job, self.budget, self.take = job, job.budget, take
        self.rest = rest  # seconds of CPU time and by the clock that the submission still has
        self.reading = cells is None
        self.at: tuple[str, str] | None = None  # the exercise and group that the child is at
        self.part = "read"  # what it is doing there
        self.ran = False  # whether code of the learner's has run in this kernel
        self.machine: str | None = None  # what the child could not do
        self.gone: tuple[int | None] | None = None  # how the kernel had ended before the child could give it a cell
        self.seen = time.monotonic()  # when a process of the sandbox was last alive
        self.cpu_before = 0.0  # seconds of the sandbox that went before this exercise
        self.began: tuple[float, float] | None = None  # both clocks when the first of the learner's code began
        self.waiter = processes.parent(os.getppid())  # whoever waits for the worker
        sockets = folder / "s"
        _empty(sockets)
        super().__init__(partial(_read_and_run, job, only, folder, cells))

    @property
    def cpu(self) -> float:
        """Seconds of CPU time that the sandbox has taken."""
        return self.clock.seconds

    @property
    def spent(self) -> tuple[float, float]:
        """Seconds of CPU time and by the clock since the learner's code began."""
        if self.began is None:
            return 0.0, 0.0
        return self.cpu - self.began[0], time.monotonic() - self.began[1]

    def event(self, event: dict[str, Any]) -> None:
        if "machine" in event:
            self.machine = event["machine"]
        elif "gone" in event:
            self.gone = (event["gone"],)
        elif "at" not in event:
            self.reading = self.reading and "cells" not in event
            self.take(event)
        else:
            self._goes_on(event["at"], (event["exercise"], event["group"]))

    def _goes_on(self, part: str, at: tuple[str, str]) -> None:
        before, exercise = self.part, self.at and self.at[0]
        self.ran = self.ran or before in ("learner", "probe")
        # code of an earlier exercise may delay the kernel when an exercise begins
        self.part, self.at = "next" if part == "begin" and self.ran else part, at
        if at[0] != exercise or before == "begin":  # the wall clock of an exercise starts once
            self.since = time.monotonic()
        if at[0] != exercise or part == "learner":  # and so does its time, after imports
            self.cpu_before = self.clock.look(processes.tree(self.child))
        if self.began is None and part == "learner":
            self.began = self.cpu, time.monotonic()

    def tick(self, alive: list[int]) -> End | None:
        if processes.parent(os.getppid()) != self.waiter:
            raise SystemExit(1)  # the result is not needed
        if end := self._over(self.cpu - self.cpu_before, alive):
            return end
        if self.part in ("read", "done"):
            return None
        if self.part in RAN and self.job.sandboxed and alive and processes.files(alive[-1]) > MAX_FILES:
            return End("memory", f"made more than {MAX_FILES:,} files")  # before, its root may still be the machine's
        if alive:
            self.seen = time.monotonic()
        else:
            kernels = processes.children(self.child)
            code = processes.exit_code(kernels[0]) if kernels else None
            if code is None and time.monotonic() - self.seen < PATIENCE:
                return None  # the child has asked how it ended and will say so, or is being killed, its sandbox first
            time.sleep(runner.TICK)  # it may have just ended successfully
            if not self.heard_more():
                return self._kernel_ended(code)
        return None

    def _over(self, cpu: float, alive: list[int]) -> End | None:
        """The end if something has been used up."""
        wall, budget = time.monotonic() - self.since, self.budget
        if self.reading and processes.cpu(self.child) > budget.read:
            return End("slow", f"takes more than {budget.read:g} s of computing")
        if self.part in ("read", "begin", "done"):
            if wall > budget.start:
                busy = self.part == "read" and processes.cpu(self.child) > budget.start / 2
                return End("slow", f"took longer than {budget.start:g} s", "learner" if busy else "machine")
        else:
            if wall > budget.wall:
                return End("slow", f"took longer than {budget.wall:g} s; is there a loop that never ends?")
            if cpu > budget.cpu and self.part != "next":
                return End("slow", f"took more than {budget.cpu:g} s of computing; is there a loop that never ends?")
            if any(spent > rest for spent, rest in zip(self.spent, self.rest)):
                return End("slow", run_out(budget))
        if sum(map(processes.memory, alive)) > budget.memory_mb * 1_000_000:
            return End("memory", f"took more than {budget.memory_mb} MB of memory")
        return None

    def closed(self, code: int) -> End | None:
        if self.machine is not None:
            return End("ended", self.machine, "machine")
        if self.gone is not None:
            return self._kernel_ended(*self.gone)
        if self.part == "done" or (self.part == "read" and code in (0, 1)):
            return None
        if code in runner.CRASHES:
            return End("ended", "crashed the process that reads it", "unknown")
        how = f"signal {-code}" if code < 0 else f"exit status {code}"
        return End("ended", f"the process that reads and compares was ended ({how})", "machine")

    def _kernel_ended(self, code: int | None) -> End:
        """What ended a kernel whose process ended with this code (−N: by the signal N).

        Outside a sandbox that process is bubblewrap, which no code inside can reach; it ends with 128 + N where what is
        inside was ended by the signal N.
        """
        from_outside = self.job.sandboxed and code is not None and code < 0
        if self.part in ("read", "begin") or from_outside:
            return End("ended", f"the sandbox was ended{f' (signal {-code})' if code and code < 0 else ''}", "machine")
        asked = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        unknown = code is None or code in {-each for each in asked} | {128 + each for each in asked}
        return End("ended", "ended the kernel", "unknown" if unknown else "learner")


def run_out(budget: Budget) -> str:
    """What is said of what a submission had no time left for."""
    cpu, wall = budget.times * budget.cpu, budget.times * budget.wall
    return f"was left no time: the submission as a whole used its {cpu:g} s of computing or {wall:g} s by the clock"


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()


def _points(lab: str, rows: dict[str, dict]) -> dict:
    from labkit.grading.assemble import lab_exercises

    exercises = {}
    for exercise in lab_exercises(lab):
        row = rows.get(exercise.id) or {"kind": "missing", "text": "not in the notebook", "groups": {}}
        earned = sum(row["groups"].values()) / len(row["groups"]) if row["groups"] else 0
        exercises[exercise.id] = {"points": round(exercise.points * earned, 2), "possible": exercise.points, **row}
    return {
        "points": round(sum(row["points"] for row in exercises.values()), 2),
        "possible": sum(row["possible"] for row in exercises.values()),
        "exercises": exercises,
    }


@cache
def reference(lab: str) -> str:
    """A hash of the files that decide a verdict: the exercises, their references, what compares. Not of the budget, the
    sandbox or the libraries.
    """
    from labkit.exercises import __file__ as exercises
    from labkit.grading.assemble import lab_exercises

    folder, here = Path(exercises).parent, Path(__file__).parent
    parts = [part for exercise in lab_exercises(lab) for part in (exercise.probes, exercise.reference)]
    files = {Path(inspect.getfile(sys.modules[part.__module__])) for part in parts}
    files |= {
        folder / "engine.py",
        folder / "kinds.py",
        folder / "limits.py",
        here / "assemble.py",
        here / "comparison.py",
    }
    files |= {here / "inside" / "stub.py", here / "inside" / "kernel.py"}
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _cpu_used() -> float:
    import resource  # there is none on Windows

    mine, theirs = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return mine.ru_utime + mine.ru_stime + theirs.ru_utime + theirs.ru_stime


# The child's side: reading and running


def _read_and_run(
    job: Job, only: set[tuple[str, str]] | None, folder: Path, cells: dict[str, str] | None, emit: runner.Emit
) -> None:
    """A failure in reading is the file's fault, a failure after that the machine's. What was read before is not read
    again.
    """
    from labkit.grading import assemble
    from labkit.grading.comparison import DONE, Comparison

    try:
        found = _read(job, emit) if cells is None else cells
    except OSError as error:
        return emit({"machine": f"the file cannot be read ({error.strerror})"})
    except InputError as error:
        return emit({"refused": str(error)})
    except (Exception, MemoryError) as error:
        return emit({"refused": f"it cannot be read ({type(error).__name__})"})
    try:
        made, parts = assemble.notebook(found, job.seed, only)
        if only is None:
            _keep(job.keep, f"{job.lab}.ipynb", assemble.kept(made, job.student))
        if parts:
            path = folder / f"{job.lab}.ipynb"
            runner.write_privately(path, json.dumps(made, indent=1))
            os.environ["LABKIT_SOCKETS"] = str(folder / "s")
            if not job.sandboxed:
                os.environ["LABKIT_UNSANDBOXED"] = "1"
            runner.nbval(path, start=job.budget.start, plugins=[Comparison(parts, found, job.seed, emit, job.released)])
        emit(DONE)
    except Exception as error:
        emit({"machine": f"it could not be run ({getattr(error, 'strerror', None) or type(error).__name__})"})
        raise


def _read(job: Job, emit: runner.Emit) -> dict[str, str]:
    """The cells of the exercises that are more than a stub. Everything that parses them is here, where it has a budget."""
    from labkit.exercises.engine import is_stub
    from labkit.grading import assemble, similarity
    from labkit.grading.remarks import remarks

    exercises = assemble.lab_exercises(job.lab)
    sources = assemble.read_cells(submissions.read(job.path, job.member))
    cells = assemble.exercise_cells(sources, exercises)
    tried = {id: not is_stub(source, id) for id, source in cells.items()}
    long = assemble.too_long(sources, exercises) - set(cells)
    groups = {e.id: list(assemble.grouped(e, job.seed)) for e in exercises if e.id in cells or e.id in long}
    found = {id: source for id, source in cells.items() if tried[id]}
    noted = {exercise.id: remarks(found[exercise.id], exercise) for exercise in exercises if exercise.id in found}
    words = {id: similarity.normal(cell) for id, cell in found.items()}
    emit({"found": groups, "tried": tried | dict.fromkeys(long, False)})
    for id, lines in noted.items():
        emit({"remarks": lines, "of": id})
    for id in long:
        text = f"has more than {assemble.MAX_SOURCE:,} characters, and was not read"
        emit({"exercise": id, "kind": "long", "text": text})
    _keep(job.cells, f"{job.lab}.json", json.dumps(words))
    emit({"cells": found})
    return found


def _keep(folder: str | None, name: str, text: str) -> None:
    if folder is not None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        Path(folder, name).write_text(text)
