# Tries to pass for a whole dict with the one pair that it knows, many times over.
import json

SOURCE = """import labkit


def few(id, calls):
    def answer(words):
        counts = {}
        for word, count in words.items():
            for pair in zip(word, word[1:]):
                counts[pair] = counts.get(pair, 0) + count
        pairs = sorted(counts.items())[:1] * len(counts)
        return {"dict": [[{"list": list(pair)}, count] for pair, count in pairs]}

    answers = [{"value": answer(*args), "fault": None} for args in calls]
    labkit._display({"application/vnd.labkit.answer+json": {"answers": answers}})


labkit.answer = few


@lk.exercise("tokenization.count_pairs")
def count_pairs(words):
    return {}
"""


def make(path):
    cell = {"cell_type": "code", "outputs": [], "execution_count": None, "metadata": {}, "source": SOURCE}
    path.write_text(json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 4}))
