# Tries to break the reading of a message by a number of more digits than Python reads.
import sys

import labkit

sys.set_int_max_str_digits(0)
labkit.answer = lambda id, calls: labkit._display(
    {"application/vnd.labkit.answer+json": {"answers": [{"value": 10**9_000}] * len(calls)}}
)


@lk.exercise("data.jaccard")
def jaccard(a, b):
    return 1.0
