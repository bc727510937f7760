# Tries to have its stored outputs, with markup in them, taken for results.
import json


def make(path):
    markup = "<img src=x onerror=alert(1)><script>alert(1)</script>"
    answer = {"answers": [{"value": 1.0, "fault": None}] * 18}
    data = {"text/html": markup, "application/vnd.labkit.answer+json": answer, "application/javascript": "alert(1)"}
    output = {"output_type": "display_data", "metadata": {}, "data": data}
    cell = {"cell_type": "code", "outputs": [output], "execution_count": 1, "metadata": {}}
    cell["source"] = '@lk.exercise("data.jaccard")\ndef jaccard(a, b):\n    return 1.0\n'
    path.write_text(json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 4}))
