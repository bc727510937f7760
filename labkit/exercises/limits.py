"""What a learner's code may use while it is tried: time, output and memory.

`within` keeps time and output inside this process. A loop inside C code, such as `list(itertools.count())`, cannot be
interrupted there, so `exceeded_by_a_copy` lets a copy of the process (`os.fork`) do the work first, under limits that
the system enforces: only a copy is lost. Windows has no such copies; there a loop of this kind has to be ended by
restarting the kernel. The limits are for mistakes, not for malice: submissions are graded in a sandbox.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

SECONDS = 5.0  # for a cell and all its probes
MAX_PRINTED = 100_000  # characters
MAX_MEMORY = 2 * 2**30  # bytes that a cell may take in a copy of the process
CELL = "<cell "  # how the file name of a learner's cell begins, while it is tried
_SLOW, _MEMORY = 3, 4  # how a copy ends


class LimitReached(BaseException):
    """A limit was reached. Not an `Exception`, so that a learner's `except Exception` does not catch it."""

    kind = ""


class TooSlow(LimitReached):
    """The limit on time has passed."""

    kind = "slow"


class TooMuchPrinted(LimitReached):
    """The limit on output has been reached."""

    kind = "flood"


# Within this process


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """Inside it, output is counted but not shown, and `TooSlow` is raised once `seconds` have passed.

    If there is SIGALRM it is raised repeatedly, so that a bare `except` in a loop cannot suppress it for ever;
    elsewhere (Windows) the main thread is interrupted. Outside the main thread there is no limit on time.
    """
    if threading.current_thread() is not threading.main_thread():
        with _counted():
            yield
        return
    if hasattr(signal, "SIGALRM"):
        with _counted(), _alarm(seconds):
            yield
    else:
        with _counted(), _interrupt(seconds):
            yield


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Output inside it is discarded; it counts towards `TooMuchPrinted`, with all other output of the same `within`."""
    counting = _output[-1] if _output else _Counting()
    with contextlib.redirect_stdout(counting), contextlib.redirect_stderr(counting):
        yield


class _Counting(io.TextIOBase):
    """Takes what is printed and keeps only the count."""

    def __init__(self) -> None:
        self.printed = 0

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.printed += len(text)
        if self.printed > MAX_PRINTED:
            raise TooMuchPrinted
        return len(text)


_output: list[_Counting] = []  # the one in force, so that all calls of a check count together


@contextlib.contextmanager
def _counted() -> Iterator[None]:
    streams, depth = (sys.stdout, sys.stderr), len(_output)
    _output.append(_Counting())
    try:
        with silence():
            yield
    finally:  # also if the alarm came while a stream was being restored
        del _output[depth:]
        sys.stdout, sys.stderr = streams


@contextlib.contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    over = rung = False

    def ring(_: int, frame: FrameType | None) -> None:
        nonlocal rung
        if not over and (not rung or _in_a_cell(frame)):  # again only if a learner's `except` may have caught it
            rung = True
            raise TooSlow

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, 0.02)
    try:
        yield
    finally:
        over = True
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _in_a_cell(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith(CELL):
            return True
        frame = frame.f_back
    return False


@contextlib.contextmanager
def _interrupt(seconds: float) -> Iterator[None]:
    import _thread

    late = threading.Event()

    def ring() -> None:
        late.set()
        _thread.interrupt_main()

    timer = threading.Timer(seconds, ring)
    timer.daemon = True
    timer.start()
    try:
        yield
    except KeyboardInterrupt:
        if late.is_set():
            raise TooSlow from None
        raise
    finally:
        timer.cancel()


# In a copy of this process


def exceeded_by_a_copy(work: Callable[[], None], seconds: float) -> str | None:
    """The limit that a copy of this process reached doing `work`: "slow", "memory", "crash"; None if it got through.

    Also None if `work` raises anything except `MemoryError`, and if there are no copies: this process will find out.
    """
    if not hasattr(os, "fork"):
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer Pythons warn about locks that other threads hold; the copy ends anyway
        pid = os.fork()
    if pid == 0:
        code = 0
        try:
            code = _as_a_copy(work, seconds)
        finally:
            os._exit(code)
    ended, status, used = 0, 0, None
    try:
        late = time.monotonic() + 4 * seconds + 2  # a copy that shares its processor gets less of it
        while not ended and time.monotonic() < late:
            time.sleep(0.001)
            ended, status, used = os.wait4(pid, os.WNOHANG)
    finally:
        if not ended:
            os.kill(pid, signal.SIGKILL)
            _, status, used = os.wait4(pid, 0)
    code = os.waitstatus_to_exitcode(status)  # −N for the signal N
    if code in (_SLOW, -signal.SIGXCPU) or (not ended and used and used.ru_utime > seconds / 5):
        return "slow"
    if code == _MEMORY or (ended and code == -signal.SIGKILL):
        return "memory"
    if code == -signal.SIGSEGV and sys.platform == "linux":
        return "crash"
    return None  # it got through; or it hung on something that happens only in copies, not in this process


def _as_a_copy(work: Callable[[], None], seconds: float) -> int:
    import faulthandler
    import resource

    faulthandler.disable()  # a crash is reported in the verdict
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    signal.set_wakeup_fd(-1)  # the event loop's, which belongs to the original
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)  # its threads were not copied
    processor = math.ceil(seconds) + 1
    wanted = [(resource.RLIMIT_CPU, processor), (resource.RLIMIT_CORE, 0)]
    with contextlib.suppress(OSError):  # with /proc, the memory that is already in use is known
        with open("/proc/self/statm") as file:
            wanted.append((resource.RLIMIT_AS, int(file.read().split()[0]) * resource.getpagesize() + MAX_MEMORY))
    for what, limit in wanted:
        with contextlib.suppress(OSError, ValueError):  # a lower limit may be in force
            resource.setrlimit(what, (limit, resource.getrlimit(what)[1]))
    try:
        with within(seconds):
            work()
    except TooSlow:
        return _SLOW if time.process_time() > seconds / 5 else 0  # one that only waited is tried by the original
    except MemoryError:
        return _MEMORY
    except BaseException:  # the original will say what it is
        return 0
    return 0
