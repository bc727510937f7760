# Tries to send one message of hundreds of megabytes.
import labkit

labkit.answer = lambda id, calls: labkit._display({"text/plain": "x" * 300_000_000})


@lk.exercise("data.jaccard")
def jaccard(a, b):
    return 1.0
