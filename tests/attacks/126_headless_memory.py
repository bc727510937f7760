# Tries to hold memory in a process whose first thread has ended, so that it looks like a zombie.
import ctypes
import os
import threading
import time


def hold():
    kept = [b"x" * 100_000_000 for _ in range(12)]
    time.sleep(600)
    print(kept)


if os.fork() == 0:
    threading.Thread(target=hold).start()
    ctypes.CDLL(None).pthread_exit(None)
time.sleep(600)


@lk.exercise("data.jaccard")
def jaccard(a, b):
    return 1.0
