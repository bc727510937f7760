# Tries to write to the instructor's terminal by names inside a zip.
import zipfile

NAMES = ("\x1b[2J\x1b]0;owned\x07.ipynb", "a\r\nevil: 100 points.ipynb", "\u202egnp.ipynb", "../../\x1b[31m.ipynb", "ok/\x9b2J.zip")


def hand_in(folder):
    (folder / "eve").mkdir()
    with zipfile.ZipFile(folder / "eve" / "lab.zip", "w") as archive:
        for name in NAMES:
            archive.writestr(name, "{}")
