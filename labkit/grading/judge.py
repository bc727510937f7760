"""Grading one submission: a child process reads it, runs it by nbval and compares; its parent owns the clock.

`work(job)` gives one line of JSON. It talks to a *judge*, a process of one thread that has imported what grading needs
and forks a child for each submission. The child is trusted code with limits of its own, the kernel that it starts is
in a sandbox (`sandbox`), and the judge kills both, with all that they started, when a budget is used up. A group of probes is earned
only by an answer that arrived and was compared; whatever else happens earns nothing.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import hashlib
import io
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from labkit.cluster import ONE_THREAD
from labkit.common import InputError
from labkit.grading import submissions

TICK = 0.05  # seconds between two looks at a child
DEATH_SIGNAL, SUBREAPER = 1, 36  # linux/prctl.h
CHILD_MEMORY = 1_000_000_000  # bytes that reading and comparing may take
MAX_EVENTS = 20_000_000  # bytes that a child may say
MAX_FILES = 20_000  # in a sandbox
MAX_TEXT = 2_000  # characters that the ledger keeps of what is said of an exercise
DONE = {"at": "done", "exercise": "", "group": ""}


@dataclass(frozen=True)
class Budget:
    """What an exercise may use. CPU time is what counts; the wall clock is for those who sleep."""

    cpu: float = 10.0  # seconds in each kernel, for its cell and the probes tried there
    wall: float = 40.0
    start: float = 90.0  # wall seconds until a kernel has started, and torch is imported
    memory_mb: int = 1_500  # of all processes together


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


def work(job: Job) -> str:
    """The submission's line of the ledger. One that ends the judge itself, twice, is marked and earns nothing."""
    for _ in range(2):
        judge = _judge(os.getpid())
        try:
            judge.stdin.write(json.dumps(dataclasses.asdict(job)) + "\n")
            judge.stdin.flush()
            line = judge.stdout.readline()
        except OSError:
            line = ""
        if line:
            return line.rstrip("\n")
        _judge.cache_clear()
        judge.kill()
        judge.wait()
    return json.dumps(marked(job, "it ended the grader's own process"))


def marked(job: Job, outcome: str) -> dict[str, Any]:
    """The line of a submission that could not be graded."""
    return _line(job, digest(job), outcome, {})


def digest(job: Job) -> str:
    """A hash of a submission's bytes; of the reason, where they cannot be read."""
    try:
        return hashlib.sha256(submissions.read(job.path, job.member)).hexdigest()
    except (InputError, OSError) as error:
        return hashlib.sha256(str(error).encode()).hexdigest()


