# Tries to stop the kernel's process.
import os
import signal

os.kill(os.getpid(), signal.SIGSTOP)


@lk.exercise("data.jaccard")
def jaccard(a, b):
    return 1.0
