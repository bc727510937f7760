# Tries to become root.
import os

os.setuid(0)


@lk.exercise("data.jaccard")
def jaccard(a, b):
    return 1.0
