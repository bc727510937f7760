"""What Linux says about processes, in /proc: which started which, what they have used, how they ended. And ending them.

Nothing here knows of submissions or of nbval.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import signal
import sys
import time

TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100  # in a second; there is none on Windows
BUFFER = 212_992  # bytes that the system keeps for a pipe or socket at most (net.core.wmem_default)
DEATH_SIGNAL, SUBREAPER = 1, 36  # linux/prctl.h


def end(child: int) -> None:
    """SIGKILL to a child and to everything that it started, until nothing of it is left."""
    for process in (child, *tree(child)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    while True:
        # Before each wait, because what the child left may still run: it is ours now, and waiting for it would not end.
        for process in children(os.getpid()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def tree(process: int) -> list[int]:
    """All processes below this one."""
    found = list(children(process))
    for each in found:
        found += children(each)
    return found


def children(process: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{process}/task"):
            with contextlib.suppress(OSError), open(f"/proc/{process}/task/{task}/children") as file:
                found += map(int, file.read().split())
    return found


def parent(process: int) -> int:
    """The parent process; 0 if there is no such process."""
    fields = _stat(process)
    return int(fields[1]) if fields else 0


def started(process: int) -> float:
    """When a process began, in seconds since 1970; later than all if there is none."""
    fields = _stat(process)
    if not fields:
        return math.inf
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + int(fields[19]) / TICKS


def ended(process: int) -> bool:
    """Whether it is a zombie, or gone. One whose first thread has ended looks like a zombie while others go on."""
    fields = _stat(process)
    return not fields or (fields[0] in (b"Z", b"X") and int(fields[17]) <= 1)


def exit_code(zombie: int) -> int | None:
    """How a process ended whose parent has not asked yet: its exit status, or −N for the signal N. None if that is
    unknown.
    """
    fields = _stat(zombie)
    if len(fields) < 50 or fields[0] != b"Z":
        return None
    return os.waitstatus_to_exitcode(int(fields[49]))


def cpu(process: int) -> float:
    """Seconds of CPU time of a process and of the children it has waited for."""
    return sum(map(int, _stat(process)[11:15])) / TICKS


class Clock:
    """The CPU time of processes that come and go: of those that somebody waits for, the system keeps it in the parent;
    of those that nobody waits for, it is what they had used when they were last looked at.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._own: dict[tuple[int, bytes], int] = {}  # by number and start

    def look(self, tree: list[int]) -> float:
        """Seconds so far, at least; `tree` are the processes there are now, zombies included."""
        there = 0
        for process in tree:
            if fields := _stat(process):
                own, children = (int(fields[n]) + int(fields[n + 1]) for n in (11, 13))
                there += own + children
                self._own[process, fields[19]] = own
        self.seconds = max(self.seconds, there / TICKS, sum(self._own.values()) / TICKS)
        return self.seconds


def memory(process: int) -> int:
    """Bytes of memory that are the process's own, not a file's; of the tables that say where they are; and the most that
    the system may keep for its open pipes and sockets.
    """
    return _kilobytes(process) * 1024 + len(_listed(f"/proc/{process}/fd")) * BUFFER


def _kilobytes(process: int) -> int:
    """Of the first of its threads that still has memory, because the first of all may have ended."""
    counted = (b"RssAnon", b"RssShmem", b"VmPTE", b"VmSwap")
    for place in (f"/proc/{process}", *(f"/proc/{process}/task/{each}" for each in _listed(f"/proc/{process}/task"))):
        with contextlib.suppress(OSError), open(f"{place}/status", "rb") as file:  # a name in it may be any bytes
            if found := [int(line.split()[1]) for line in file if line.startswith(counted)]:
                return sum(found)
    return 0


def _listed(folder: str) -> list[str]:
    with contextlib.suppress(OSError):
        return os.listdir(folder)
    return []


def files(process: int) -> int:
    """How many files lie where a process of a sandbox can write; even an empty one takes a kilobyte of the system's
    memory.

    A process that has the machine's own root, as bubblewrap has while it starts and when it ends, is in no sandbox.
    """
    found = 0
    for folder in ("tmp", "dev/shm"):
        with contextlib.suppress(OSError):
            place = f"/proc/{process}/root/{folder}"
            if os.stat(place).st_dev != os.stat(f"/{folder}").st_dev:
                system = os.statvfs(place)
                found += system.f_files - system.f_ffree
    return found


def killed_for_memory() -> int:
    """How many processes the kernel has killed since the machine started because memory ran out."""
    with contextlib.suppress(OSError), open("/proc/vmstat") as file:
        return next((int(line.split()[1]) for line in file if line.startswith("oom_kill ")), 0)
    return 0


def prctl(option: int, value: int) -> None:
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _stat(process: int) -> list[bytes]:
    """The fields of /proc/PID/stat from the third on; empty if there is no such process."""
    try:
        with open(f"/proc/{process}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()
    except OSError:
        return []
