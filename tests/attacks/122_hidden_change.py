# Tries to earn by a function that changes its argument, and says that it does not.
from labkit.exercises import engine

attempt = engine.attempt


def quiet(function, args):
    outcome, _, given = attempt(function, args)
    return outcome, None, given


engine.attempt = quiet


@lk.exercise("data.jaccard")
def jaccard(a, b):
    result = len(a & b) / len(a | b) if a | b else 1.0
    a |= {"changed"}
    b |= {"changed"}
    return result
