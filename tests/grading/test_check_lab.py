"""What somebody handed in is run from top to bottom, and nothing that lies beside it is."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from labkit.cli import main
from labkit.grading import check_lab, sandbox

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(sandbox.missing() is not None, reason="no sandbox here")


def cell(source, *printed, tags=(), **more):
    outputs = [{"output_type": "stream", "name": "stdout", "text": text} for text in printed]
    return {
        "cell_type": "code",
        "source": source,
        "metadata": {"tags": list(tags)} | more,
        "outputs": outputs,
        "execution_count": 1 if outputs else None,
    }


def notebook(path, *cells, **metadata):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"cells": list(cells), "metadata": metadata, "nbformat": 4, "nbformat_minor": 4}))
    return path


def hostile(folder, owned):
    """All that a learner could lay beside a notebook, so that some tool runs it."""
    code = f"open({str(owned)!r}, 'a').write(__file__ + ' ')\n"
    for name in (
        "conftest.py",
        "__init__.py",
        "sitecustomize.py",
        "usercustomize.py",
        "evil.py",
        "nbval.py",
        "ipykernel.py",
        "json.py",
    ):
        (folder / name).write_text(code)
    (folder / "pytest.ini").write_text("[pytest]\naddopts = -p evil\npythonpath = .\n")
    (folder / "kernels" / "labkit-sandbox").mkdir(parents=True)
    spec = {"argv": [sys.executable, str(folder / "evil.py")], "display_name": "x", "language": "python"}
    (folder / "kernels" / "labkit-sandbox" / "kernel.json").write_text(json.dumps(spec))


@pytest.fixture(scope="module")
def checked(tmp_path_factory):
    """(exit status, the JSON, all lines) of a notebook that tries it all, run from within its own folder."""
    folder = tmp_path_factory.mktemp("submissions") / "ada"
    folder.mkdir()
    owned = folder.parent / "owned"
    hostile(folder, owned)
    cells = [
        cell("print('fine')", "fine\n"),
        cell("print(0.501)", "0.5\n", labkit={"rtol": 0.01}),
        cell("print(0.7)", "0.5\n", labkit={"rtol": 0.01}),
        cell("1 / 0", tags=["raises-exception", "nbval-raises-exception"]),
        cell("# NBVAL_SKIP\nprint('not this')", "that\n", tags=["nbval-skip", "skip-execution"]),
        cell("print('whatever')", "else\n", tags=["nbval-ignore-output"]),
        cell(
            f"import os; print(os.path.exists({str(owned.parent)!r}), os.path.exists('/etc/passwd'), os.path.exists('conftest.py'))",
            "False False False\n",
        ),
        cell("raise ValueError('\\x1b]0;x\\x07\\u202e')"),
        cell("print('never run before')"),
    ]
    path = notebook(folder / "01_data.ipynb", *cells, kernelspec={"name": "evil", "display_name": "x"})
    command = [str(Path(sys.executable).with_name("labkit")), "check-lab", path.name, "--json"]
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "PYTEST_ADDOPTS": "-p evil",
        "JUPYTER_PATH": str(folder),
        "PYTEST_PLUGINS": "evil",
    }
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, env=environment)
    assert not owned.exists(), owned.read_text()
    lines = done.stdout.splitlines()
    return done.returncode, json.loads(lines[-1]), lines[:-1]


def test_every_cell_runs_whatever_it_is_marked_and_only_its_output_may_be_ignored(checked):
    status, said, _ = checked
    assert (
        status == 1 and (said["cells"], said["ran"]) == (9, 9) and said["sandboxed"] is True and said["ended"] is None
    )
    assert [each["cell"] for each in said["failed"]] == [3, 4, 5, 8]
    assert said["compared"] == 5


def test_what_is_said_of_a_cell_is_short_and_cannot_write_to_the_terminal(checked):
    _, said, lines = checked
    assert all(line.isprintable() for line in lines) and len(lines) < 40
    texts = {each["cell"]: each["text"] for each in said["failed"]}
    assert "ZeroDivisionError" in texts[4] and "0.7 is too far from 0.5" in texts[3] and "ValueError" in texts[8]
    assert lines[-1].startswith("9 of 9 code cells ran, 5 were compared with their stored outputs, 4 failed")


@pytest.mark.parametrize("source, option, says", [
    ("while True: pass", "--wall=2", "longer than 2 s"),
    ("import os; os._exit(0)", "--wall=60", "ended the kernel"),
    ("raise ValueError('x' * 30_000_000)", "--wall=60", "far too much"),
])  # fmt: skip
def test_what_does_not_end_or_ends_the_kernel_is_ended(tmp_path, capsys, source, option, says):
    path = notebook(tmp_path / "01_data.ipynb", cell("1"), cell(source), cell("1"))
    assert main(["check-lab", str(path), option, "--json"]) == 1
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert said["ended"]["cell"] == 2 and says in said["ended"]["text"] and said["ran"] == 1


def linked(path):
    path.with_name("real.ipynb").write_text(
        json.dumps({"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 4})
    )
    path.symlink_to("real.ipynb")


def huge(path):
    with open(path, "wb") as file:
        file.truncate(10**10)  # a hole


@pytest.mark.parametrize("make, says", [
    (lambda path: None, "cannot be read"),
    (linked, "cannot be read"),
    (lambda path: os.mkfifo(path), "not a notebook"),
    (lambda path: path.mkdir(), "cannot be read"),
    (huge, "larger than 20 MB"),
    (lambda path: path.write_bytes(b"\xff\xfe"), "not even text"),
    (lambda path: path.write_text("[" * 100_000), "not a notebook"),
    (lambda path: path.write_text('{"cells": [1, {"cell_type": "code"}], "nbformat": 4, "nbformat_minor": 4, "metadata": {}}'), "not a notebook"),
    (lambda path: path.write_text(json.dumps({"cells": [{}] * 6_000})), "at most 5,000"),
])  # fmt: skip
def test_what_is_no_notebook_is_one_line(tmp_path, capsys, make, says):
    path = tmp_path / "\x1b01_data.ipynb"
    make(path)
    assert main(["check-lab", str(path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line and "\x1b" not in line


def as_saved_by_vscode(path, into, cells):
    """The first code cells of a lab, without ids, with an editor's metadata and line ends, and with views of widgets."""
    made = json.loads(path.read_text())
    made["cells"] = [each for each in made["cells"] if each["cell_type"] == "code"][:cells]
    for each in made["cells"]:
        del each["id"]
        each["metadata"]["vscode"] = {"languageId": "python"}
        each["source"] = [line.replace("\n", "\r\n") for line in each["source"]]
        for output in each["outputs"]:
            if "data" in output:
                output["data"]["application/vnd.jupyter.widget-view+json"] = {"model_id": "5e", "version_major": 2}
    made["metadata"] |= {"kernelspec": {"name": "python3", "display_name": ".venv (Python 3.11.9)"}}
    made["metadata"]["vscode"] = {"interpreter": {"hash": "31f2"}}
    into.write_text(json.dumps(made))
    return made


