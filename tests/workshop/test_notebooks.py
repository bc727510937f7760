"""Notebooks are their sources' builds, and hold nothing that must not be stored."""

import argparse
import copy
import json
from pathlib import Path

import nbformat
import pytest

from labkit.common import InputError
from labkit.workshop import heads, notebooks

pytestmark = pytest.mark.slow

LABS = Path(__file__).parents[2] / "labs"

SOURCE = """# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
# ---

# %% [markdown]
# # A lab

# %%
1 + 1


# %%
1 + 1

# %% tags=["nbval-ignore-output"] labkit={"rtol": 0.02}
import os, sys
from labkit.live import Line
print("kept in", os.listdir(os.environ["LABKIT_HOME"]))
line = Line()
line.show("half", 0.5)
print("and more")

# %%
import labkit as lk
figure, axes = lk.plots.figure("Flat", "x (m)", "y (m)")
axes.plot([0, 1], [2, 2])
lk.plots.show(figure, "Flat. 2 m from 0 to 1 m.")
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A labs folder with one notebook built from SOURCE."""
    folder = tmp_path_factory.mktemp("labs")
    (folder / "source").mkdir()
    (folder / "source" / "00_try.py").write_text(SOURCE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(LABS.parent))
        patch.setenv("LABKIT_HOME", "/precious")
        notebooks.build(folder / "source" / "00_try.py")
    return folder


@pytest.fixture
def lab(built):
    """The built notebook, as (its file, its content as JSON); the file is put back afterwards."""
    path = built / "00_try.ipynb"
    before = path.read_bytes()
    yield path, json.loads(before)
    path.write_bytes(before)


def problems_of(lab, spoil):
    path, content = lab
    spoil(content)
    path.write_text(json.dumps(content))
    return notebooks.check(path.parent)


def test_the_shipped_notebooks_are_their_sources_builds():
    assert notebooks.check(LABS) == []


@pytest.mark.parametrize("source", sorted((LABS / "source").glob("*.py")), ids=lambda source: source.stem)
def test_a_labs_code_has_at_most_90_columns(source):
    code = (cell.source for cell in notebooks.read_source(source).cells if cell.cell_type == "code")
    assert [line for cell in code for line in cell.splitlines() if len(line) > 90] == []


def test_a_build_passes_the_check_and_holds_what_belongs_there(built):
    assert notebooks.check(built) == []
    notebook = nbformat.read(built / "00_try.ipynb", as_version=4)
    assert (
        set(notebook.metadata) == {"kernelspec", "language_info"} and "version" not in notebook.metadata.language_info
    )
    title, head, first, second, printed, figure = notebook.cells
    assert title.source == f"# A lab\n\n{heads.link('00_try')}" and head.source == heads.install_cell()
    assert [cell.execution_count for cell in (head, first, second, printed, figure)] == [1, 2, 3, 4, 5]
    assert head.outputs == []  # the kit is here, so it says nothing
    assert first.outputs[0].data["text/plain"] == "2" and first.outputs[0].execution_count == 2
    assert printed.metadata == {"tags": ["nbval-ignore-output"], "labkit": {"rtol": 0.02}}
    assert [output.get("text") for output in printed.outputs] == [
        "kept in []\nand more\n"
    ]  # an empty home, no live line, one stream
    assert figure.outputs[0].data["text/plain"] == "Flat. 2 m from 0 to 1 m."


def test_ids_are_different_and_the_same_at_every_build(built):
    ids = [cell.id for cell in notebooks.described(built / "source" / "00_try.py").cells]
    assert len(set(ids)) == len(ids) == 6
    assert ids == [cell.id for cell in nbformat.read(built / "00_try.ipynb", as_version=4).cells]


def set_source(content):
    content["cells"][1]["source"] = "1 + 2"


def set_tags(content):
    content["cells"][1]["metadata"] = {"tags": ["x"]}


def drop_cell(content):
    del content["cells"][1]


