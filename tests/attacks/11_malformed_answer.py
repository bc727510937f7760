# Tries to break the comparison by an answer of odd form.
import labkit

labkit.answer = lambda id, calls: labkit._display({"application/vnd.labkit.answer+json": {"answers": [{"value": {"array": [1], "shape": [-1, "x"], "dtype": []}}] * len(calls)}})


@lk.exercise("data.jaccard")
def jaccard(a, b):
    return 1.0
