"""Learners' copies: what is missing is copied, what is there is never touched, and JupyterLab opens them."""

import json
import os
import sys
from pathlib import Path

import pytest

from labkit import lab
from labkit.cli import main


def shipped(name):
    """A lab of a text and a cell that was run."""
    output = {"output_type": "stream", "name": "stdout", "text": ["the answer"]}
    code = {"cell_type": "code", "source": ["1"], "metadata": {}, "execution_count": 7, "outputs": [output]}
    text = {"cell_type": "markdown", "source": [f"the lab {name}: größer"], "metadata": {}}
    return {"cells": [text, code], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


@pytest.fixture
def labs(tmp_path, monkeypatch):
    """Three labs to ship, an empty folder to work in, and a JupyterLab that only says how it was called."""
    folder = tmp_path / "shipped"
    folder.mkdir()
    notebooks = [folder / f"{name}.ipynb" for name in ("00_start_here", "01_data", "03_cross_entropy")]
    for notebook in notebooks:
        notebook.write_text(json.dumps(shipped(notebook.stem)))
    monkeypatch.setattr(lab, "shipped_labs", lambda: notebooks)
    calls = []
    monkeypatch.setattr(lab, "open_jupyter", lambda notebook, arguments: calls.append((str(notebook), arguments)) or 0)
    monkeypatch.chdir(tmp_path)
    return calls


def mine():
    return sorted(os.listdir("my-labs"))


def test_the_first_time_copies_every_lab_and_opens_the_first(labs, capsys):
    assert main(["lab"]) == 0
    assert mine() == ["00_start_here.ipynb", "01_data.ipynb", "03_cross_entropy.ipynb"]
    text, code = json.loads(Path("my-labs/01_data.ipynb").read_text(encoding="utf-8"))["cells"]
    assert text["source"] == ["the lab 01_data: größer"]
    assert code["outputs"] == [] and code["execution_count"] is None  # a guess comes before what it is about
    assert labs == [(os.path.join("my-labs", "00_start_here.ipynb"), [])]
    assert "00_start_here.ipynb" in capsys.readouterr().out


def test_a_copy_is_never_written_over(labs, capsys):
    main(["lab", "--no-open"])
    with open("my-labs/01_data.ipynb", "w") as file:
        file.write("my work")
    os.remove("my-labs/03_cross_entropy.ipynb")
    capsys.readouterr()
    assert main(["lab", "--no-open"]) == 0
    assert open("my-labs/01_data.ipynb").read() == "my work"
    assert capsys.readouterr().out == "my-labs: new are 03_cross_entropy.ipynb\n"
    main(["lab", "--no-open"])
    assert capsys.readouterr().out == "my-labs: every lab is already there\n"
    assert labs == []


@pytest.mark.parametrize("name", ["03", "3", "03_cross_entropy", "03_cross", "03_cross_entropy.ipynb"])
def test_fresh_puts_a_new_copy_beside_the_old(labs, name):
    main(["lab", "--no-open"])
    with open("my-labs/03_cross_entropy.ipynb", "w") as file:
        file.write("my work")
    main(["lab", "--fresh", name])
    main(["lab", "--fresh", name])
    assert [file for file in mine() if file.startswith("03")] == [
        "03_cross_entropy-2.ipynb",
        "03_cross_entropy-3.ipynb",
        "03_cross_entropy.ipynb",
    ]
    assert open("my-labs/03_cross_entropy.ipynb").read() == "my work"
    assert "the lab 03_cross_entropy" in open("my-labs/03_cross_entropy-3.ipynb", encoding="utf-8").read()
    assert labs[-1][0] == os.path.join("my-labs", "03_cross_entropy-3.ipynb")


def test_fresh_without_an_old_copy_is_just_the_copy(labs):
    main(["lab", "--fresh", "01"])
    assert mine() == ["00_start_here.ipynb", "01_data.ipynb", "03_cross_entropy.ipynb"]
    assert labs == [(os.path.join("my-labs", "01_data.ipynb"), [])]


@pytest.mark.parametrize("name", ["02", "9", "", "nonsense", "../shipped/01_data"])
def test_an_unknown_lab_copies_nothing(labs, name, capsys):
    assert main(["lab", "--fresh", name]) == 2
    assert "03_cross_entropy" in capsys.readouterr().err
    assert not os.path.exists("my-labs")


@pytest.mark.parametrize("before", [[], ["--fresh", "03"]])
def test_what_follows_the_dashes_goes_to_jupyterlab(labs, before):
    main(["lab", *before, "--", "--no-browser", "--port=8899"])
    assert labs[-1][1] == ["--no-browser", "--port=8899"]


def test_a_folder_that_cannot_be_made_is_said_in_a_line(labs, capsys):
    open("my-labs", "w").close()
    assert main(["lab"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("labkit: the labs cannot be copied to my-labs: ") and error.count("\n") == 1
    assert labs == []


def test_an_interrupted_copy_leaves_nothing_behind(labs, monkeypatch):
    def interrupted(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(lab, "without_outputs", interrupted)
    assert main(["lab"]) == 130
    assert mine() == []


def test_jupyterlab_is_called_with_the_notebook_and_the_options(monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(os, "execv", lambda program, command: calls.append((program, command)))
    monkeypatch.setattr(os, "geteuid", lambda: 1000, raising=False)
    lab.open_jupyter(tmp_path / "a.ipynb", ["--no-browser"])
    monkeypatch.setattr(os, "geteuid", lambda: 0, raising=False)
    lab.open_jupyter(tmp_path / "a.ipynb", [])
    assert calls == [
        (sys.executable, [sys.executable, "-m", "jupyterlab", str(tmp_path / "a.ipynb"), "--no-browser"]),
        (sys.executable, [sys.executable, "-m", "jupyterlab", str(tmp_path / "a.ipynb"), "--allow-root"]),
    ]


def test_without_jupyterlab_it_says_what_to_install(labs, monkeypatch, capsys):
    monkeypatch.undo()
    monkeypatch.setattr(lab, "find_spec", lambda name: None)
    with pytest.raises(lab.InputError, match="pip install jupyterlab"):
        lab.open_jupyter("a.ipynb", [])


@pytest.mark.parametrize("installed", [True, False])
def test_the_labs_of_a_checkout_and_of_a_wheel_are_found(tmp_path, monkeypatch, installed):
    package = tmp_path / "labkit"
    place = package / "_share" / "labs" if installed else tmp_path / "labs"
    place.mkdir(parents=True)
    package.mkdir(exist_ok=True)
    if not installed:
        (tmp_path / "pyproject.toml").write_text("")
    for name in ("01_data.ipynb", "00_start_here.ipynb", "conftest.py"):
        (place / name).write_text("")
    monkeypatch.setattr(lab, "PACKAGE", package)
    assert lab.shipped_labs() == [place / "00_start_here.ipynb", place / "01_data.ipynb"]


def test_an_installation_without_labs_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(lab, "PACKAGE", tmp_path)
    with pytest.raises(lab.InputError, match="install the kit again"):
        lab.shipped_labs()
