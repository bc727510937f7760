# Tries to keep the command busy by a small zip of zips, each of which unpacks to twenty megabytes.
import io
import zipfile


def hand_in(folder):
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("01_data.ipynb", bytes(19_000_000))
    (folder / "eve").mkdir()
    with zipfile.ZipFile(folder / "eve" / "lab.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(900):
            archive.writestr(f"{number}.zip", inner.getvalue() + bytes(18_000_000))
