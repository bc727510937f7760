# Tries to say more than a line of its cell by the line of its error.
import labkit

labkit._words = lambda outcome: ["it said " + "x" * 500, 987_654]


@lk.exercise("data.jaccard")
def jaccard(a, b):
    raise ValueError(str(sorted(a)))