def test_a_lab_that_vscode_saved_passes(tmp_path, capsys):
    lab = ROOT / "labs" / "04_masking.ipynb"
    made = as_saved_by_vscode(lab, tmp_path / lab.name, cells=5)  # a question before, and an exercise, are among them
    sources = ["".join(each["source"]) for each in made["cells"]]
    assert any("lk.quiz" in source for source in sources) and any("@lk.exercise" in source for source in sources)
    assert main(["check-lab", str(tmp_path / lab.name), "--json"]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (said["ran"], said["compared"], said["failed"]) == (5, 3, [])


def test_without_a_sandbox_it_refuses(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sandbox, "missing", lambda: "there is no bubblewrap")
    assert main(["check-lab", str(notebook(tmp_path / "a.ipynb", cell("1")))]) == 2
    assert "--unsandboxed" in capsys.readouterr().err


RUNS = re.compile(r"(pytest|py\.test|nbconvert|jupyter[ -]execute|papermill|nbclient|jupyter run|runipy)\b([^`\n]*)")


def commands():
    """Every command in what people read that runs notebooks, with what stands behind it."""
    texts = [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/*.md"),
        *(ROOT / "labkit").rglob("*.py"),
        *(ROOT / "labs" / "source").glob("*.py"),
    ]
    for path in texts:
        for match in RUNS.finditer(path.read_text()):
            if re.search(r"--nbval|--execute|\.ipynb", match[2]):
                yield path.name, match[0].strip(), match[2]


def test_the_docs_name_no_other_way_to_run_what_a_learner_handed_in():
    others = [
        each
        for each in commands()
        if not re.search(r"(?<![\w/])labs(/\S*)?(?=[\s`]|$)", each[2]) and each[0] != "runner.py"
    ]
    assert others == []
    assert "labkit check-lab" in (ROOT / "docs" / "instructors.md").read_text()


def test_its_help_has_an_example(capsys):
    with pytest.raises(SystemExit):
        main(["check-lab", "--help"])
    assert "labkit check-lab submissions/ada/01_data.ipynb" in capsys.readouterr().out
    assert check_lab.KERNELS[0] == "labkit-sandbox"