def exchange_cells(content):
    content["cells"][0], content["cells"][1] = content["cells"][1], content["cells"][0]


def unrun(content):
    content["cells"][1] |= {"execution_count": None, "outputs": []}


def set_id(content):
    content["cells"][1]["id"] = "another"


def pair(content):
    content["metadata"]["jupytext"] = {"formats": "ipynb,py:percent"}


def widget_state(content):
    content["metadata"]["widgets"] = {}


@pytest.mark.parametrize("spoil", [set_source, set_tags, drop_cell, exchange_cells, unrun, set_id, pair, widget_state])
def test_a_notebook_that_is_not_its_sources_build_is_found(lab, spoil):
    assert any("make notebooks" in problem for problem in problems_of(lab, spoil))


def printing(text, name="stdout"):
    def spoil(content):
        content["cells"][3]["outputs"] = [{"output_type": "stream", "name": name, "text": text}]

    return spoil


def showing(data, metadata=None):
    def spoil(content):
        content["cells"][3]["outputs"] = [{"output_type": "display_data", "data": data, "metadata": metadata or {}}]

    return spoil


def failing(content):
    content["cells"][1]["outputs"] = [{"output_type": "error", "ename": "KeyError", "evalue": "x", "traceback": []}]


PNG = "iVBORw0KGgo="
GOOD_ALT = {"image/png": {"alt": "A line."}}


@pytest.mark.parametrize("spoil, problem", [
    (printing("a.py:3: UserWarning: beware"), "a warning"),
    (printing("Warning: beware"), "a warning"),
    (printing("saved to /home/me/x"), "a path"),
    (printing("see /tmp/x/y"), "a path"),
    (printing("C:\\Users\\me"), "a path"),
    (showing({"text/html": "<b>/root/x</b>"}), "a path"),
    (printing("Traceback (most recent call last):"), "a traceback"),
    (printing("<object at 0x7f9f571ffe20>"), "a memory address"),
    (printing(" 40%|████      | 4/10"), "a progress bar"),
    (printing("10 it/s"), "a progress bar"),
    (printing("anything", name="stderr"), "stderr holds"),
    (failing, "an error"),
    (showing({"application/vnd.jupyter.widget-view+json": {"model_id": "x"}, "text/plain": "x"}), "a widget"),
    (showing({"image/png": PNG}, GOOD_ALT), "a figure"),
    (showing({"image/png": PNG, "text/plain": "<Figure size 640x480 with 1 Axes>"}, GOOD_ALT), "a figure"),
    (showing({"image/png": PNG, "text/plain": "A line."}), "a figure"),
    (showing({"image/svg+xml": "<svg/>", "text/plain": ""}, {"image/svg+xml": {"alt": "A line."}}), "a figure"),
    (showing({"text/html": "<img src='x.png'>", "text/plain": "A line."}), "a figure"),
    (showing({"text/html": '<img src="x.png" alt="">', "text/plain": "A line."}), "a figure"),
    (showing({"text/html": "<svg><path/></svg>", "text/plain": "A line."}), "a figure"),
    (lambda content: content["cells"][0].update(source="![](x.png)"), "a picture"),
])  # fmt: skip
def test_what_must_not_be_stored_is_found(lab, spoil, problem):
    assert any(f": {problem}" in found for found in problems_of(lab, spoil))


@pytest.mark.parametrize("spoil", [
    printing("loss 3.2, 45% of 1/2, a/b, home, C: nothing"),
    showing({"image/png": PNG, "text/plain": "A line."}, GOOD_ALT),
    showing({"text/html": '<img src="x.png" alt="A line.">', "text/plain": "x"}),
    showing({"text/html": '<svg role="img" aria-label="A line."><path/></svg>', "text/plain": "x"}),
])  # fmt: skip
def test_what_may_be_stored_passes(lab, spoil):
    assert problems_of(lab, spoil) == []


