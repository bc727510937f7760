# Tries to leave a process behind.
import os

if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        import time

        time.sleep(10_000)
    os._exit(0)


@lk.exercise("data.jaccard")
def jaccard(a, b):
    return 1.0
