# Tries to compute in children for which nobody waits, not even the system: their end is ignored.
import os
import signal

signal.signal(signal.SIGCHLD, signal.SIG_IGN)


@lk.exercise("data.jaccard")
def jaccard(a, b):
    while True:
        if os.fork() == 0:
            for _ in range(3_000_000):
                pass
            os._exit(0)
        for _ in range(1_000_000):
            pass
