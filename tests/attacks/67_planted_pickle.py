# Tries to have the judge unpickle it.
import pickle


class Bomb:
    def __reduce__(self):
        return open, ("CANARY", "w")


@lk.exercise("data.jaccard")
def jaccard(a, b):
    return pickle.dumps(Bomb())
