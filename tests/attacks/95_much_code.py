# Tries to keep the reader busy with megabytes of code that all names an exercise.
import json


def make(path):
    source = '@lk.exercise("data.jaccard")\ndef jaccard(a, b):\n' + "    x = a + b - 1 * 3\n" * 150 + "    return 1.0\n"
    cell = {"cell_type": "code", "outputs": [], "execution_count": None, "metadata": {}, "source": source}
    path.write_text(json.dumps({"cells": [cell] * 4_500, "metadata": {}, "nbformat": 4, "nbformat_minor": 4}))
