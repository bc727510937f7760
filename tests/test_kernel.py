"""Kernels that Jupyter offers: they run in this Python, and bad input installs nothing."""

import json
import sys

import pytest

from labkit import kernel
from labkit.cli import main
from labkit.common import InputError
from labkit.grading import sandbox


def test_both_kinds_name_this_python_by_its_path(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sandbox, "missing", lambda: None)
    assert main(["kernel", "install", "plain", "sandbox", "--prefix", str(tmp_path), "--json"]) == 0
    folder = tmp_path / "share" / "jupyter" / "kernels"
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {
        name: str(folder / name) for name in ("labkit", "labkit-sandbox")
    }
    plain, boxed = (json.loads((folder / name / "kernel.json").read_text()) for name in ("labkit", "labkit-sandbox"))
    assert plain["argv"][0] == boxed["argv"][0] == sys.executable
    assert boxed["metadata"]["kernel_provisioner"]["provisioner_name"] == "labkit-bubblewrap"


def test_a_kernel_that_could_not_run_is_not_installed(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sandbox, "missing", lambda: "the sandbox needs bwrap; `apt-get install bubblewrap`")
    assert main(["kernel", "install", "sandbox", "--prefix", str(tmp_path)]) == 2
    assert "apt-get install bubblewrap" in capsys.readouterr().err
    monkeypatch.setattr(kernel, "find_spec", lambda package: None)
    with pytest.raises(InputError, match="pip install jupyter_client"):
        kernel.install("plain", str(tmp_path))
    assert main(["kernel", "install", "plain", "fast", "--prefix", str(tmp_path)]) == 2
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_named(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["kernel", "install", "--prefix", str(tmp_path / "file")]) == 2
    assert "--prefix" in capsys.readouterr().err


@pytest.mark.slow
def test_the_plain_kernel_runs_this_kit(tmp_path, monkeypatch):
    from jupyter_client.manager import start_new_kernel

    kernel.install("plain", str(tmp_path))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "share" / "jupyter"))
    manager, client = start_new_kernel(kernel_name="labkit")
    try:
        said = []
        client.execute_interactive(
            "import os, sys, labkit; print(sys.executable, os.environ['GOMP_SPINCOUNT'])",
            output_hook=lambda message: said.append(message["content"].get("text", "")),
            timeout=60,
        )
        assert f"{sys.executable} 10000" in "".join(said)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
