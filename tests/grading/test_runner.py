"""What lies beside a notebook, above it, or in the environment has no say in how nbval runs it."""

import os
import subprocess
import sys

import oracle
import pytest

RUN = "import sys; from pathlib import Path; from labkit.grading import runner; runner.nbval(Path(sys.argv[1]), '--collect-only')"


@pytest.mark.parametrize("where", ["beside", "above"])
def test_no_code_but_the_notebooks_is_run(tmp_path, where):
    folder = tmp_path / "above" / "alone"
    folder.mkdir(parents=True)
    (folder / "01_data.ipynb").write_text(oracle.notebook("1"))
    owned = tmp_path / "owned"
    hostile = f"open({str(owned)!r}, 'a').write(__file__ + ' ')\n"
    place = folder if where == "beside" else folder.parent
    for name in ("conftest.py", "__init__.py", "sitecustomize.py", "evil.py", "nbval.py", "test_it.py"):
        (place / name).write_text(hostile)
    for name, text in [("pytest.ini", "[pytest]\naddopts = -p evil\npythonpath = .\n"), ("pyproject.toml", '[tool.pytest.ini_options]\naddopts = "-p evil"\n'),
                       ("tox.ini", "[pytest]\naddopts = -p evil\n"), ("setup.cfg", "[tool:pytest]\naddopts = -p evil\n"), (".pytest.ini", "[pytest]\naddopts = -p evil\n")]:  # fmt: skip
        (place / name).write_text(text)
    environment = os.environ | {"PYTEST_ADDOPTS": "--co -p evil", "PYTEST_PLUGINS": "evil"}
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(folder / "01_data.ipynb")],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
    )
    assert not owned.exists(), owned.read_text()
    assert "01_data.ipynb: 1" in done.stdout, done.stdout + done.stderr
