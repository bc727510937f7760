# Tries to take the place of the judge at the kernel's sockets.
import glob
import json

connection = json.load(open(glob.glob("/tmp/lk-*/s/lk-*/connection.json")[0]))
for name in glob.glob("/tmp/lk-*/s/lk-*/s-*"):
    import os

    os.remove(name)


@lk.exercise("data.jaccard")
def jaccard(a, b):
    return 1.0
