# Tries to get another's grade, or to take it away, by a name in the class's list that looks like a login or a number.
import json

EMPTY = json.dumps({"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 4})
ROSTER = """Student,ID,Login,Identifier
Ada,101,ada,Participant 71
Bob,102,,Participant 72
=ada,901,m1,
=bob,902,m2,
id 101,903,m3,
number 72,904,m4,
"""


def hand_in(folder):
    (folder / "class.csv").write_text(ROSTER)
    whose = {
        "ada/01_data.ipynb": "Ada",
        "bob/01_data.ipynb": "Bob",
        "x_101_5_02_tokenization.ipynb": "Ada",
        "y_72_assignsubmission_file_/02_tokenization.ipynb": "Bob",
    }
    for place in whose:
        (folder / place).parent.mkdir(exist_ok=True)
        (folder / place).write_text(EMPTY)
    return whose
