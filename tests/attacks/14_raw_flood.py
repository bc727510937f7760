# Tries to flood the judge with messages past the limit on answers.
import labkit


def flood(id, calls):
    for _ in range(100_000):
        labkit._display({"text/plain": "x" * 100_000})


labkit.answer = flood


@lk.exercise("data.jaccard")
def jaccard(a, b):
    return 1.0
