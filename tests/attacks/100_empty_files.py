# Tries to fill the system's memory with the names of empty files.
for folder in ("/tmp", "/dev/shm"):
    for number in range(30_000):
        open(f"{folder}/{number}", "w").close()


@lk.exercise("data.jaccard")
def jaccard(a, b):
    raise RuntimeError("kept 60 MB outside")
