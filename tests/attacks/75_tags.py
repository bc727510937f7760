# Tries to be skipped by tags on its cells, and by a kernel of its own choice.
import json


def make(path):
    tags = [
        "skip-execution",
        "nbval-skip",
        "nbval-ignore-output",
        "raises-exception",
        "remove_cell",
        "injected-parameters",
    ]
    cell = {"cell_type": "code", "outputs": [], "execution_count": None, "metadata": {"tags": tags, "deletable": False}}
    cell["source"] = '@lk.exercise("data.jaccard")\ndef jaccard(a, b):\n    return 1.0\n'
    kernel = {"name": "no-such-kernel", "display_name": "mine", "language": "bash"}
    path.write_text(
        json.dumps({"cells": [cell], "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 4})
    )
