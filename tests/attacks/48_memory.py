# Tries to take all memory.
@lk.exercise("data.jaccard")
def jaccard(a, b):
    kept = []
    for _ in range(40):
        kept.append(bytearray(100_000_000))
    return 1.0
