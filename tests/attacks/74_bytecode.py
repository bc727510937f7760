# Tries to crash the interpreter.
import ctypes


@lk.exercise("data.jaccard")
def jaccard(a, b):
    ctypes.string_at(0)
