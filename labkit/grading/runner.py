"""A child process that runs a notebook by nbval, and the clock over it.

`Watch` forks the child, reads what it reports through a pipe, and kills it with all that it started when a budget is
used up; what a report means and what a budget is, its subclasses say: for grading in `judge`, for a whole lab in
`check_lab`. `nbval` runs a notebook so that nothing beside it, above it or in the environment has any influence: no
conftest.py, no pytest.ini, no `__init__.py`, no plugin but the caller's.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit.common import InputError
from labkit.grading import processes

TICK = 0.05  # seconds between two looks at a child
CHUNK = 1 << 16
MAX_EVENTS = 20_000_000  # bytes that a child may say
CRASHES = (-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS, -signal.SIGFPE, -signal.SIGILL)
CHILD_MEMORY = 1_000_000_000  # bytes that reading and comparing may take
Emit = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class End:
    """Why a run ended before it was done, and who caused it: the learner, the machine, or unknown, as when a kernel got
    SIGKILL, which its own code can send as well as the OOM killer.
    """

    kind: str  # slow, memory, ended
    text: str
    whose: str = "learner"


class Watch:
    """A child process at work, and its clock. Raises `OSError` if there can be no child."""

    def __init__(self, work: Callable[[Emit], None]):
        self.receive, send = os.pipe()
        self.since = time.monotonic()
        self.clock = processes.Clock()
        try:
            self.child = os.fork()
        except OSError:
            os.close(self.receive)
            os.close(send)
            raise
        if self.child == 0:
            os.close(self.receive)
            _child(work, send)  # never returns
        os.close(send)

    def run(self) -> End | None:
        """Wait for the child. None if it did everything it should; otherwise why not."""
        buffer, said = b"", 0
        try:
            while True:
                if select.select([self.receive], [], [], TICK)[0]:
                    data = os.read(self.receive, CHUNK)
                    if not data:
                        return self.closed(os.waitstatus_to_exitcode(os.waitpid(self.child, 0)[1]))
                    said += len(data)
                    *lines, buffer = (buffer + data).split(b"\n")
                    for line in lines:
                        self.event(json.loads(line))
                    if said > MAX_EVENTS:
                        return End("memory", "answered with far too much")
                    if len(data) == CHUNK:
                        continue
                tree = processes.tree(self.child)
                self.clock.look(tree)
                if end := self.tick([process for process in tree if not processes.ended(process)]):
                    return end
        finally:
            os.close(self.receive)
            processes.end(self.child)

    def event(self, event: dict[str, Any]) -> None:
        """Take what the child reports."""
        raise NotImplementedError

    def tick(self, alive: list[int]) -> End | None:
        """Look at the clock and at the processes that are alive below the child; an end if something is used up."""
        raise NotImplementedError

    def closed(self, code: int) -> End | None:
        """What it means that the child has ended by itself; `code` is its exit status, or −N for the signal N."""
        raise NotImplementedError

    def heard_more(self) -> bool:
        """Whether there is a report that has not been read yet."""
        return bool(select.select([self.receive], [], [], 0)[0])


def _child(work: Callable[[Emit], None], send: int) -> None:
    import resource

    status = 1
    try:
        processes.prctl(processes.DEATH_SIGNAL, signal.SIGKILL)
        os.setsid()
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nowhere, stream)
        resource.setrlimit(resource.RLIMIT_DATA, (CHILD_MEMORY, resource.getrlimit(resource.RLIMIT_DATA)[1]))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

        def emit(event: dict[str, Any]) -> None:
            data = json.dumps(event).encode() + b"\n"
            while data:
                data = data[os.write(send, data) :]

        work(emit)
        status = 0
    except BaseException:  # `work` itself says what went wrong; here only the traceback is left, for debugging
        if os.environ.get("LABKIT_GRADE_DEBUG"):
            import traceback

            Path(os.environ["LABKIT_GRADE_DEBUG"]).write_text(traceback.format_exc())
    finally:
        os._exit(status)


def apart(work: Callable[[], Any], cpu: int, wall: int) -> Any:
    """What `work` gives, in JSON's types, from a child process that may use so many seconds. Raises `InputError` for
    more, and for more than a gigabyte of memory.
    """
    import resource

    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            processes.prctl(processes.DEATH_SIGNAL, signal.SIGKILL)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(wall)
            for limit, most in ((resource.RLIMIT_CPU, cpu), (resource.RLIMIT_DATA, CHILD_MEMORY)):
                resource.setrlimit(limit, (most, most))
            with open(send, "wb") as file:
                file.write(json.dumps(work()).encode())
            os._exit(0)
        finally:
            os._exit(1)
    os.close(send)
    try:
        with open(receive, "rb") as file:
            data = file.read()
    finally:
        status = os.waitpid(child, 0)[1]
    if status:
        raise InputError(f"reading it takes more than {cpu} s of computing, or a gigabyte of memory")
    return json.loads(data)


def nbval(path: Path, *more: str, kernel: str = "labkit-grade", start: float = 60, plugins: tuple | list = ()) -> None:
    """nbval on a notebook that lies alone in its folder. The kernel may take `start` seconds to start."""
    import pytest

    for name in ("PYTEST_ADDOPTS", "PYTEST_PLUGINS", "PYTEST_DEBUG"):
        os.environ.pop(name, None)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    alone = ["-c", os.devnull, f"--rootdir={path.parent}", f"--confcutdir={path.parent}", "--noconftest"]
    quiet = ["--color=no", "--capture=no", "-qq"]
    without = [
        word for name in ("cacheprovider", "warnings", "logging", "faulthandler") for word in ("-p", f"no:{name}")
    ]
    options = [
        "-p",
        "nbval.plugin",
        "--nbval",
        f"--nbval-kernel-startup-timeout={start}",
        "--nbval-cell-timeout=100000",
    ]
    pytest.main(
        [*alone, *quiet, *without, *options, f"--nbval-kernel-name={kernel}", str(path), *more], plugins=plugins
    )


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A folder for the notebook and the sockets; its name holds this process's number, for `sweep`."""
    made = Path(tempfile.mkdtemp(prefix=f"lk-{os.getpid()}-", dir="/tmp"))  # a socket's path has at most 107 bytes
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def write_privately(path: Path, text: str) -> None:
    """A file that nobody else can read, wherever it lies: notebooks contain right answers."""
    with open(
        os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "w", encoding="utf-8"
    ) as file:
        file.write(text)


def sweep() -> None:
    """Remove the folders of processes that were killed, and of those that had the same number before."""
    for made in Path("/tmp").glob("lk-*-*"):
        number = made.name.split("-")[1]
        with contextlib.suppress(OSError):
            about = made.lstat()
            if number.isdigit() and about.st_uid == os.getuid() and about.st_mtime < processes.started(int(number)):
                shutil.rmtree(made, ignore_errors=True)
