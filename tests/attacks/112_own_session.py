# Tries to outlive its sandbox: a session of its own, no signal at its parent's death, a first process that is not its parent.
import ctypes
import os
import time

ctypes.CDLL(None).prctl(1, 0, 0, 0, 0)
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)  # not dumpable
            time.sleep(600)
        os._exit(0)


@lk.exercise("data.jaccard")
def jaccard(a, b):
    return 1.0
