# Tries to keep memory in pipes that were made wider, and doubled by tee.
import ctypes
import fcntl
import os

libc = ctypes.CDLL(None)
kept = 0
for _ in range(40):
    out, end = os.pipe()
    try:
        kept += fcntl.fcntl(end, 1031, 1 << 20)
    except OSError:
        pass
one, other = os.pipe(), os.pipe()
os.write(one[1], b"x" * 60_000)
kept += max(0, libc.tee(one[0], other[1], ctypes.c_size_t(60_000), 0))


@lk.exercise("data.jaccard")
def jaccard(a, b):
    raise RuntimeError(f"kept {-(-kept // 1_000)} MB outside")
