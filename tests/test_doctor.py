"""The doctor: each fact is judged rightly, in a terminal and in a notebook, and nothing heavy is loaded for it."""

import json
import subprocess
import sys

import pytest
from packaging.requirements import Requirement

from labkit import doctor as examine
from labkit.cli import main
from labkit.doctor import (
    HEAD,
    MISSING,
    OK,
    WRONG,
    Check,
    Report,
    check_base,
    check_device,
    check_memory,
    check_package,
    check_packages,
    check_python,
    check_sandbox,
    output_of,
)
from labkit.grading import sandbox


@pytest.mark.parametrize(
    "version, verdict",
    [
        ((3, 10, 14), WRONG),
        ((3, 11, 0), OK),
        ((3, 12, 7), OK),
        ((3, 13, 9), OK),
        ((3, 14, 0), WRONG),
        ((4, 0, 0), WRONG),
    ],
)
def test_python(version, verdict):
    assert check_python(version).verdict == verdict


@pytest.mark.parametrize(
    "version, extra, verdict",
    [
        ("2.4.6", None, OK),
        ("1.26.4", None, WRONG),
        ("3.0", None, WRONG),
        (None, None, WRONG),
        (None, "cluster", MISSING),
        ("2.4.6", "cluster", OK),
        ("1.0", "cluster", WRONG),
    ],
)
def test_package(version, extra, verdict):
    check = check_package(Requirement("numpy>=2.0,<3"), version, extra)
    assert check.verdict == verdict
    assert check.supported == ">=2.0, <3"
    assert ("pip install" in check.purpose) == (verdict != OK)


def test_a_local_suffix_is_no_other_version():
    assert check_package(Requirement("torch>=2.10,<3"), "2.13.0+cpu").verdict == OK


def test_every_declared_package_is_examined_once():
    names = [check.name for check in check_packages()]
    assert len(names) == len(set(names))
    assert {"torch", "transformers", "peft", "jupyterlab", "ray", "nbval"} <= set(names)
    assert "labkit" not in names


def test_memory():
    assert check_memory(2 * 10**9, 10**9).verdict == WRONG
    assert check_memory(8 * 10**9, 10**9).verdict == OK


def test_device(monkeypatch):
    assert check_device("H100, 81559 MiB", "2.13.0", True).verdict == OK
    blind = check_device("H100, 81559 MiB", "2.13.0+cpu", False)
    assert blind.verdict == WRONG and "2.13.0+cpu" in blind.found and "CUDA build" in blind.purpose
    monkeypatch.setattr("sys.platform", "linux")
    assert check_device(None, "2.13.0", False).found == "cpu, no GPU"
    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    assert check_device(None, "2.13.0", False).found.startswith("mps")


def test_base(tmp_path):
    assert check_base(tmp_path).verdict == WRONG
    (tmp_path / "config.json").write_text("{}")
    assert check_base(tmp_path).verdict == WRONG  # the weights are still missing
    (tmp_path / "model.safetensors").write_bytes(bytes(2_500_000))
    assert check_base(tmp_path) == Check("base model", "2.5 MB", "any", OK, "every lab")


def test_a_command_that_is_not_there_fails_or_hangs_is_none():
    assert output_of("no-such-command-here") is None
    assert output_of(sys.executable, "-c", "raise SystemExit(3)") is None
    assert output_of(sys.executable, "-c", "print(' yes ')") == "yes"


def report(*verdicts):
    return Report(
        Check(f"part {number}", "<script>", "any", verdict, "a & b") for number, verdict in enumerate(verdicts)
    )


def test_only_what_is_wrong_makes_a_report_wrong():
    assert report(OK, MISSING).ok
    assert not report(OK, WRONG, MISSING).ok
    assert report(OK, WRONG).conclusion.startswith("Wrong: part 1.")


def test_text_and_html_hold_every_row():
    text, page = repr(report(OK, MISSING)), report(OK, MISSING)._repr_html_()
    columns = {line.index(verdict) for line, verdict in zip(text.splitlines()[1:3], (OK, MISSING))}
    assert len(columns) == 1  # the verdicts stand under each other
    assert all(head in text and head in page for head in HEAD)
    assert page.count("&lt;script&gt;") == 2 and "<script" not in page and "a &amp; b" in page


def test_command(capsys):
    report = examine()
    assert main(["doctor"]) == (0 if report.ok else 1)
    assert capsys.readouterr().out.splitlines()[-1] == report.conclusion
    assert main(["doctor", "--json"]) == (0 if report.ok else 1)
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"] == report.ok
    assert {
        "name": "Python",
        "found": "%d.%d.%d" % sys.version_info[:3],
        "supported": "3.11 to 3.13",
        "verdict": "ok",
        "purpose": "everything",
    } in answer["checks"]


def test_status_1_when_something_is_wrong(monkeypatch, capsys):
    monkeypatch.setattr(sys.modules["labkit.doctor"], "doctor", lambda: report(WRONG))
    assert main(["doctor"]) == 1
    monkeypatch.setattr(sys.modules["labkit.doctor"], "doctor", lambda: report(MISSING))
    assert main(["doctor"]) == 0


@pytest.mark.skipif(
    output_of("nvidia-smi", "-L") is not None, reason="where there is a GPU, torch is asked whether it sees it"
)
def test_torch_is_not_imported_for_it():
    code = "import sys, labkit; labkit.doctor(); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout == "False\n"


def test_no_sandbox_is_told_with_what_to_do(monkeypatch):
    monkeypatch.setattr(sandbox, "missing", lambda: "the sandbox needs bwrap; `apt-get install bubblewrap`")
    check = check_sandbox()
    assert check.verdict == MISSING and "apt-get install bubblewrap" in check.purpose
