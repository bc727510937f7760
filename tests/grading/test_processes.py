"""Ending processes: what a child left behind when it ended by itself is ended too."""

import subprocess
import sys

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