def test_missing_foreign_and_broken_notebooks_are_found(lab):
    path, content = lab
    folder = path.parent
    other = folder / "01_other.ipynb"
    other.write_text(json.dumps(copy.deepcopy(content)))
    assert any("has no source" in problem for problem in notebooks.check(folder))
    other.unlink()
    path.write_text("{")
    assert any("is not a notebook" in problem for problem in notebooks.check(folder))
    path.unlink()
    assert notebooks.check(folder) == ["00_try.ipynb: is not built; `make notebooks`"]


def command(*arguments):
    parser = argparse.ArgumentParser()
    notebooks.add_arguments(parser)
    return notebooks.main(parser.parse_args(list(map(str, arguments))))


def test_the_command_builds_only_what_changed(lab, monkeypatch, capsys):
    path, _ = lab
    runs = []
    monkeypatch.setattr(notebooks, "build", lambda source, again: runs.append(source.stem) or path)
    assert command("build", "--folder", path.parent) == 0 and runs == []
    assert command("build", "--folder", path.parent, "--all") == 0 and runs == ["00_try"]
    path.write_text("{")
    assert (
        command("--folder", path.parent, "--json") == 1 and runs == ["00_try"] * 2
    )  # it stays broken, and that is said
    assert "is not a notebook" in json.loads(capsys.readouterr().out.splitlines()[-1])["problems"][0]
    assert command("check", "--folder", path.parent) == 1
    for wrong in (("build", "07", "--folder", path.parent), ("check", "--folder", path.parent / "source")):
        with pytest.raises(InputError):
            command(*wrong)


def test_a_source_with_a_broken_header_is_named(tmp_path):
    source = tmp_path / "source" / "00.py"
    source.parent.mkdir()
    source.write_text("# ---\n# jupyter:\n#   kernelspec:\n#     name: python3\n# ---\n\n# %%\n1\n")
    with pytest.raises(InputError, match="00.py: is not a py:percent source"):
        notebooks.read_source(source)


def test_a_cell_that_fails_stops_the_build_and_leaves_nothing(tmp_path):
    source = tmp_path / "source" / "00.py"
    source.parent.mkdir()
    source.write_text("# %%\n1 / 0\n")
    with pytest.raises(InputError, match="a cell raised ZeroDivisionError"):
        notebooks.build(source)
    assert list(tmp_path.glob("*.ipynb")) == []


def test_where_only_the_text_has_changed_nothing_is_run(lab, monkeypatch):
    path, content = lab
    source = path.parent / "source" / "00_try.py"
    before = source.read_text()
    ran = []
    monkeypatch.setattr(notebooks, "execute", lambda notebook, folder: ran.append(1) or notebooks.clean(notebook))
    try:
        source.write_text(before.replace("# # A lab", "# # Another title"))
        monkeypatch.setattr(heads, "repository", lambda: "https://github.com/some--body/labkit")
        notebooks.build(source)
        assert notebooks.check(path.parent) == [] and ran == []
        title, head, *cells = json.loads(path.read_text())["cells"]
        assert "".join(title["source"]).startswith("# Another title\n") and "some--body" in "".join(head["source"])
        assert [cell["outputs"] for cell in cells] == [cell["outputs"] for cell in content["cells"][2:]]
        notebooks.build(source, again=True)
        assert ran == [1]
        source.write_text(before.replace("1 + 1", "1 + 2"))
        notebooks.build(source)
        assert ran == [1, 1]
    finally:
        source.write_text(before)
        heads_copy = path.parent / heads.COPIES / path.name
        path.write_text(json.dumps(content))
        heads_copy.write_text(notebooks.without_outputs(path))


def test_a_copy_for_colab_that_is_not_the_labs_is_found(lab):
    path, _ = lab
    copy = path.parent / heads.COPIES / path.name
    before = copy.read_text()
    assert not any(cell.get("outputs") for cell in json.loads(before)["cells"])
    copy.write_text(before.replace("A lab", "Another lab"))
    assert notebooks.check(path.parent) == ["00_try.ipynb: colab/00_try.ipynb is not its copy; `make notebooks`"]
    copy.write_text(before)
