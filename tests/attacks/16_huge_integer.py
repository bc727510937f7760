# Tries to send a whole number of a million digits.
@lk.exercise("data.jaccard")
def jaccard(a, b):
    return 10**1_000_000
