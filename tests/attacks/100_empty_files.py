# Tries to fill the system's memory with the names of empty files.
@lk.exercise("data.jaccard")
def jaccard(a, b):
    for folder in ("/tmp", "/dev/shm"):
        for number in range(100_000):
            open(f"{folder}/{number}", "w").close()
    raise RuntimeError("kept 200 MB outside")
