# Tries to print without end.
@lk.exercise("data.jaccard")
def jaccard(a, b):
    while True:
        print("x" * 1_000)
