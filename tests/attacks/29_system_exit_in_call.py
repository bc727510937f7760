# Tries to raise SystemExit in each call.
@lk.exercise("data.jaccard")
def jaccard(a, b):
    raise SystemExit(0)
