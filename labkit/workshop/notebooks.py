"""Notebooks as build products: `labs/source/NAME.py` (py:percent text, what people edit) is run into `labs/NAME.ipynb`.

A build runs the cells in an empty LABKIT_HOME and stores only what belongs to the notebook: no widget state, timings,
pairing metadata or progress lines, and ids that depend on the cells. Where only the text has changed, nothing is run and
the outputs stay. Each notebook gets its head (`heads`), and a copy without outputs in `labs/colab/`. `check` says where a notebook is not its source's
build, where an output contains something that must not be stored, and where a figure lacks a text alternative. How
outputs are compared with a new run is in `nbval`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from labkit.common import InputError, write_atomically
from labkit.lab import without_outputs
from labkit.live import VIEW
from labkit.workshop import heads

KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
CELL_TIMEOUT = 600  # seconds

FORBIDDEN = {  # what no stored output may contain: (pattern, what it is)
    "a warning": re.compile(r"\b[A-Z][A-Za-z]*Warning\b|\bwarning:", re.IGNORECASE),
    "a path": re.compile(r"/(?:home|work|tmp|root|Users|content)/|\b[A-Z]:\\|site-packages"),
    "a traceback": re.compile(r"Traceback \(most recent call last\)"),
    "a memory address": re.compile(r"\b0x[0-9a-fA-F]{6,}"),
    "a progress bar": re.compile(r"[█▏▎▍▌▋▊▉]|\d+%\|| (?:it/s|s/it)\b"),
}
WITHOUT_ALT = re.compile(
    r"<img\b(?![^>]*\balt=\"[^\"]+\")[^>]*>|<svg\b(?![^>]*\baria-label=)(?!.*?<title>)[^>]*>", re.DOTALL
)


def read_source(path: Path) -> Any:
    """The notebook that a source describes, without outputs: its cells with their tags, and ids that are the same at
    every build.
    """
    import jupytext
    import nbformat

    try:
        source = jupytext.reads(path.read_text(encoding="utf-8"), fmt="py:percent")
    except Exception as error:  # jupytext, yaml and nbformat raise many kinds
        raise InputError(
            f"{path}: is not a py:percent source ({str(error).strip().splitlines()[0]}); correct its header"
        ) from None
    cells = []
    seen: dict[str, int] = {}
    for cell in source.cells:
        for note in ("lines_to_next_cell", "lines_to_end_of_cell_marker"):  # how jupytext remembers blank lines
            cell.metadata.pop(note, None)
        told = json.dumps([cell.cell_type, cell.source])
        seen[told] = seen.get(told, 0) + 1
        make = {
            "code": nbformat.v4.new_code_cell,
            "markdown": nbformat.v4.new_markdown_cell,
            "raw": nbformat.v4.new_raw_cell,
        }
        fresh = make[cell.cell_type](cell.source, metadata=cell.metadata)
        fresh.id = hashlib.sha256(f"{told}{seen[told]}".encode()).hexdigest()[:12]
        cells.append(fresh)
    metadata = {
        "kernelspec": KERNEL,
        "language_info": {"name": "python", "file_extension": ".py", "mimetype": "text/x-python"},
    }
    return nbformat.v4.new_notebook(cells=cells, metadata=metadata)


def execute(notebook: Any, folder: Path) -> Any:
    """Run a notebook's cells in `folder`, in an empty LABKIT_HOME, and keep what may be stored. Raises `InputError`
    for a cell that fails.
    """
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    with tempfile.TemporaryDirectory(prefix="labkit-home-") as home:
        client = NotebookClient(
            notebook,
            timeout=CELL_TIMEOUT,
            kernel_name=KERNEL["name"],
            resources={"metadata": {"path": str(folder)}},
            record_timing=False,
            store_widget_state=False,
        )
        try:
            client.execute(
                env=os.environ | {"LABKIT_HOME": home}, stderr=subprocess.DEVNULL
            )  # the kernel's own notices, not the cells'
        except CellExecutionError as error:
            raise InputError(f"a cell raised {error.ename}: {error.evalue}\n{error.traceback}") from None
        except (CellTimeoutError, DeadKernelError) as error:
            raise InputError(str(error).strip().splitlines()[0]) from None
    return clean(notebook)


def clean(notebook: Any) -> Any:
    """Remove from a notebook that was run whatever a reader has no use for."""
    from nbformat import NotebookNode

    notebook.metadata = NotebookNode(
        {key: notebook.metadata[key] for key in ("kernelspec", "language_info") if key in notebook.metadata}
    )
    notebook.metadata.get("language_info", {}).pop("version", None)
    for key in [
        key for key in notebook.metadata.get("language_info", {}) if key not in ("name", "file_extension", "mimetype")
    ]:
        del notebook.metadata["language_info"][key]
    for count, cell in enumerate((cell for cell in notebook.cells if cell.cell_type == "code"), start=1):
        cell.metadata.pop("execution", None)
        cell.execution_count = count
        kept: list[Any] = []
        for output in cell.outputs:
            if "data" in output:
                output.data.pop(VIEW, None)
                output.metadata.pop(VIEW, None)
                if not output.data:
                    continue  # a live line, of which nothing is stored
            if output.output_type == "execute_result":
                output.execution_count = count
            if (
                output.output_type == "stream"
                and kept
                and kept[-1].output_type == "stream"
                and kept[-1].name == output.name
            ):
                kept[-1].text += output.text
            else:
                kept.append(output)
        cell.outputs = kept
    return notebook


def described(source: Path) -> Any:
    """The notebook that a source describes, with its head, without outputs."""
    return heads.put(read_source(source), source.stem)


def with_outputs_of(before: Path, notebook: Any) -> Any:
    """The notebook with the outputs of the one that was built before; None if code has changed, so that it must be run.

    The cell at the head may be new: it prints nothing where the kit is.
    """
    import nbformat

    try:
        old = nbformat.read(before, as_version=4)
    except Exception:  # nbformat and json raise many kinds; a new build is the answer to all
        return None

    def code(cells: list) -> list:
        return [cell for cell in cells if cell.cell_type == "code" and not heads.is_head(cell)]

    pairs = list(zip(code(old.cells), code(notebook.cells)))
    same = len(code(old.cells)) == len(code(notebook.cells)) and all(
        was.source == now.source and was.metadata == now.metadata and was.execution_count for was, now in pairs
    )
    if not same:
        return None
    for was, now in pairs:
        now.outputs = was.outputs
    return clean(notebook)


def build(source: Path, again: bool = False) -> Path:
    """Run a source and write its notebook beside the `source` folder, and the copy for Colab; each appears whole or not
    at all. Where only the text has changed, nothing is run, unless it is to be built `again`.
    """
    import nbformat

    target = _target(source)
    notebook = None if again else with_outputs_of(target, described(source))
    if notebook is None:
        print(f"running {source.name}", file=sys.stderr)
        notebook = execute(described(source), target.parent)
    nbformat.validate(notebook)
    with write_atomically(target) as file:
        file.write(nbformat.writes(notebook) + "\n")
    copy = target.parent / heads.COPIES / target.name
    copy.parent.mkdir(exist_ok=True)
    with write_atomically(copy) as file:
        file.write(without_outputs(target))
    return target


def check(folder: Path) -> list[str]:
    """What is wrong with the notebooks of a folder, a line each; none if all are the builds of `folder/source` and fit
    to be stored.
    """
    import nbformat

    problems = []
    sources = {_target(source): source for source in sorted((folder / "source").glob("*.py"))}
    for target in sorted({*sources, *folder.glob("*.ipynb")}):
        if target not in sources:
            problems.append(f"{target.name}: has no source; write source/{target.stem}.py, or delete the notebook")
        elif not target.is_file():
            problems.append(f"{target.name}: is not built; `make notebooks`")
        else:
            try:
                notebook = nbformat.read(target, as_version=4)
            except Exception as error:  # nbformat and json raise many kinds
                problems.append(f"{target.name}: is not a notebook ({error}); `make notebooks`")
                continue
            problems += [f"{target.name}: {problem}" for problem in _departures(notebook, described(sources[target]))]
            problems += [f"{target.name}: {problem}" for problem in faults(notebook)]
            copy = folder / heads.COPIES / target.name
            if not copy.is_file() or copy.read_text(encoding="utf-8") != without_outputs(target):
                problems.append(f"{target.name}: {heads.COPIES}/{target.name} is not its copy; `make notebooks`")
    return problems


def _departures(notebook: Any, expected: Any) -> Iterator[str]:
    """Where a notebook's cells are not its source's."""
    if dict(notebook.metadata) != dict(expected.metadata):
        yield "its metadata are not a build's; `make notebooks`"
    if len(notebook.cells) != len(expected.cells):
        yield f"has {len(notebook.cells)} cells, its source {len(expected.cells)}; `make notebooks`"
        return
    for number, (cell, wanted) in enumerate(zip(notebook.cells, expected.cells), start=1):
        for part in ("cell_type", "source", "metadata", "id"):
            if cell.get(part) != wanted.get(part):
                yield f"cell {number}: its {part.replace('_', ' ')} is not its source's; `make notebooks`"
                break
        else:
            if cell.cell_type == "code" and cell.execution_count is None:
                yield f"cell {number}: was not run; `make notebooks`"


def faults(notebook: Any) -> Iterator[str]:
    """What may not be stored: warnings, paths, tracebacks, stderr, and figures without a text alternative."""
    for number, cell in enumerate(notebook.cells, start=1):
        if cell.cell_type == "markdown" and (re.search(r"!\[\s*\]\(", cell.source) or WITHOUT_ALT.search(cell.source)):
            yield f"cell {number}: a picture without a text alternative"
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                yield f"cell {number}: an error ({output.ename})"
                continue
            if output.output_type == "stream" and output.name == "stderr":
                yield f"cell {number}: stderr holds {output.text.strip().splitlines()[0][:80]!r}"
            data = output.get("data", {})
            if VIEW in data:
                yield f"cell {number}: a widget without its state; build it again"
            texts = [
                output.get("text", ""),
                *(str(value) for mime, value in data.items() if not mime.startswith("image/")),
            ]
            for what, pattern in FORBIDDEN.items():
                for found in filter(None, map(pattern.search, texts)):
                    yield f"cell {number}: {what} in its output, {found[0]!r}"
                    break
            if _is_figure(data) and not _has_alternative(output):
                yield f"cell {number}: a figure without a text alternative; show it with lk.plots.show(figure, alt)"


def _is_figure(data: Any) -> bool:
    return (
        any(mime.startswith("image/") for mime in data)
        or "<img" in data.get("text/html", "")
        or "<svg" in data.get("text/html", "")
    )


def _has_alternative(output: Any) -> bool:
    if WITHOUT_ALT.search(output.data.get("text/html", "")):
        return False
    images = [mime for mime in output.data if mime.startswith("image/")]
    text = output.data.get("text/plain", "").strip()
    spoken = bool(text) and not text.startswith("<")  # matplotlib's own says <Figure size 640x480 with 1 Axes>
    return not images or (spoken and all(output.metadata.get(mime, {}).get("alt") for mime in images))


def _target(source: Path) -> Path:
    return source.parent.parent / f"{source.stem}.ipynb"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "examples:\n  labkit notebooks build\n  labkit notebooks build 03 --all\n  labkit notebooks check"
    parser.add_argument(
        "action",
        choices=("build", "check"),
        nargs="?",
        default="build",
        help="run sources into notebooks, or compare them",
    )
    parser.add_argument("names", metavar="NAME", nargs="*", help="only the sources whose names begin with this")
    parser.add_argument("--all", action="store_true", help="run all of them, also what is up to date")
    parser.add_argument(
        "--folder", type=Path, default=Path("labs"), help="where the notebooks are, with their source/ (labs)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")


def main(args: argparse.Namespace) -> int:
    sources = sorted((args.folder / "source").glob("*.py"))
    if not sources:
        raise InputError(
            f"{args.folder / 'source'}: holds no sources; call this in the repository's root, or name the --folder"
        )
    for name in args.names:
        if not any(source.stem.startswith(name) for source in sources):
            raise InputError(
                f"no source begins with {name!r}; there are {', '.join(source.stem for source in sources)}"
            )
    problems, built = check(args.folder), []
    if args.action == "build":
        for source in sources:
            outdated = any(problem.startswith(f"{_target(source).name}:") for problem in problems)
            if (args.names and not source.stem.startswith(tuple(args.names))) or not (outdated or args.all):
                continue
            try:
                built.append(build(source, args.all).name)
            except InputError as error:
                raise InputError(f"{source.name}: {error}") from None
        problems = check(args.folder)
        print(f"{len(built)} built, {len(sources) - len(built)} left as they were")
    for problem in problems:
        print(problem)
    if not problems:
        print(f"{len(sources)} notebooks are their sources' builds")
    if args.json:
        print(json.dumps({"built": built, "problems": problems}))
    return 1 if problems else 0
