"""What lies beside a notebook, above it, or in the environment has no say in how nbval runs it."""

import os
import subprocess
import sys

import oracle

RUN = "import sys; from pathlib import Path; from labkit.grading import runner; runner.nbval(Path(sys.argv[1]), '--collect-only')"


def test_no_code_but_the_notebooks_is_run(tmp_path):
    folder = tmp_path / "above" / "alone"
    folder.mkdir(parents=True)
    (folder / "01_data.ipynb").write_text(oracle.notebook("1"))
    owned = tmp_path / "owned"
    hostile = f"open({str(owned)!r}, 'a').write(__file__ + ' ')\n"
    code = ("conftest.py", "__init__.py", "sitecustomize.py", "evil.py", "nbval.py", "test_it.py")
    texts = dict.fromkeys(code, hostile)
    texts |= dict.fromkeys(("pytest.ini", ".pytest.ini", "tox.ini"), "[pytest]\naddopts = -p evil\npythonpath = .\n")
    texts |= {"setup.cfg": "[tool:pytest]\naddopts = -p evil\n"}
    texts |= {"pyproject.toml": '[tool.pytest.ini_options]\naddopts = "-p evil"\n'}
    for place in (folder, folder.parent):
        for name, text in texts.items():
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
