# Tries to ignore every signal.
import signal

for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
    signal.signal(number, signal.SIG_IGN)


@lk.exercise("data.jaccard")
def jaccard(a, b):
    while True:
        pass
