# Tries to keep sockets that nobody has open, because they are on their way from one process to another.
import array
import socket

kept = 0
try:
    one, other = socket.socketpair()
    for _ in range(10_000):
        sent = socket.socketpair()
        sent[0].setblocking(False)
        try:
            while True:
                sent[0].send(b"x" * 65_536)
        except BlockingIOError:
            pass
        handed = array.array("i", [sent[0].fileno(), sent[1].fileno()])
        one.sendmsg([b"x"], [(1, 1, handed)])
        for each in sent:
            each.close()
        kept += 1
        one, other = (one, other) if kept % 100 else socket.socketpair()
except OSError:
    pass


@lk.exercise("data.jaccard")
def jaccard(a, b):
    raise RuntimeError(f"kept {0 if kept < 400 else kept} MB outside")
