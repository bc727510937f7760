"""The doctor: each fact is judged rightly, in a terminal and in a notebook, and nothing heavy is loaded for it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from labkit import doctor as examine
from labkit.cli import main
from labkit.common import InputError
from labkit.doctor import (
    ADDED,
    HEAD,
    MISSING,
    OK,
    REPLACED,
    WRONG,
    Check,
    Report,
    against,
    check_base,
    check_device,
    check_memory,
    check_package,
    check_packages,
    check_python,
    check_sandbox,
    output_of,
    read_freeze,
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


# Another place, of which only the list of its packages is known


COLAB = [Path(__file__).parent / "data" / name for name in ("colab.txt", "colab.gpu.txt")]


def verdicts(held, *requirements, python="3.13"):
    return {check.name: check.verdict for check in against(map(Requirement, requirements), held, python)[1:]}


@pytest.mark.parametrize("python", ["3.12", "3.13"])
@pytest.mark.parametrize("file", COLAB, ids=lambda file: file.stem)
def test_an_installation_in_colab_replaces_nothing(file, python, capsys):
    assert main(["doctor", "--against", str(file), "--python", python, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] and told["replaced"] == []
    assert set(told["added"]) == {"datasketch", "fsrs", "bitsandbytes"}


def test_what_would_be_replaced_is_named(tmp_path, capsys):
    lines = COLAB[0].read_text().replace("numpy==2.1.3", "numpy==1.26.4").replace("peft==0.20.0", "peft==0.19.1")
    (tmp_path / "freeze.txt").write_text(lines)
    assert main(["doctor", "--against", str(tmp_path / "freeze.txt"), "--python", "3.13"]) == 1
    conclusion = capsys.readouterr().out.splitlines()[-1]
    assert conclusion.startswith("2 packages would be replaced; replaced: numpy, peft; added:")


def test_a_python_that_is_not_supported_is_wrong(capsys):
    assert main(["doctor", "--against", str(COLAB[0]), "--python", "3.14"]) == 1
    assert "wrong: Python" in capsys.readouterr().out


def test_what_is_added_asks_for_more_in_turn(monkeypatch):
    held = {"numpy": "1.26.4"}
    assert verdicts(held, "numpy>=1") == {"numpy": OK}
    assert verdicts(held, "datasketch") == {"datasketch": ADDED, "numpy": OK, "scipy": ADDED}  # scipy's floor is lower
    assert verdicts({"numpy": "1.10.0"}, "datasketch")["numpy"] == REPLACED
    assert verdicts({}, "no-such-package-here>=1") == {"no-such-package-here": WRONG}
    assert verdicts({"numpy": None}, "numpy>=1") == {"numpy": WRONG}  # installed from a file: which version?


def test_markers_and_extras_are_those_of_the_other_place():
    held = {"numpy": "1.0"}
    only = 'numpy>=2; python_version >= "3.13"'
    assert verdicts(held, only, python="3.12") == {}
    assert verdicts(held, only) == {"numpy": REPLACED}
    assert verdicts(held, 'numpy>=2; extra == "qlora"') == {"numpy": REPLACED}  # lab 07 imports it
    assert verdicts(held, 'numpy>=2; extra == "cluster"') == {}


def test_a_list_is_read_as_pip_writes_it(tmp_path):
    file = tmp_path / "freeze.txt"
    file.write_text(
        "# a comment\n-e git+https://host/x@1#egg=x\nPyYAML==6.0.3\nmine @ file:///tmp/mine.whl\ntorch==2.11.0+cu128\n"
    )
    assert read_freeze(file) == {"pyyaml": "6.0.3", "mine": None, "torch": "2.11.0+cu128"}
    for text, words in (
        ("numpy==2.1.3\nPackage    Version\n", "line 2: 'Package    Version'"),
        ("numpy>=2\n", "line 1"),
        ("numpy==new\n", "line 1"),
        ("# nothing\n", "lists no packages"),
    ):
        file.write_text(text)
        with pytest.raises(InputError, match=words):
            read_freeze(file)
    assert main(["doctor", "--against", str(tmp_path / "absent.txt")]) == 2
    assert main(["doctor", "--against", str(COLAB[0]), "--python", "three"]) == 2
