# Tries to write one large file.
with open("/tmp/large", "wb") as file:
    for _ in range(100):
        file.write(b"x" * 4_000_000)


@lk.exercise("data.jaccard")
def jaccard(a, b):
    return 1.0
