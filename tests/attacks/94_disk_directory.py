# Tries to fill the disk through a folder in place of one of the kernel's sockets.
import glob
import os

folder = glob.glob("/tmp/lk-*/s/lk-*")[0]
os.remove(f"{folder}/s-5")
os.mkdir(f"{folder}/s-5")
for number in range(50):
    with open(f"{folder}/s-5/{number}", "w") as file:
        file.write("x" * 4_000_000)


@lk.exercise("data.jaccard")
def jaccard(a, b):
    raise RuntimeError(f"wrote {4 * len(os.listdir(f'{folder}/s-5'))} MB outside")
