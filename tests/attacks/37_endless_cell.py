# Tries to never end, in the cell itself.
while True:
    pass


@lk.exercise("data.jaccard")
def jaccard(a, b):
    return 1.0
