# Tries to send a verdict in place of an answer.
import labkit

labkit.answer = lambda id, calls: labkit._display({"application/vnd.labkit.answer+json": {"earned": True, "points": 100, "kind": "passed"}})


@lk.exercise("data.jaccard")
def jaccard(a, b):
    return 1.0
