# Tries to exhaust the reader of the file by depth.


def make(path):
    path.write_text('{"cells": ' + "[" * 200_000 + "]" * 200_000 + "}")
