# Tries to be root in a user namespace of its own, by another call than unshare.
import ctypes
import os
import platform


@lk.exercise("data.jaccard")
def jaccard(a, b):
    made = ctypes.CDLL(None).syscall(56 if platform.machine() == "x86_64" else 220, 0x10000011, 0, 0, 0, 0)
    if made == 0:
        os._exit(0)
    raise RuntimeError("kept 1 MB outside" if made > 0 else "refused")
