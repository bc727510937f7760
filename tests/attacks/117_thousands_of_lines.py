# Tries to bury what the instructor should see under thousands of lines, from one zip and from one folder.
import zipfile


def hand_in(folder):
    (folder / "eve").mkdir()
    with zipfile.ZipFile(folder / "eve" / "lab.zip", "w") as archive:
        for number in range(900):
            archive.writestr(f"{number}/01_data.ipynb", "{}")
    with zipfile.ZipFile(folder / "mallory.zip", "w") as archive:
        for number in range(900):
            archive.writestr(f"{number} x.ipynb", "{}")
    (folder / "trudy").mkdir()
    for number in range(1_500):
        (folder / "trudy" / f"01_data-{number}.ipynb").write_text("{}")
