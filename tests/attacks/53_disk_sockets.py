# Tries to fill the folder that is shared with the outside.
import glob

folder = glob.glob("/tmp/lk-*/s/lk-*")[0]
for number in range(100):
    with open(f"{folder}/{number}", "wb") as file:
        file.write(b"x" * 4_000_000)


@lk.exercise("data.jaccard")
def jaccard(a, b):
    return 1.0
