# Tries to end the grading by names of files that are no text.
import os


def hand_in(folder):
    place = os.fsencode(folder / "eve")
    os.mkdir(place)
    for name in (b"\xff\xfe.ipynb", b"\x80.zip", b"01_data\xe9.ipynb"):
        with open(os.path.join(place, name), "w") as file:
            file.write("{}")
    os.mkdir(os.path.join(os.fsencode(folder), b"m\xfcller"))
    with open(os.path.join(os.fsencode(folder), b"m\xfcller", b"01_data.ipynb"), "w") as file:
        file.write("{}")
