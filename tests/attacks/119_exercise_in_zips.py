# Tries to keep the command busy by hundreds of notebooks that say only inside which lab they are.
import zipfile


def hand_in(folder):
    (folder / "eve").mkdir()
    with zipfile.ZipFile(folder / "eve" / "lab.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(300):
            archive.writestr(f"work {number}.ipynb", "[" * 19_000_000)
