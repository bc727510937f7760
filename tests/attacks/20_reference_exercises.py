# Tries to import the exercises.
@lk.exercise("data.jaccard")
def jaccard(a, b):
    from labkit.exercises.data import JACCARD
    return JACCARD.reference(a, b)