@cache
def _judge(worker: int) -> subprocess.Popen:
    """This worker's judge. Each has one: a process that holds threads, as Ray's do, must not fork."""
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    return subprocess.Popen(
        [sys.executable, "-c", "from labkit.grading.judge import serve; serve()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | ONE_THREAD | {"PYTHONPATH": path},
        start_new_session=True,
    )


def serve() -> None:
    """What a judge does until its worker is gone."""
    _prctl(SUBREAPER, 1)  # what a child leaves behind becomes the judge's, who ends it
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    _import_all()
    sweep()
    with contextlib.suppress(BrokenPipeError):  # the worker is gone, and nobody waits for the result
        for line in sys.stdin:
            fields = json.loads(line)
            job = Job(**fields | {"budget": Budget(**fields["budget"])})
            replies.write(json.dumps(grade(job)) + "\n")
            replies.flush()
    os._exit(0)


def _import_all() -> None:
    """Import, before the forks, what every child needs; much of it is imported only when a notebook is collected."""
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    os.environ["JUPYTER_PATH"] = str(Path(__file__).parent)
    import nbval.kernel
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.provisioning import KernelProvisionerFactory

    from labkit.exercises import catalogue
    from labkit.grading import assemble, sandbox, similarity  # noqa: F401

    nbval.kernel.pformat = str  # it words each message for a log that nobody reads
    KernelSpecManager().get_kernel_spec("labkit-grade")
    KernelProvisionerFactory.instance().get_provisioner_entries()
    with _folder() as folder, contextlib.redirect_stdout(io.StringIO()):
        path = folder / "none.ipynb"
        path.write_text(json.dumps(assemble.notebook({}, 0)[0]))
        _pytest(path, 1, "--collect-only")
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
    _prepare(job)
    with _folder() as folder:
        grading = _Grading(job, folder)
        grading.run(None)
        while grading.left and not grading.refused:  # a kernel ended early: what is left gets a fresh one
            grading.run(grading.left)
        for exercise in sorted(grading.again):  # once more, alone
            grading.run({(exercise, group) for group in grading.rows[exercise]["groups"]}, again=True)
    line = _line(job, digest(job), grading.refused or "graded", grading.rows)
    if grading.machine:
        line["machine"] = True
    line["seconds"] = round(time.monotonic() - began, 3)
    line["cpu_seconds"] = round(_cpu_used() - cpu + grading.cpu, 3)
    line["sandbox_cpu_seconds"] = round(grading.cpu, 3)  # of these
    return line


def _line(job: Job, submission: str, outcome: str, rows: dict[str, dict]) -> dict[str, Any]:
    name = Path(job.path).name if job.member is None else job.member.replace("\0", ":")
    about = {"student": job.student, "id": job.id, "lab": job.lab, "file": name, "submission": submission}
    return about | {"reference": reference(job.lab), "seed": job.seed, "outcome": outcome, **_points(job.lab, rows)}


class _Grading:
    """What is known of a submission so far, and the runs that find out the rest."""

    def __init__(self, job: Job, folder: Path):
        self.job, self.folder = job, folder
        self.read = False
        self.refused: str | None = None  # why nothing of it is graded
        self.machine = False  # whether that is the machine's fault, so that it is worth another grading
        self.rows: dict[str, dict] = {}  # by exercise
        self.left: set[tuple[str, str]] = set()  # (exercise, group) without an outcome
        self.again: set[str] = set()  # exercises that took too long, to be tried once more
        self.cpu = 0.0  # seconds that sandboxes took: what ends with its namespace is in no count of the system's

    def run(self, only: set[tuple[str, str]] | None, again: bool = False) -> None:
        if again:
            id = only_exercise(only)
            self.rows[id] = self._blank(id, sorted(group for _, group in only), self.rows[id].get("remarks", []))
        self.left = set(only or ())
        at, ended, cpu = _watch(self.job, only, self.folder, self._take)
        self.cpu += cpu
        if ended is None:
            if self.left and not self.refused:  # it ended well, and said nothing
                self._fail(None, "ended", "the kernel gave no answer")
            return
        if not self.read:
            self.refused = f"reading it {ended[1]}"
            return
        self._fail(at, *ended)
        if ended[0] == "slow" and at and not again:
            self.again.add(at[0])

    def _take(self, event: dict) -> None:
        if "refused" in event:
            self.refused, self.machine = event["refused"], event.get("machine", False)
        elif "found" in event:  # {exercise: its groups}, and in `tried` which are more than a stub
            self.read = True
            for id, groups in event["found"].items():
                if id not in self.rows:
                    self.rows[id] = self._blank(id, groups)
                    self.left |= {(id, group) for group in groups} if event["tried"][id] else set()
        elif "remarks" in event:
            self.rows[event["of"]]["remarks"] = event["remarks"]
        elif "group" in event:
            self.rows[event["exercise"]]["groups"][event["group"]] = event["earned"]
            self.left.discard((event["exercise"], event["group"]))
        elif "kind" in event:
            id = event.pop("exercise")
            if self.rows[id]["kind"] in ("not attempted", "ended"):
                self.rows[id] |= event

    def _blank(self, id: str, groups: list[str], remarks: list[str] | tuple = ()) -> dict:
        row = {"kind": "not attempted", "text": "not attempted", "groups": dict.fromkeys(groups, False)}
        return row | {"remarks": [*remarks]}

    def _fail(self, at: tuple[str, str] | None, kind: str, text: str) -> None:
        """Note that the kernel was ended at this group; at an exercise's own cell, all its groups are lost."""
        lost = {each for each in self.left if at is None or each == at or (each[0] == at[0] and not at[1])}
        if at is not None and not lost:
            lost = {each for each in self.left if each[0] == at[0]} or set(self.left)
        for exercise, _ in lost:
            self.rows[exercise] |= {"kind": kind, "text": text}
        self.left -= lost


def only_exercise(groups: set[tuple[str, str]]) -> str:
    return next(iter(groups))[0]


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
    files = {Path(sys.modules[exercise.probes.__module__].__file__) for exercise in lab_exercises(lab)}
    files |= {Path(sys.modules[exercise.reference.__module__].__file__) for exercise in lab_exercises(lab)}
    files |= {folder / "engine.py", folder / "kinds.py", folder / "limits.py", here / "assemble.py", here / "judge.py"}
    files |= {here / "inside" / "stub.py", here / "inside" / "kernel.py"}
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


# The parent's side: the clock


def _watch(
    job: Job, only: set | None, folder: Path, take: Callable[[dict], None]
) -> tuple[tuple | None, tuple | None, float]:
    """Run a child. ((exercise, group) it was at, None if it ended by itself, else the kind and words of why not, and
    the CPU seconds of its sandbox).
    """
    sockets = folder / "s"
    shutil.rmtree(sockets, ignore_errors=True)
    sockets.mkdir()
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(receive)
        _child(job, only, folder, send)  # never returns
    os.close(send)
    budget = job.budget
    at, part = None, "read"  # what the child is doing, and since when
    since, cpu_since, cpu = time.monotonic(), 0.0, 0.0
    ended, buffer, said, kernel_seen = None, b"", 0, False
    grandparent = _parent(os.getppid())
    try:
        while True:
            ready, _, _ = select.select([receive], [], [], TICK)
            if ready:
                data = os.read(receive, 1 << 16)
                if not data:
                    break
                said += len(data)
                *lines, buffer = (buffer + data).split(b"\n")
                for line in lines:
                    event = json.loads(line)
                    if "at" in event:
                        kernel_seen = kernel_seen or part in ("learner", "probe")
                        before, exercise = part, at and at[0]
                        part, at = event["at"], (event["exercise"], event["group"])
                        if part == "begin" and kernel_seen:
                            part = "next"  # code of an earlier exercise is in the kernel and may keep it here
                        if at[0] != exercise or before == "begin":  # the wall clock of an exercise starts once
                            since = time.monotonic()
                        if at[0] != exercise or part == "learner":  # and so does its time, after imports
                            cpu_since = _tree_cpu(child)
                    else:
                        take(event)
                if said > MAX_EVENTS:
                    ended = ("memory", "answered with far too much")
                    break
                if len(data) == 1 << 16:
                    continue
            processes = [process for process in _tree(child) if not _ended(process)]
            kernel_seen = kernel_seen or part in ("learner", "probe")
            used = sum(map(_cpu, processes))
            cpu = max(cpu, used)
            ended = _over(budget, part, since, used - cpu_since, processes)
            if ended is None and kernel_seen and job.sandboxed and processes and _files(processes[-1]) > MAX_FILES:
                ended = ("memory", f"made more than {MAX_FILES:,} files")  # before, its root may still be the machine's
            if ended is None and kernel_seen and part != "done" and not processes:
                time.sleep(TICK)  # it may have just ended well
                if not select.select([receive], [], [], 0)[0]:
                    ended = ("ended", "ended the kernel")
            if ended or _parent(os.getppid()) != grandparent:
                break
    finally:
        os.close(receive)
        _end(child)
    if _parent(os.getppid()) != grandparent:
        os._exit(1)  # nobody waits for the result
    if ended is None and part not in ("done", "read"):
        ended = ("ended", "ended the kernel")
    return at, ended, cpu


def _over(budget: Budget, part: str, since: float, cpu: float, processes: list[int]) -> tuple | None:
    """The kind and the words if something has been used up."""
    wall = time.monotonic() - since
    if part in ("read", "begin", "done"):
        if wall > budget.start:
            return "slow", f"took longer than {budget.start:g} s"
    else:
        if wall > budget.wall:
            return "slow", f"took longer than {budget.wall:g} s; is there a loop that never ends?"
        if cpu > budget.cpu and part != "next":
            return "slow", f"took more than {budget.cpu:g} s of computing; is there a loop that never ends?"
    if sum(map(_memory, processes)) > budget.memory_mb * 1_000_000:
        return "memory", f"took more than {budget.memory_mb} MB of memory"
    return None


def _end(child: int) -> None:
    """SIGKILL to a child and to all that it started, until nothing of it is left."""
    for process in (child, *_tree(child)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return
        for process in _children(os.getpid()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)


def _tree(process: int) -> list[int]:
    """All processes below this one."""
    found = list(_children(process))
    for each in found:
        found += _children(each)
    return found


def _children(process: int) -> list[int]:
    children = []
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{process}/task"):
            with contextlib.suppress(OSError), open(f"/proc/{process}/task/{task}/children") as file:
                children += map(int, file.read().split())
    return children


def _ended(process: int) -> bool:
    """Whether it is a zombie, or gone."""
    try:
        with open(f"/proc/{process}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] in (b"Z", b"X")
    except OSError:
        return True


def _tree_cpu(child: int) -> float:
    return sum(map(_cpu, _tree(child)))


def _cpu(process: int) -> float:
    """Seconds of CPU time of a process and of the children it has waited for."""
    try:
        with open(f"/proc/{process}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def _memory(process: int) -> int:
    """Bytes of memory that are the process's own, not a file's, and of the tables that say where they are."""
    try:
        with open(f"/proc/{process}/status") as file:
            return sum(int(line.split()[1]) for line in file if line.startswith(("RssAnon", "RssShmem", "VmPTE", "VmSwap"))) * 1024
    except OSError:
        return 0


def _files(process: int) -> int:
    """How many files lie where a process of a sandbox can write; even an empty one takes a kilobyte of the system's."""
    found = 0
    for folder in ("tmp", "dev/shm"):
        with contextlib.suppress(OSError):
            system = os.statvfs(f"/proc/{process}/root/{folder}")
            found += system.f_files - system.f_ffree
    return found


def _parent(process: int) -> int:
    try:
        with open(f"/proc/{process}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[1])
    except OSError:
        return 0


def _cpu_used() -> float:
    import resource  # there is none on Windows

    mine, theirs = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return mine.ru_utime + mine.ru_stime + theirs.ru_utime + theirs.ru_stime


def _prctl(option: int, value: int) -> None:
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


@contextlib.contextmanager
def _folder():
    """A folder for the notebook and the sockets; its name holds this process's number, for `sweep`."""
    folder = Path(tempfile.mkdtemp(prefix=f"lk-{os.getpid()}-", dir="/tmp"))  # a socket's path has at most 107 bytes
    os.chmod(folder, 0o711)  # the sandbox's user must get through to its sockets
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep() -> None:
    """Remove the folders of judges that were killed."""
    for folder in Path("/tmp").glob("lk-*-*"):
        number = folder.name.split("-")[1]
        with contextlib.suppress(OSError):
            if number.isdigit() and not os.path.exists(f"/proc/{number}") and folder.stat().st_uid == os.getuid():
                shutil.rmtree(folder, ignore_errors=True)


# The child's side: reading, running, comparing


def _child(job: Job, only: set | None, folder: Path, send: int) -> None:
    import resource

    status = 1
    try:
        _prctl(DEATH_SIGNAL, signal.SIGKILL)
        os.setsid()
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nowhere, stream)
        resource.setrlimit(resource.RLIMIT_DATA, (CHILD_MEMORY, resource.getrlimit(resource.RLIMIT_DATA)[1]))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        _read_and_run(job, only, folder, partial(_emit, send))
        status = 0
    except BaseException as error:  # a child says why it ends, and ends
        if os.environ.get("LABKIT_GRADE_DEBUG"):
            import traceback

            Path(os.environ["LABKIT_GRADE_DEBUG"]).write_text(traceback.format_exc())
        with contextlib.suppress(OSError):
            if not isinstance(error, InputError):
                error = InputError(f"it cannot be read ({type(error).__name__})")
            _emit(send, {"refused": str(error)} if only is None else {"error": type(error).__name__})
    finally:
        os._exit(status)


def _emit(send: int, event: dict) -> None:
    data = json.dumps(event).encode() + b"\n"
    while data:
        data = data[os.write(send, data) :]


def _read_and_run(job: Job, only: set | None, folder: Path, emit: Callable[[dict], None]) -> None:
    from labkit.exercises.engine import is_stub
    from labkit.grading import assemble, similarity
    from labkit.grading.remarks import remarks

    data = submissions.read(job.path, job.member)
    exercises = assemble.lab_exercises(job.lab)
    sources = assemble.read_cells(data)
    cells = assemble.exercise_cells(sources, exercises)
    tried = {id: not is_stub(source, id) for id, source in cells.items()}
    long = assemble.too_long(sources, exercises) - set(cells)
    groups = {e.id: list(assemble.grouped(e, job.seed)) for e in exercises if e.id in cells or e.id in long}
    emit({"found": groups, "tried": tried | dict.fromkeys(long, False)})
    for exercise in exercises if only is None else ():
        if tried.get(exercise.id):
            emit({"remarks": remarks(cells[exercise.id], exercise), "of": exercise.id})
    for id in long:
        text = f"has more than {assemble.MAX_SOURCE:,} characters, and was not read"
        emit({"exercise": id, "kind": "long", "text": text})
    attempted = {id: source for id, source in cells.items() if tried[id]}
    made, parts = assemble.notebook(attempted, job.seed, only)
    text = json.dumps(made, indent=1)
    if only is None:
        _keep(job.keep, f"{job.lab}.ipynb", assemble.kept(made, job.student))
        _keep(job.cells, f"{job.lab}.json", json.dumps({id: similarity.normal(source) for id, source in attempted.items()}))
    if parts:
        path = folder / f"{job.lab}.ipynb"
        path.write_text(text)
        os.environ["LABKIT_SOCKETS"] = str(folder / "s")
        if not job.sandboxed:
            os.environ["LABKIT_UNSANDBOXED"] = "1"
        _pytest(path, job.budget.start, plugins=[Comparison(parts, cells, job.seed, emit)])
    emit(DONE)


def _pytest(path: Path, start: float, *more: str, plugins: tuple | list = ()) -> None:
    """nbval on a notebook whose kernel may take `start` seconds to start."""
    import pytest

    options = ["--nbval", "--nbval-kernel-name=labkit-grade", "-p", "nbval.plugin", "-p", "no:cacheprovider", "-qq"]
    options += ["--color=no", "--capture=no", "-p", "no:warnings", "-p", "no:logging"]
    options += ["-p", "no:faulthandler", f"--nbval-kernel-startup-timeout={start}", "--nbval-cell-timeout=100000"]
    pytest.main([*options, "-c", os.devnull, f"--rootdir={path.parent}", str(path), *more], plugins=plugins)


def _keep(folder: str | None, name: str, text: str) -> None:
    if folder is not None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        Path(folder, name).write_text(text)


class Comparison:
    """A plugin of pytest: nbval runs the cells, this compares the probes' and says what came of each.

    What a cell prints, or raises, or displays otherwise, is not looked at.
    """

    def __init__(self, parts: list, cells: dict[str, str], seed: int, emit: Callable[[dict], None]):
        self.parts, self.seed, self.emit, self.called = parts, seed, emit, 0
        self.lines = {id: len(source.splitlines()) for id, source in cells.items()}
        self.answers: dict[str, dict[str, list]] = {}

    def pytest_itemcollected(self, item: Any) -> None:
        part = self.parts[item.cell_num]
        item.options = {"check": part.what == "probe", "check_exception": True, "skip": False}
        item.compare_outputs = partial(self.compare, part)
        item.runtest = partial(self.run, part, item.runtest)

    def run(self, part: Any, stock: Callable) -> None:
        self.emit({"at": part.what, "exercise": part.exercise, "group": part.group})
        stock()

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "setup" and report.failed:  # before any cell of the learner's has run
            reason = "the sandbox's kernel did not start; is the machine out of memory? `labkit doctor`"
            self.emit({"refused": reason, "machine": True})
            os._exit(1)
        self.called += report.when == "call"
        if self.called == len(self.parts):  # asking the kernel to end takes longer than grading; the judge kills it
            self.emit(DONE)
            os._exit(0)

    def compare(self, part: Any, found: list, stored: list, skip_compare: Any = None) -> bool:
        """Whether the answers earn the group; said to the judge in any case."""
        from labkit.exercises import find
        from labkit.grading import assemble

        exercise = find(part.exercise)
        members = assemble.grouped(exercise, self.seed)[part.group]
        shown = [out for out in found if isinstance(out.get("data"), dict) and assemble.ANSWER in out["data"]]
        outcomes = assemble.decoded(shown[0] if len(shown) == 1 else {}, len(members))
        try:
            earned = earns(exercise, self.seed, part.group, outcomes)
        except Exception:  # answers of a form that no function gives
            earned = False
        self.emit({"exercise": part.exercise, "group": part.group, "earned": earned})
        self.answers.setdefault(part.exercise, {})[part.group] = outcomes
        if len(self.answers[part.exercise]) == len(assemble.grouped(exercise, self.seed)):
            try:
                row = verdict(exercise, self.seed, self.answers.pop(part.exercise))
            except Exception:
                row = {"kind": "wrong", "text": "its answers are of a form that no function gives"}
            if row.get("line") and row["line"] > self.lines[part.exercise]:
                row["line"] = None
            self.emit({"exercise": part.exercise, **row})
        return earned


def earns(exercise: Any, seed: int, group: str, outcomes: list) -> bool:
    """Whether these (outcome, fault) of a group's probes are all right."""
    from labkit.exercises.engine import expected_outcomes
    from labkit.exercises.kinds import same
    from labkit.grading.assemble import grouped

    expected = expected_outcomes(exercise, seed)
    members = grouped(exercise, seed)[group]
    return len(members) == len(outcomes) and all(
        fault is None and same(outcome, expected[i], exercise.compare) for i, (outcome, fault) in zip(members, outcomes)
    )


def verdict(exercise: Any, seed: int, answers: dict[str, list]) -> dict:
    """What the ledger says of an exercise: the kind of verdict and its words, with hidden inputs in them."""
    from labkit.exercises.engine import decide
    from labkit.exercises.kinds import Outcome
    from labkit.grading.assemble import grouped

    outcomes: dict[int, Outcome] = {}
    faults: dict[int, str | None] = {}
    for group, members in grouped(exercise, seed).items():
        for index, (outcome, fault) in zip(members, answers[group]):
            outcomes[index], faults[index] = outcome, fault
    ordered = [outcomes[i] for i in sorted(outcomes)]
    said = decide(exercise, ordered, [faults[i] for i in sorted(outcomes)], seed)
    row = {"kind": said.kind, "text": said.text.encode("utf-8", "replace").decode()[:MAX_TEXT]}
    if said.misconception:
        row["misconception"] = said.misconception
    if said.kind == "raised":
        first = next((each for each in ordered if each.error and each.error in said.text), None)
        first = first or next(each for each in ordered if each.error)
        row |= {"error": first.error, "line": first.line}
    return row
