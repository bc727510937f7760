# Tries to never end in the preamble of the exercise after its own, where the clock is the kernel's start.
import json

ENDLESS = """import builtins
real = builtins.__import__


def endless(name, *args, **kwargs):
    while name == "math":
        pass
    return real(name, *args, **kwargs)


builtins.__import__ = endless


@lk.exercise("data.jaccard")
def jaccard(a, b):
    return 1.0
"""


def make(path):
    other = '@lk.exercise("data.minhash")\ndef minhash(*args):\n    return 1.0\n'
    cells = [
        {"cell_type": "code", "outputs": [], "execution_count": None, "metadata": {}, "source": s}
        for s in (ENDLESS, other)
    ]
    path.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 4}))
