# Tries to break the comparison by an answer whose data and metadata have no form.
import labkit

ANSWER = "application/vnd.labkit.answer+json"
SHAPES = ["x", ["x"], 7, None, {ANSWER: "x"}, {ANSWER: [["m"], "x", [0] * 9] * 99}, {ANSWER: [[{}, []]] * 99}]


def answer(id, calls):
    for metadata in SHAPES:
        labkit._display({ANSWER: {"answers": [{"error": "ValueError"}] * len(calls)}}, metadata)
    for data in SHAPES:
        labkit._display(data)


labkit.answer = answer


@labkit.exercise("data.jaccard")
def jaccard(a, b):
    return 1.0
