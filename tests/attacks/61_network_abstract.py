# Tries to reach an abstract socket outside.
import socket

socket.socket(socket.AF_UNIX).connect("\0ABSTRACT")


@lk.exercise("data.jaccard")
def jaccard(a, b):
    return 1.0
