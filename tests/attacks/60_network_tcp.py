# Tries to reach a network.
import socket

socket.create_connection(("127.0.0.1", PORT), timeout=1).sendall(b"hello")


@lk.exercise("data.jaccard")
def jaccard(a, b):
    return 1.0
