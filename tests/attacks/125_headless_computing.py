# Tries to compute in a process whose first thread has ended, so that it looks like a zombie.
import ctypes
import os
import threading


def compute():
    while True:
        pass


@lk.exercise("data.jaccard")
def jaccard(a, b):
    import time

    if os.fork() == 0:
        threading.Thread(target=compute).start()
        ctypes.CDLL(None).pthread_exit(None)
    time.sleep(600)
