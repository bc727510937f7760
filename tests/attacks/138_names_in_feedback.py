# Tries to end the writing of feedback, or to write to the terminal of who unpacks it, by a notebook's name.
import json
import os

CELL = {"cell_type": "code", "metadata": {}, "source": '@lk.exercise("data.jaccard")', "outputs": [], "execution_count": 1}


def hand_in(folder):
    inside = os.fsencode(folder / "ada") + b"/\xfe\x1b]0;x\x07"
    os.makedirs(inside)
    with open(inside + b"/\xff\x1b[2J.ipynb", "w") as file:
        json.dump({"cells": [CELL], "metadata": {}, "nbformat": 4, "nbformat_minor": 4}, file)
