# Tries to emit a second answer while being called.
@lk.exercise("data.jaccard")
def jaccard(a, b):
    lk._display({"application/vnd.labkit.answer+json": {"answers": [{"value": 1.0, "fault": None}] * 11}})
    return 1.0
