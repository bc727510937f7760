# Tries to be near to everything.
@lk.exercise("data.jaccard")
def jaccard(a, b):
    return float("inf")
