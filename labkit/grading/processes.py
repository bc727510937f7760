"""What Linux says about processes, in /proc: which started which, what they have used, how they ended. And ending them.

Nothing here knows of submissions or of nbval.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys

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


def ended(process: int) -> bool:
    """Whether it is a zombie, or gone."""
    fields = _stat(process)
    return not fields or fields[0] in (b"Z", b"X")


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
    return sum(map(int, _stat(process)[11:15])) / os.sysconf("SC_CLK_TCK")


def memory(process: int) -> int:
    """Bytes of memory that are the process's own, not a file's, and of the tables that say where they are."""
    counted = ("RssAnon", "RssShmem", "VmPTE", "VmSwap")
    try:
        with open(f"/proc/{process}/status") as file:
            return sum(int(line.split()[1]) for line in file if line.startswith(counted)) * 1024
    except OSError:
        return 0


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
