"""What stands at the head of every lab: the link to Colab, and the cell that installs the kit where it is missing."""

import importlib.util
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest

from labkit.common import InputError
from labkit.workshop import heads

ROOT = Path(__file__).parents[2]
LABS = sorted((ROOT / "labs").glob("*.ipynb"))
REPOSITORY = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]["Repository"]


def sources(notebook, kind):
    return ["".join(c["source"]) for c in json.loads(notebook.read_text())["cells"] if c["cell_type"] == kind]


@pytest.mark.parametrize("lab", LABS, ids=lambda lab: lab.stem)
def test_every_lab_and_its_copy_begin_with_the_link_and_the_cell(lab):
    owner = REPOSITORY.removeprefix("https://github.com/")
    link = f"(https://colab.research.google.com/github/{owner}/blob/main/labs/colab/{lab.name})"
    for notebook in (lab, lab.parent / "colab" / lab.name):
        assert f"\n\n[Open in Colab]{link}\n" in sources(notebook, "markdown")[0]
        first, second, *_ = sources(notebook, "code")
        assert first == heads.install_cell() and f'"{REPOSITORY}/archive/main.zip"' in first
        assert second.startswith("import labkit as lk")


@pytest.fixture
def run_cell(monkeypatch, tmp_path):
    """Run the cell in an empty folder where the kit is missing and pip ends with `status`; gives pip's arguments."""
    monkeypatch.chdir(tmp_path)
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "labkit" else found(name))

    def run(status=0):
        calls = []
        monkeypatch.setattr(
            subprocess, "run", lambda command: calls.append(command) or SimpleNamespace(returncode=status)
        )
        exec(heads.install_cell(), {})
        [command] = calls
        assert command[:4] == [sys.executable, "-m", "pip", "install"]
        return command[4:]

    return run


def test_where_the_kit_is_the_cell_does_nothing(monkeypatch, capsys):
    monkeypatch.setattr(subprocess, "run", lambda command: pytest.fail("pip was called"))
    exec(heads.install_cell(), {})
    assert capsys.readouterr() == ("", "")


def test_where_it_is_missing_it_comes_from_the_repository_or_from_a_wheel_beside_the_notebook(
    run_cell, tmp_path, capsys
):
    assert run_cell() == ["-q", "-f", ".", f"labkit[qlora] @ {REPOSITORY}/archive/main.zip"]
    assert "lk.progress.download()" in capsys.readouterr().out
    (tmp_path / "labkit-0.1.0-py3-none-any.whl").touch()
    assert run_cell()[-1] == f"labkit[qlora] @ {tmp_path.as_uri()}/labkit-0.1.0-py3-none-any.whl"


def test_with_a_closed_network_it_says_what_to_do(run_cell):
    with pytest.raises(ImportError, match="put the wheels of labkit, datasketch, fsrs and bitsandbytes beside"):
        run_cell(status=1)


@pytest.mark.parametrize("urls", ["", '[project.urls]\nRepository = "https://example.org/labkit"'])
def test_an_address_that_colab_cannot_open_is_refused(urls, tmp_path, monkeypatch):
    (tmp_path / "pyproject.toml").write_text(f"[project]\n{urls}\n")
    monkeypatch.setattr(heads, "checkout", lambda: tmp_path)
    with pytest.raises(InputError, match="Repository"):
        heads.repository()
