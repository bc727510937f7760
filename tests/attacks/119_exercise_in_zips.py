# Tries to keep the command busy by hundreds of notebooks that say only inside which lab they are.
import runpy
from pathlib import Path


def hand_in(folder):
    (folder / "eve").mkdir()
    write = runpy.run_path(str(Path(__file__).with_name("118_zips_in_zip.py")))["write"]
    write(folder / "eve" / "lab.zip", [f"work {number}.ipynb" for number in range(900)], b"[" * 19_000_000)
