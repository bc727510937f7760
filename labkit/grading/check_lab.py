"""`labkit check-lab`: run a whole notebook in the sandbox, and compare its outputs with the stored ones.

This is the way to run a submitted notebook from top to bottom. The notebook alone is copied into a new folder of the
user's own, and nbval runs it there with the kit's tolerances: nothing beside the original is read. Its kernel is
`labkit-sandbox`, whatever its metadata names. Of the markers that a cell may have, the one that says not to compare is
followed, and counted; one that would skip a cell, or excuse an error, is ignored.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from labkit.common import InputError, printable, say
from labkit.grading import processes, runner, sandbox, submissions
from labkit.grading.runner import End

KERNELS = ("labkit-sandbox", "labkit-grade")
MAX_CELLS = 5_000
MAX_LINES, MAX_WIDTH = 12, 160  # of the report on a cell
START = 120  # seconds until a kernel has started
ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("notebook", type=Path, help="anybody's notebook; nothing beside it is read")
    parser.add_argument(
        "--kernel",
        choices=KERNELS,
        default=KERNELS[0],
        help="labkit-grade for notebooks that `labkit grade --keep` kept",
    )
    parser.add_argument(
        "--wall", type=float, default=900, metavar="S", help="seconds for all its cells (default %(default)s)"
    )
    parser.add_argument(
        "--memory", type=int, default=8_000, metavar="MB", help="of all its processes together (default %(default)s)"
    )
    parser.add_argument(
        "--unsandboxed", action="store_true", help="run the code as yourself: only what you would run yourself"
    )
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    parser.epilog = (
        "examples:\n  labkit check-lab submissions/ada/01_data.ipynb\n"
        "  labkit check-lab grades/assembled/ada/01.ipynb --kernel labkit-grade\n\n"
        "exit status: 0 every cell ran and gave its stored output; 1 one did not; 2 the notebook could not be run"
    )


def main(args: argparse.Namespace) -> int:
    if min(args.wall, args.memory) <= 0:
        raise InputError("--wall and --memory must be more than 0")
    if not sys.platform.startswith("linux"):
        raise InputError("other people's notebooks can be run on Linux only; use a Linux machine, container or WSL 2")
    if not args.unsandboxed:
        sandbox.require()
        sandbox.refuse_shown(args.notebook, layout="lab")
    began = time.monotonic()
    processes.prctl(processes.SUBREAPER, 1)  # what a child leaves running is ended here
    runner.sweep()
    try:
        with runner.folder() as folder:
            run = _Run(args, folder)
            end = run.run()
    except OSError as error:
        raise InputError(f"no notebook can be run on this machine now ({error.strerror})") from None
    if run.refused is not None:
        raise InputError(f"{args.notebook}: {run.refused}")
    if end is not None and end.whose == "machine":
        raise InputError(f"{args.notebook}: the machine's fault: {end.text}; try again (`labkit doctor`)")
    return _say(args, run, end, time.monotonic() - began)


def _say(args: argparse.Namespace, run: _Run, end: End | None, seconds: float) -> int:
    for number, lines in run.failed.items():
        say(f"code cell {number}: {lines[0]}")
        for line in lines[1:]:
            say(f"    {line}")
    if end is not None:
        say(f"code cell {run.at}: {end.text}; the cells after it were not run")
    whole = f"{run.done} of {run.cells} code cells ran, {run.compared} were compared with their stored outputs, "
    say(f"{whole}{len(run.failed) + (end is not None)} failed ({seconds:.0f} s)")
    if args.json:
        failed = [{"cell": number, "text": "\n".join(lines)} for number, lines in run.failed.items()]
        figures = {
            "notebook": printable(str(args.notebook)),
            "cells": run.cells,
            "ran": run.done,
            "compared": run.compared,
        }
        ended = None if end is None else {"cell": run.at, "text": end.text}
        print(
            json.dumps(
                figures
                | {"failed": failed, "ended": ended, "sandboxed": not args.unsandboxed, "seconds": round(seconds, 1)}
            )
        )
    return 1 if run.failed or end is not None else 0


class _Run(runner.Watch):
    """The child that runs the notebook, what it has said so far, and its clock."""

    def __init__(self, args: argparse.Namespace, folder: Path):
        self.args = args
        self.refused: str | None = None  # why the file cannot be run as a notebook
        self.machine: str | None = None
        self.finished = False
        self.cells = self.compared = self.done = self.at = 0
        self.failed: dict[int, list[str]] = {}  # cell, counted from 1: the report on it
        path = os.path.abspath(args.notebook)
        super().__init__(partial(_read_and_run, path, args.kernel, args.unsandboxed, folder))

    def event(self, event: dict[str, Any]) -> None:
        match event:
            case {"refused": reason}:
                self.refused = printable(reason)
            case {"machine": reason}:
                self.machine = printable(reason)
            case {"cells": cells, "compared": compared}:
                self.cells, self.compared = cells, compared
            case {"at": number}:
                self.since = self.since if self.at else time.monotonic()  # all cells have one clock
                self.at = number
            case {"cell": number, "failed": text}:
                self.done += 1
                if text is not None:
                    self.failed[number] = _few(text)
            case {"finished": True}:
                self.finished = True

    def tick(self, alive: list[int]) -> End | None:
        wall = time.monotonic() - self.since
        if self.at and wall > self.args.wall:
            return End("slow", f"it and the cells before it took longer than {self.args.wall:g} s")
        if not self.at and wall > 2 * START:  # nbval reports a kernel that does not start before that
            return End("slow", "reading it and starting a kernel took too long", "machine")
        if sum(map(processes.memory, alive)) > self.args.memory * 1_000_000:
            return End("memory", f"took more than {self.args.memory:,} MB of memory")
        if self.at and not alive and not self.finished:
            time.sleep(runner.TICK)  # it may have just ended successfully
            if not self.heard_more():
                return End("ended", "ended the kernel")
        return None

    def closed(self, code: int) -> End | None:
        if self.machine is not None:
            return End("ended", self.machine, "machine")
        if self.finished or self.refused is not None:
            return None
        if self.at and code in runner.CRASHES:
            return End("ended", "answered with far too much")
        how = f"signal {-code}" if code < 0 else f"exit status {code}"
        return End("ended", f"the process that runs it was ended ({how})", "machine")


def _few(text: str) -> list[str]:
    """The report on a cell, in a few lines that a terminal can show; the notebook's author chose much of it."""
    lines = [printable(line[:MAX_WIDTH]) for line in ESCAPES.sub("", text[:20_000]).splitlines() if line.strip()]
    return lines[:MAX_LINES] + ["…"] * (len(lines) > MAX_LINES) or ["failed"]


