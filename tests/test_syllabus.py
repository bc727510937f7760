"""The table of labs: what is made from it, and that a lab is added by a row and its rooms."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from labkit import lab, syllabus

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent


def test_every_notebook_and_every_bank_has_its_row():
    files = {row.file for row in syllabus.ROWS}
    assert {path.stem for path in lab.shipped_labs()} <= files
    assert {path.stem for path in (ROOT / "quizzes").glob("[0-9]*.yaml")} <= files
    assert [row.number for row in syllabus.ROWS] == [f"{n:02d}" for n in range(len(syllabus.ROWS))]
    assert all(row.objective in syllabus.OBJECTIVES for row in syllabus.ROWS)


def test_the_readme_holds_this_table():
    table = syllabus.table({path.stem for path in lab.shipped_labs()}).markdown()
    assert f"{lab.BEGIN}\n{table}\n{lab.END}" in (ROOT / "README.md").read_text(), "labkit lab --list --write README.md"


def test_a_lab_is_added_by_a_row_and_its_rooms(tmp_path):
    """In a copy of the checkout: one row, and a file in each room. Nothing else is touched."""
    for name in ("labkit", "quizzes", "labs"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "records"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    table = tmp_path / "labkit" / "syllabus.py"
    row = 'Lab("09", "preferences", "preferences", "Which of two?", 30, "FRI-2.3", ("pairs",)),'
    table.write_text(re.sub(r"\n\)  # fmt: skip", f"\n    {row}\n)  # fmt: skip", table.read_text(), count=1))
    notebook = (tmp_path / "labs" / "00_start_here.ipynb").read_text()
    (tmp_path / "labs" / "09_preferences.ipynb").write_text(notebook)
    bank = (tmp_path / "quizzes" / "08_capstone.yaml").read_text().replace("lab: capstone", "lab: preferences")
    bank = re.sub(r"segment: \w+", "segment: pairs", bank.replace("id: capstone.", "id: preferences."))
    (tmp_path / "quizzes" / "09_preferences.yaml").write_text(bank)
    exercises = (tmp_path / "labkit" / "exercises" / "hyperparameters.py").read_text()
    (tmp_path / "labkit" / "exercises" / "preferences.py").write_text(
        exercises.replace('"hyperparameters.', '"preferences.')
    )
    recipe = "from labkit.runs.recipe import Recipe\n\n\ndef recipes():\n    yield Recipe('preferences-try', '09')\n"
    (tmp_path / "labkit" / "runs" / "recipes" / "preferences.py").write_text(recipe)

    def said(*arguments: str) -> str:
        environment = os.environ | {"PYTHONPATH": str(tmp_path), "LABKIT_HOME": str(tmp_path / "home")}
        command = [sys.executable, "-m", "labkit.cli", *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True).stdout

    assert "09 preferences" in said("lab", "--list")
    assert "09_preferences.ipynb" in said("lab", "--no-open", "--fresh", "9")
    assert "preferences-try" in said("runs", "list")
    assert "preferences.lr_at" in said("exercise", "list")
    said("export", "quizzes", "--to", "csv", "--lab", "preferences", "--out", "some.csv")
    assert "preferences" in (tmp_path / "some.csv").read_text()
