# Tries to exhaust the comparison by depth.
import labkit


def deep(id, calls):
    value = 1.0
    for _ in range(5_000):
        value = {"list": [value]}
    labkit._display({"application/vnd.labkit.answer+json": {"answers": [{"value": value}] * len(calls)}})


labkit.answer = deep


@lk.exercise("data.jaccard")
def jaccard(a, b):
    return 1.0
