"""The wheel by itself, beside Colab's versions: what a learner calls first works there.

`make test` runs this with the Python of the environment that `wheel_alone.py` makes, and there also every lab, by nbval,
and the tests of questions and explorers. In the checkout's own environment there is nothing to see, so it is left out.
"""

import json
import os
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name
from wheel_alone import NOT_COLABS, pinned

HERE = Path(sys.prefix)
pytestmark = pytest.mark.skipif(
    not (HERE / "versions.txt").is_file(), reason="runs in the environment that tests/elsewhere/wheel_alone.py makes"
)
COLAB = pinned(Path(__file__).parents[1] / "data" / "colab.txt")


def labkit(*arguments, folder):
    """Call the installed command, as an account that has nothing yet."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "LABKIT_HOME": str(folder / "home")}
    return subprocess.run(
        [HERE / "bin" / "labkit", *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )


def test_nothing_is_here_but_the_wheel_and_colabs_versions():
    import labkit as package

    assert Path(package.__file__).is_relative_to(HERE)
    here = {canonicalize_name(each.name): each.version for each in distributions()}
    compared = (set(here) & set(COLAB)) - NOT_COLABS
    assert {"ipywidgets", "ipython", "ipykernel", "numpy", "transformers", "peft", "pydantic"} <= compared
    assert {name: here[name] for name in compared} == {name: COLAB[name] for name in compared}


def test_the_doctor_finds_all_that_the_labs_need(tmp_path):
    said = labkit("doctor", "--json", folder=tmp_path)
    wrong = [check for check in json.loads(said.stdout)["checks"] if check["verdict"] == "wrong"]
    assert [check["name"] for check in wrong] == [], said.stdout
    assert said.returncode == 0


def test_a_learner_gets_copies_of_the_labs(tmp_path):
    said = labkit("lab", "--no-open", folder=tmp_path)
    assert said.returncode == 0, said.stderr
    copies = {path.name for path in (tmp_path / "my-labs").iterdir()}
    assert copies == {path.name for path in (HERE / "labs").glob("*.ipynb")} and len(copies) == 9


def test_questions_and_a_recorded_run_are_there(tmp_path):
    for command in (("quiz", "lint"), ("runs", "show", "sft-short"), ("exercise", "list"), ("demo", "--help")):
        said = labkit(*command, folder=tmp_path)
        assert said.returncode == 0, (command, said.stdout[-500:], said.stderr)


def test_the_demo_runs(tmp_path):
    said = labkit("demo", "--steps", "1", "--batch-size", "2", "--questions", "1", folder=tmp_path)
    assert said.returncode == 0, said.stderr
