# Tries to fill /tmp.
for number in range(100):
    with open(f"/tmp/{number}", "wb") as file:
        file.write(b"x" * 4_000_000)


@lk.exercise("data.jaccard")
def jaccard(a, b):
    return 1.0
