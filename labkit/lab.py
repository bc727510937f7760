"""Learners' copies of the labs, and `labkit lab`, which opens them in JupyterLab.

Learners never work in the labs themselves: their copies are in `my-labs/`, and a copy that exists is never overwritten.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from labkit import syllabus
from labkit.common import InputError, write_between

BEGIN, END = "<!-- labs:begin -->", "<!-- labs:end -->"
PACKAGE = Path(__file__).parent


def checkout() -> Path | None:
    """The repository's root, if the package is used from one; None if it was installed from a wheel."""
    root = PACKAGE.parent
    return root if (root / "pyproject.toml").is_file() else None


def shipped_labs() -> list[Path]:
    """The notebooks that ship with the kit, in order."""
    folder = (checkout() or PACKAGE / "_share") / "labs"
    notebooks = sorted(folder.glob("*.ipynb"))
    if not notebooks:
        raise InputError(f"there are no labs in {folder}; install the kit again, or build them with `make notebooks`")
    return notebooks


def find_lab(notebooks: list[Path], name: str) -> Path:
    """The lab that a learner means by its number or the beginning of its name: "3", "03", "03_cross_entropy.ipynb"."""
    wanted = name.removesuffix(".ipynb")
    if wanted.isdecimal():
        wanted = f"{int(wanted):02d}_"
    found = [notebook for notebook in notebooks if notebook.stem.startswith(wanted)]
    if not wanted or len(found) != 1:
        raise InputError(f"there is no lab {name!r}; there are {', '.join(notebook.stem for notebook in notebooks)}")
    return found[0]


def without_outputs(notebook: Path) -> str:
    """What a notebook's file holds, without its outputs, so that a guess comes before what it is about."""
    content = json.loads(notebook.read_text(encoding="utf-8"))
    for cell in content["cells"]:
        if cell["cell_type"] == "code":
            cell |= {"outputs": [], "execution_count": None}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def copy(source: Path, target: Path) -> None:
    """Copy a notebook without its outputs to a place where there is none yet; an interrupted copy leaves nothing under
    the target's name.
    """
    handle, partial = tempfile.mkstemp(dir=target.parent, suffix=".partial")
    try:
        with open(handle, "w", encoding="utf-8") as file:
            file.write(without_outputs(source))
        os.chmod(partial, 0o644)
        os.replace(partial, target)
    finally:
        Path(partial).unlink(missing_ok=True)


def copy_missing(notebooks: list[Path], folder: Path) -> list[Path]:
    """Copy the labs that are not in the folder yet; returns the new copies."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = [notebook for notebook in notebooks if not os.path.lexists(folder / notebook.name)]
    for notebook in missing:
        copy(notebook, folder / notebook.name)
    return [folder / notebook.name for notebook in missing]


def copy_fresh(notebook: Path, folder: Path) -> Path:
    """Put a new copy of a lab beside those that are there: `03_cross_entropy-2.ipynb`, then `-3`."""
    taken = [
        int(match[1])
        for path in folder.iterdir()
        if (match := re.fullmatch(rf"{re.escape(notebook.stem)}-(\d+)\.ipynb", path.name))
    ]
    target = folder / f"{notebook.stem}-{max(taken, default=1) + 1}.ipynb"
    copy(notebook, target)
    return target


def open_jupyter(notebook: Path, arguments: list[str]) -> int:
    """Open a notebook in JupyterLab, which replaces this process (on Windows this process waits for it)."""
    if find_spec("jupyterlab") is None:
        raise InputError(
            "JupyterLab is not installed here; `pip install jupyterlab`, or open the copies in another editor"
        )
    as_root = ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    command = [sys.executable, "-m", "jupyterlab", str(notebook), *as_root, *arguments]
    sys.stdout.flush()
    if os.name == "nt":
        return subprocess.call(command)
    os.execv(command[0], command)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--fresh", metavar="LAB", help="put a new copy of this lab beside yours, and open it: 03, or 03_cross_entropy"
    )
    parser.add_argument("--folder", type=Path, default=Path("my-labs"), help="where your copies are (default: my-labs)")
    parser.add_argument("--list", action="store_true", help="print the table of labs, and copy nothing")
    parser.add_argument(
        "--write", metavar="FILE.md", type=Path, help="with --list: put the table between its marks in this file"
    )
    parser.add_argument("--no-open", action="store_true", help="only copy")
    parser.add_argument("jupyter", nargs="*", metavar="-- OPTIONS", help="what follows -- is passed to JupyterLab")
    parser.epilog = (
        "Your copies are never overwritten.\n\nexamples:\n  labkit lab\n  labkit lab --fresh 03\n  labkit lab --list\n"
        "  labkit lab -- --no-browser --port=8899"
    )


def _list(target: Path | None) -> int:
    table = syllabus.table({notebook.stem for notebook in shipped_labs()})
    if target is None:
        print(table)
    else:
        changed = write_between(target, BEGIN, END, table.markdown())
        print(f"{target}: {'the table of labs is written' if changed else 'the table of labs is up to date'}")
    return 0


def main(args: argparse.Namespace) -> int:
    if args.write is not None and not args.list:
        raise InputError("--write goes with --list: it puts the table of labs into a Markdown file")
    if args.list:
        return _list(args.write)
    notebooks = shipped_labs()
    opened = notebooks[0] if args.fresh is None else find_lab(notebooks, args.fresh)
    mine = args.folder / opened.name
    try:
        new = copy_missing(notebooks, args.folder)
        if args.fresh is not None and mine not in new:
            mine = copy_fresh(opened, args.folder)
            new.append(mine)
    except OSError as error:
        raise InputError(
            f"the labs cannot be copied to {args.folder}: {error.strerror or error}; name another place with --folder"
        ) from error
    print(
        f"{args.folder}: "
        + (f"new are {', '.join(path.name for path in new)}" if new else "every lab is already there")
    )
    return 0 if args.no_open else open_jupyter(mine, args.jupyter)
