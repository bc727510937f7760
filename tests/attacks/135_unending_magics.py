# Tries to keep the reader busy by a cell of magics within magics.
import json

SOURCE = "%%time\n" * 14_000 + "@lk.exercise('data.jaccard')\ndef jaccard(a, b):\n    return 1.0\n"


def make(path):
    cell = {"cell_type": "code", "metadata": {}, "source": SOURCE, "outputs": [], "execution_count": None}
    path.write_text(json.dumps({"cells": [cell] * 15, "metadata": {}, "nbformat": 4, "nbformat_minor": 4}))