# The child's side


def _read_and_run(path: str, kernel: str, unsandboxed: bool, folder: Path, emit: runner.Emit) -> None:
    try:
        notebook, compared = _copied(path)
    except InputError as error:
        return emit({"refused": str(error)})
    except OSError as error:
        return emit({"refused": f"it cannot be read ({error.strerror})"})
    except (Exception, MemoryError) as error:
        return emit({"refused": f"it is not a notebook that can be read ({type(error).__name__})"})
    place = folder / "notebook.ipynb"
    runner.write_privately(place, json.dumps(notebook))
    sockets = folder / "s"
    sockets.mkdir()
    os.chdir(folder)
    os.environ["LABKIT_SOCKETS"] = str(sockets)
    os.environ["JUPYTER_PATH"] = str(Path(__file__).parent)  # these kernels take precedence over others of their name
    if unsandboxed:  # the grading kernel knows this; in place of the other comes ipykernel itself
        os.environ["LABKIT_UNSANDBOXED"] = "1"
        kernel = "python3" if kernel == "labkit-sandbox" else kernel
    emit({"cells": sum(cell["cell_type"] == "code" for cell in notebook["cells"]), "compared": compared})
    runner.nbval(place, kernel=kernel, start=START, plugins=[_Reporter(emit)])
    emit({"finished": True})


def _copied(path: str) -> tuple[dict[str, Any], int]:
    """(the notebook as it is run, how many of its cells are compared): no metadata but tolerances."""
    import nbformat

    from labkit.grading import assemble

    data = submissions.read(path, None)
    assemble.read_cells(data)  # says in one line why it is not a notebook
    notebook = json.loads(nbformat.writes(nbformat.reads(data.decode("utf-8-sig"), as_version=4)))
    cells, compared = [], 0
    for cell in notebook["cells"]:
        kept: dict[str, Any] = {
            "cell_type": "code" if cell["cell_type"] == "code" else "raw",
            "source": "".join(cell["source"]),
            "metadata": {},
        }
        if kept["cell_type"] == "code":
            outputs, count = cell.get("outputs") or [], cell.get("execution_count")
            ignored = _ignored(cell)
            if ignored:
                kept["metadata"]["tags"] = ["nbval-ignore-output"]
            if isinstance(tolerance := cell["metadata"].get("labkit"), dict):
                kept["metadata"]["labkit"] = tolerance
            kept |= {"outputs": outputs, "execution_count": 1 if outputs and count is None else count}
            compared += not ignored and kept["execution_count"] is not None
        cells.append(kept)
    return {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 4}, compared


def _ignored(cell: dict[str, Any]) -> bool:
    """Whether the cell says that its output is not to be compared, as exercise cells do."""
    tags = cell["metadata"].get("tags")
    marked = any(line.strip().lstrip("# ") == "NBVAL_IGNORE_OUTPUT" for line in "".join(cell["source"]).splitlines())
    return marked or (isinstance(tags, list) and "nbval-ignore-output" in tags)


class _Reporter:
    """A plugin of pytest: the kit's tolerances, no exception for any cell, and a report on each."""

    def __init__(self, emit: runner.Emit):
        self.emit = emit

    def pytest_collectstart(self, collector: Any) -> None:
        from labkit.workshop import nbval

        nbval.pytest_collectstart(collector)

    def pytest_itemcollected(self, item: Any) -> None:
        from labkit.workshop import nbval

        nbval.pytest_itemcollected(item)
        item.options = {"check": not _ignored(item.cell), "check_exception": False, "skip": False}
        item.runtest = partial(self._run, item, item.runtest)

    def _run(self, item: Any, stock: Any) -> None:
        self.emit({"at": item.cell_num + 1})
        failed = None
        try:
            stock()
        except BaseException as error:
            failed = "\n".join(filter(None, (str(error), getattr(error, "inner_traceback", None))))
            with contextlib.suppress(IndexError):
                if "exception" in str(error):  # the traceback's last line says which
                    failed = [line for line in failed.splitlines() if line.strip()][-1]
            raise
        finally:
            self.emit({"cell": item.cell_num + 1, "failed": failed})

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "setup" and report.failed:
            self.emit({"machine": "the kernel did not start; is the machine out of memory?"})
            os._exit(1)

    def pytest_runtest_teardown(self, item: Any, nextitem: Any) -> None:
        if nextitem is None:  # asking the kernel to end takes time; it is ended with this process
            self.emit({"finished": True})
            os._exit(0)
