# Tries to take memory through anonymous files.
import os

files = []
for _ in range(20):
    file = os.memfd_create("x")
    os.ftruncate(file, 100_000_000)
    files.append(file)


@lk.exercise("data.jaccard")
def jaccard(a, b):
    return 1.0
