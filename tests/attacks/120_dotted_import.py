# Tries to keep the reader busy by an import of fifty thousand names with dots, in each of twenty cells.
import json

SOURCE = 'import a{}\n\n\n@lk.exercise("{}")\ndef {}(*args):\n    return 1.0\n'
NAMES = ("jaccard", "shingles", "clusters", "split_by_time", "candidate_probability")


def make(path):
    cells = [SOURCE.format(".a" * 49_000, f"data.{NAMES[n % 5]}", NAMES[n % 5]) for n in range(20)]
    made = [{"cell_type": "code", "metadata": {}, "source": s, "outputs": [], "execution_count": None} for s in cells]
    path.write_text(json.dumps({"cells": made, "metadata": {}, "nbformat": 4, "nbformat_minor": 4}))
