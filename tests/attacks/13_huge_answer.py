# Tries to make the judge hold a huge answer.
@lk.exercise("data.jaccard")
def jaccard(a, b):
    return [0.5] * 900_000
