# Tries to compute in children, which are waited for by nobody.
import os
import signal

signal.signal(signal.SIGCHLD, signal.SIG_IGN)


@lk.exercise("data.jaccard")
def jaccard(a, b):
    for _ in range(4):
        if os.fork() == 0:
            while True:
                pass
    os.kill(os.getpid(), signal.SIGSTOP)
