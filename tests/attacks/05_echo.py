# Tries to earn by an echo of the argument.
@lk.exercise("data.jaccard")
def jaccard(a, b):
    return a
