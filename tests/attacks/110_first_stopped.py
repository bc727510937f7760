# Tries to end, stop and starve the sandbox's first process.
import os
import resource
import signal

for number in range(1, signal.NSIG):
    if number not in (signal.SIGCHLD,):
        try:
            os.kill(1, number)
        except OSError:
            pass
try:
    resource.prlimit(1, resource.RLIMIT_CPU, (1, 1))
    os.setpriority(os.PRIO_PROCESS, 1, 19)
    os.sched_setaffinity(1, {0})
except (OSError, ValueError):
    pass


@lk.exercise("data.jaccard")
def jaccard(a, b):
    raise RuntimeError("still here")
