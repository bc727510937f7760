"""The first process of an ordinary user's sandbox: it starts the kernel, reaps what is left, and cannot be reached.

`python -S first.py COMMAND…`; a command that is a Python file runs in the same interpreter. The system ignores signals
to it from inside; as it is not dumpable, nobody of its user can read or write its memory. It has the limits that all
others have, it goes when bubblewrap goes, and it ends as the kernel ended (128 + N for the signal N).
"""

import os
import signal
import sys

DEATH_SIGNAL, DUMPABLE = 1, 4  # linux/prctl.h


def stay() -> None:
    """Become two processes: the first waits for the other, in which this function returns."""
    import ctypes

    control = ctypes.CDLL(None).prctl
    control(DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    control(DUMPABLE, 0, 0, 0, 0)
    kernel = os.fork()
    if kernel == 0:
        control(DUMPABLE, 1, 0, 0, 0)
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.closerange(0, 1 << 16)  # whoever waits for an end of the kernel's sockets must see it
    while True:
        process, status = os.wait()
        if process == kernel:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    if os.getpid() == 1:
        stay()
    del sys.argv[0]
    path = sys.argv[0]
    if path.endswith(".py"):
        with open(path) as file:
            code = compile(file.read(), path, "exec")
        exec(code, {"__name__": "__main__", "__file__": path, "__builtins__": __builtins__})
    else:
        os.execvp(path, sys.argv)
