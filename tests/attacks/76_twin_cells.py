# Tries to take the place of the probes by cells of the same ids.
import json


def make(path):
    def cell(source, id, **metadata):
        about = {"cell_type": "code", "outputs": [], "execution_count": None, "id": id, "metadata": metadata}
        return about | {"source": source}

    own = '@lk.exercise("data.jaccard")\ndef jaccard(a, b):\n    return 1.0\n'
    forged = {
        "nbgrader": {
            "grade": True,
            "solution": False,
            "locked": False,
            "points": 100,
            "grade_id": "data-jaccard-letters",
        }
    }
    forged["nbgrader"] |= {"schema_version": 3, "task": False, "cell_type": "code"}
    cells = [cell(own, "cell-1"), *(cell("pass", f"cell-{n}", **forged) for n in (0, 1, 2, 2, 3, 3))]
    path.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
