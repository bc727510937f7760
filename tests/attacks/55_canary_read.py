# Tries to read a file outside.
@lk.exercise("data.jaccard")
def jaccard(a, b):
    raise RuntimeError(open("CANARY").read())
