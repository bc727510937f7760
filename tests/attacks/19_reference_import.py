# Tries to import the reference.
@lk.exercise("data.jaccard")
def jaccard(a, b):
    from labkit.dedup import jaccard as reference
    return reference(a, b)
