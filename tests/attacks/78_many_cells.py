# Tries to make the grader run a hundred thousand cells.
import json


def make(path):
    cell = {"cell_type": "code", "outputs": [], "execution_count": None, "metadata": {}, "source": "1"}
    own = cell | {"source": '@lk.exercise("data.jaccard")\ndef jaccard(a, b):\n    return 1.0\n'}
    path.write_text(json.dumps({"cells": [own] + [cell] * 100_000, "metadata": {}, "nbformat": 4, "nbformat_minor": 4}))
