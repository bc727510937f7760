"""What is counted of processes that hide, and how what a child left behind is ended."""

import os
import subprocess
import sys

import pytest

from labkit.common import InputError
from labkit.grading import processes, runner

CODE = """
import ctypes, os, subprocess, sys, time
from labkit.grading import processes
ctypes.CDLL(None).prctl(processes.SUBREAPER, 1, 0, 0, 0)
child = os.fork()
if child == 0:
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    os._exit(0)
os.waitpid(child, 0)  # as a watch does that was told that the child is done
processes.end(child)
print("ended")
"""


def test_what_a_child_left_is_ended_though_the_child_is_gone():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "ended\n"


HEADLESS = """
import ctypes, sys, threading
def hold():
    kept = b"x" * 60_000_000
    ctypes.CDLL(None).prctl(15, b"\\xff\\xfe) Z 1", 0, 0, 0)
    print("there", flush=True)
    sys.stdin.readline()
    print(len(kept))
threading.Thread(target=hold).start()
ctypes.CDLL(None).pthread_exit(None)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_process_without_its_first_thread_is_alive_and_its_memory_counts():
    process = subprocess.Popen([sys.executable, "-c", HEADLESS], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin and process.stdout
    process.stdout.readline()
    while processes._stat(process.pid)[0] != b"Z":  # the first thread ends about now
        os.sched_yield()
    assert not processes.ended(process.pid) and processes.memory(process.pid) > 60_000_000
    process.kill()
    process.wait()
    assert processes.ended(process.pid) and processes.memory(process.pid) == 0


def stat_of(own, children):
    fields = [b"0"] * 50
    fields[11], fields[13], fields[19] = str(own).encode(), str(children).encode(), b"7"
    return fields


def test_the_time_of_children_counts_whether_or_not_somebody_waits(monkeypatch):
    there: dict = {}
    monkeypatch.setattr(processes, "_stat", lambda process: there.get(process, []))
    monkeypatch.setattr(processes, "TICKS", 1)
    clock = processes.Clock()
    there.update({1: stat_of(2, 0), 2: stat_of(5, 0)})
    assert clock.look([1, 2]) == 7
    there.update({1: stat_of(3, 0), 3: stat_of(4, 0)})  # 2 is gone, and nobody waited
    assert clock.look([1, 3]) == 12
    there[1] = stat_of(3, 20)  # 1 waited for others that were never seen
    assert clock.look([1, 3]) == 27
    assert clock.look([]) == 27


def test_what_is_read_apart_comes_back_and_has_a_clock():
    assert runner.apart(lambda: {"a": [1, (2, 3)]}, 5, 60) == {"a": [1, [2, 3]]}

    def forever():
        while True:
            pass

    with pytest.raises(InputError, match="more than 1 s of computing"):
        runner.apart(forever, 1, 60)
    with pytest.raises(InputError):
        runner.apart(lambda: [bytearray(1 << 31)], 5, 60)


def test_folders_of_processes_that_are_gone_are_swept_and_no_others(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "Path", lambda _: tmp_path)
    ours, gone, reused = (tmp_path / f"lk-{number}-x" for number in (os.getpid(), 2**22 + 1, 1))
    for folder in (ours, gone, reused):
        folder.mkdir()
    os.utime(reused, (1, 1))  # older than the process that has its number now
    runner.sweep()
    assert ours.exists() and not gone.exists() and not reused.exists()
