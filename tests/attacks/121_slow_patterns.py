# Tries to keep the reader busy by text that its patterns search for long.
import json

SOURCE = "@lk.exercise('data.jaccard')\ndef jaccard(a, b):\n    return 1.0\n%%time " + "%%time\n" * 9_000 + "\n" * 20_000 + "!" * 20_000


def make(path):
    cell = {"cell_type": "code", "metadata": {}, "source": SOURCE, "outputs": [], "execution_count": None}
    path.write_text(json.dumps({"cells": [cell] * 20, "metadata": {}, "nbformat": 4, "nbformat_minor": 4}))
