# Tries to fill the disk through files without a name in the folder that is shared with the outside.
import glob
import os

files, room = [], "x" * 4_000_000
folder = glob.glob("/tmp/lk-*/s/lk-*")[0]
for _ in range(50):
    path = f"{folder}/hidden"
    files.append(open(path, "w"))
    os.remove(path)
    files[-1].write(room)
    files[-1].flush()


@lk.exercise("data.jaccard")
def jaccard(a, b):
    raise RuntimeError(f"wrote {sum(os.fstat(file.fileno()).st_size for file in files) // 1_000_000} MB outside")
