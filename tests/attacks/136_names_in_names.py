# Tries to hand in for another by a file's name, or a name of its own, that looks like what a system writes.
import json

EMPTY = json.dumps({"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 4})
BLACKBOARD = "attempt_2026-12-01-23-59-00"


def hand_in(folder):
    whose = {
        f"mallory_108_900_x_bob_{BLACKBOARD}_01_data.ipynb": "mallory",
        f"Lab 1_mallory_{BLACKBOARD}_x_bob_{BLACKBOARD}_02_tokenization.ipynb": "mallory",
        "mallory_108_901_bob_7_assignsubmission_file_03_cross_entropy.ipynb": "mallory_108_901_bob",
        "bob_7_assignsubmission_file__8_assignsubmission_file_/04_masking.ipynb": "bob_7_assignsubmission_file__8_assignsubmission_file_",
        "bob_7_assignsubmission_file__8_assignsubmission_file_03_cross_entropy.ipynb": "nobody",
    }
    for place in whose:
        (folder / place).parent.mkdir(exist_ok=True)
        (folder / place).write_text(EMPTY)
    return whose
