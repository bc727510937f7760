# Tries to make the grader read a gigabyte (a file of holes, which takes no disk).


def make(path):
    with open(path, "wb") as file:
        file.write(b'{"cells": [{"cell_type": "code", "source": "')
        file.truncate(1_000_000_000)
