# Tries to never end within C code.
@lk.exercise("data.jaccard")
def jaccard(a, b):
    import itertools

    return sum(itertools.repeat(0))
