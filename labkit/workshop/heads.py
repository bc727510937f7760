"""What stands at the head of every lab: the link that opens it in Colab, and the cell that installs the kit where it is
missing.

Both name the repository, which is set in one place, the URLs in `pyproject.toml`. They are not in the labs' sources: a
build puts them there (`notebooks`), and `labs/colab/` holds the copies that the link opens, without outputs, so that a
guess comes before its outcome.
"""

from __future__ import annotations

import hashlib
import tomllib
from typing import Any

from labkit.common import InputError
from labkit.lab import checkout

BRANCH = "main"
COPIES = "colab"  # the folder for the copies, in that of the labs
CELL = """\
# @title Installs labkit where it is missing, as in Colab; replaces nothing
import importlib.util, pathlib, subprocess, sys

if importlib.util.find_spec("labkit") is None:
    wheels = [file.resolve().as_uri() for file in pathlib.Path().glob("labkit-*.whl")]
    kit = "labkit[qlora] @ " + [*wheels, "{address}"][0]
    if subprocess.run([sys.executable, "-m", "pip", "install", "-q", "-f", ".", kit]).returncode:
        raise ImportError(
            "labkit could not be installed. Is the network closed? Then put the wheels of "
            "labkit, datasketch, fsrs and bitsandbytes beside this notebook, and run this again."
        )
    print("labkit is installed. To keep your progress in Colab, mount your Drive now,")
    print("or call lk.progress.download() at the end.")"""

FORM = {
    "cellView": "form",
    "jupyter": {"source_hidden": True},
}  # Colab and JupyterLab show the title, the code on demand


def is_head(cell: Any) -> bool:
    """Whether this is the cell that installs the kit, of whatever release."""
    return cell.cell_type == "code" and cell.metadata.get("cellView") == FORM["cellView"]


def repository() -> str:
    """The repository's address, without a slash at its end."""
    root = checkout()
    if root is None:
        raise InputError("notebooks are built in a checkout of the repository, which this is not")
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    try:
        address = project["urls"]["Repository"].rstrip("/")
    except KeyError:
        raise InputError('pyproject.toml: [project.urls] has no "Repository"; add it') from None
    if not address.startswith("https://github.com/"):
        raise InputError(
            f"pyproject.toml: Repository is {address}; Colab opens notebooks from https://github.com/ only"
        )
    return address


def link(name: str) -> str:
    """What opens the lab of this name ("01_data") in Colab, as Markdown."""
    place = repository().removeprefix("https://")
    place = place.replace("github.com/", "colab.research.google.com/github/", 1)
    return f"[Open in Colab](https://{place}/blob/{BRANCH}/labs/{COPIES}/{name}.ipynb)"


def install_cell() -> str:
    """The source of the cell that installs the kit where it is missing."""
    return CELL.format(address=f"{repository()}/archive/{BRANCH}.zip")


def put(notebook: Any, name: str) -> Any:
    """Give a notebook its head, if it begins with a title: the link under the title, the cell before the first other
    code.
    """
    import nbformat

    if not notebook.cells or not notebook.cells[0].source.startswith("# "):
        return notebook
    title, _, rest = notebook.cells[0].source.partition("\n")
    notebook.cells[0].source = f"{title}\n\n{link(name)}\n{rest}".rstrip()
    cell = nbformat.v4.new_code_cell(install_cell(), metadata=FORM)
    cell.id = hashlib.sha256(cell.source.encode()).hexdigest()[:12]
    place = next((at for at, each in enumerate(notebook.cells) if each.cell_type == "code"), len(notebook.cells))
    notebook.cells.insert(place, cell)
    return notebook
