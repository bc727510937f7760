# Tries to break the reader by null bytes and halves of characters.


def make(path):
    path.write_bytes(b'{"cells": [{"cell_type": "code", "source": "\x00\xff\xfe\\ud800 jaccard"}]}')
