"""One oracle for all attacks: what has come of grading one, and whether anything outside was touched.

Each file beside this one is the source of an exercise cell; its first line says what it tries. `CANARY`, `PORT` and
`ABSTRACT` in it are put in here. The payloads do no harm even where nothing holds them back: they touch files of a
temporary folder and sockets of the oracle's own, and what multiplies ends by itself.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from labkit.exercises import find, reference_cell
from labkit.grading.judge import Budget, Job

ATTACKS = sorted(Path(__file__).parent.glob("[0-9]*.py"))
BUDGET = Budget(cpu=1.0, wall=3.0, start=60.0, memory_mb=600)
EXERCISE = "data.jaccard"


@dataclass(frozen=True)
class Outcome:
    name: str
    tries: str
    seconds: float
    broken: list[str]  # what did not hold, in words

    @property
    def held(self) -> bool:
        return not self.broken


def notebook(*cells: str) -> str:
    made = [{"cell_type": "code", "metadata": {}, "source": s, "outputs": [], "execution_count": None} for s in cells]
    return json.dumps({"cells": made, "metadata": {}, "nbformat": 4, "nbformat_minor": 4})


class Oracle:
    """A canary file, a listening TCP socket and an abstract one; `job` writes an attack, `judge` looks at what came of it."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.token = secrets.token_hex(16)
        self.canary = folder / "canary.txt"
        self.canary.write_text(self.token)
        os.chmod(self.canary, 0o666)
        self.tcp = socket.create_server(("127.0.0.1", 0))
        self.abstract = socket.socket(socket.AF_UNIX)
        self.name = f"labkit-{secrets.token_hex(8)}"
        self.abstract.bind(f"\0{self.name}")
        self.abstract.listen()
        for listener in (self.tcp, self.abstract):
            listener.setblocking(False)

    def __enter__(self) -> Oracle:
        return self

    def __exit__(self, *error: object) -> None:
        self.tcp.close()
        self.abstract.close()

    def job(self, attack: Path) -> Job:
        source = attack.read_text().replace("CANARY", str(self.canary)).replace("ABSTRACT", self.name)
        source = source.replace("PORT", str(self.tcp.getsockname()[1]))
        return self._job(attack.stem, notebook(source))

    def neighbour(self, number: int) -> Job:
        return self._job(f"neighbour-{number}", notebook(reference_cell(find(EXERCISE))))

    def _job(self, student: str, text: str) -> Job:
        path = self.folder / f"{student}.ipynb"
        path.write_text(text)
        return Job(student, "01", str(path), seed=7, budget=BUDGET)

    def judge(self, attack: Path, line: str) -> Outcome:
        row, broken = json.loads(line), []
        if row["points"] != 0:
            broken.append("earned points")
        if self.token in line:
            broken.append("read the canary")
        if self.canary.read_text() != self.token:
            broken.append("changed the canary")
            self.canary.write_text(self.token)
        for listener in (self.tcp, self.abstract):
            try:
                listener.accept()[0].close()
                broken.append("reached a socket outside")
            except BlockingIOError:
                pass
        kernels = 2 * 2 * 2  # its groups, each tried again; a kernel ends within a budget, the machine's delay on top
        if row["seconds"] > kernels * BUDGET.wall + 5:
            broken.append(f"took {row['seconds']:.0f} s")
        tries = attack.read_text().splitlines()[0].removeprefix("# Tries to ").rstrip(".")
        return Outcome(attack.stem, tries, row["seconds"], broken)


def leftovers() -> list[str]:
    """Processes and folders of sandboxes that are there though nobody grades any more."""
    found = []
    for _ in range(20):
        found = [str(path) for path in Path(tempfile.gettempdir()).glob("lk-*-*") if _size(path)]
        for process in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                if b"/kit/kernel.py" in process.read_bytes():
                    found.append(process.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
            except OSError:
                continue
        if not found:
            return []
        time.sleep(0.25)
    return found


def _size(path: Path) -> int:
    return sum(1 for _ in path.rglob("*")) if path.exists() else 0
