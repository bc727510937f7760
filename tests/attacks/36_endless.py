# Tries to never end.
@lk.exercise("data.jaccard")
def jaccard(a, b):
    while True:
        pass
