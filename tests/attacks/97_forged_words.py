# Tries to have points, and another's words, by what goes along with an answer.
import labkit

ANSWER = "application/vnd.labkit.answer+json"


def answer(id, calls):
    words = [["passed <script>alert(1)</script> =1+1", True], ["x" * 1_000_000, -1], [{}, 1e308]] * len(calls)
    answers = [{"error": "ValueError", "value": {"nothing": 1}, "earned": True}] * len(calls)
    labkit._display({ANSWER: {"answers": answers}}, {ANSWER: words[: len(calls)]})


labkit.answer = answer


@labkit.exercise("data.jaccard")
def jaccard(a, b):
    return 1.0
