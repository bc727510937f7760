"""One oracle for all attacks: what has come of grading one, and whether anything outside was touched.

Each numbered file beside this one is the source of an exercise cell; its first line says what it tries. `CANARY`,
`PORT`, `SOCKET` and `ABSTRACT` in it are put in here. One with `def make(path)` attacks by the notebook's file, and
writes that; one with `def hand_in(folder)` attacks by the folder of submissions, which may hold a roster, `class.csv`,
and may return {a file's place: whose it is}. Never run one without a sandbox: some would end all processes of their user, or change
installed libraries and gradebooks; what multiplies ends by itself. `peers` has them graded by others, each in a
namespace that is thrown away.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import runpy
import secrets
import socket
import tempfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

from labkit.common import say
from labkit.exercises import find, reference_cell
from labkit.exercises.kinds import Exercise
from labkit.grading import handing_back, pages, submissions
from labkit.grading.judge import Budget, Job
from labkit.grading.processes import parent

ATTACKS = sorted(Path(__file__).parent.glob("[0-9]*.py"))
BUDGET = Budget(cpu=1.0, wall=3.0, start=60.0, memory_mb=600, read=3.0)
EXERCISE, SEED = "data.jaccard", 7
KERNELS = 2 * 2 * 2  # its groups, each tried again; a kernel ends within a budget, the machine's delay on top
MOST_LOOKING, MOST_LINES = 7, 100  # seconds of CPU time, and lines, for a folder of submissions
MOST_SECONDS = KERNELS * BUDGET.wall + 5


@dataclass(frozen=True)
class Outcome:
    name: str
    tries: str
    seconds: float
    broken: list[str]  # what did not hold, in words

    @property
    def held(self) -> bool:
        return not self.broken


def exercise_of(attack: Path) -> Exercise:
    """The exercise that an attack pretends to have done."""
    named = re.search(r'@lk\.exercise\("([\w.]+)"', attack.read_text())
    return find(named[1] if named else EXERCISE)


def notebook(*cells: str, **more: object) -> str:
    made = [{"cell_type": "code", "metadata": {}, "source": s, "outputs": [], "execution_count": None} for s in cells]
    return json.dumps({"cells": made, "metadata": {}, "nbformat": 4, "nbformat_minor": 4} | more)


class Oracle:
    """A canary file and listening sockets; `job` writes an attack, `judge` looks at what came of it."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.early: dict[str, list[str]] = {}  # by attack, what did not hold while its folder was looked through
        self.token = secrets.token_hex(16)
        self.canary = folder / "canary.txt"
        self.canary.write_text(self.token)
        os.chmod(self.canary, 0o666)
        self.tcp = socket.create_server(("127.0.0.1", 0))
        self.abstract = socket.socket(socket.AF_UNIX)
        self.name = f"labkit-{secrets.token_hex(8)}"
        self.abstract.bind(f"\0{self.name}")
        self.file = socket.socket(socket.AF_UNIX)
        self.file.bind(str(folder / "socket"))
        os.chmod(folder / "socket", 0o666)
        self.listeners = (self.tcp, self.abstract, self.file)
        for listener in self.listeners:
            listener.listen()
            listener.setblocking(False)

    def __enter__(self) -> Oracle:
        return self

    def __exit__(self, *error: object) -> None:
        for listener in self.listeners:
            listener.close()

    def write(self, attack: Path, path: Path) -> None:
        """The attack as a notebook's file."""
        source = attack.read_text()
        if "\ndef hand_in(folder)" in source:  # the peers are given single files
            path.write_text(notebook())
            return
        if "\ndef make(path)" in source:
            runpy.run_path(str(attack))["make"](path)
            return
        source = source.replace("CANARY", str(self.canary)).replace("ABSTRACT", self.name)
        source = source.replace("PORT", str(self.tcp.getsockname()[1])).replace("SOCKET", str(self.folder / "socket"))
        path.write_text(notebook(source))

    def looked_through(self, attack: Path) -> Job:
        """The job of an attack by the folder, or an empty notebook's if nothing in it can be graded."""
        folder = self.folder / attack.stem
        folder.mkdir()
        expected = runpy.run_path(str(attack))["hand_in"](folder) or {}
        broken = self.early.setdefault(attack.stem, [])
        began, cpu = time.monotonic(), sum(os.times()[:4])
        known = submissions.roster(folder / "class.csv") if (folder / "class.csv").exists() else {}
        found, lines = submissions.find(folder, known)
        for each in found:
            person = submissions.in_roster(known, each.student, each.id, each.number)
            if expected.get(each.place, whose := person["Student"] if person else each.student) != whose:
                broken.append(f"was taken for {whose}'s")
        with io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="strict") as terminal:
            for line in lines:
                say(line, terminal)
            terminal.flush()
            if any(ord(letter) < 32 and letter != "\n" for letter in terminal.buffer.getvalue().decode()):
                broken.append("reached the terminal")
        if (seconds := sum(os.times()[:4]) - cpu) > MOST_LOOKING or time.monotonic() - began > 20 * MOST_LOOKING:
            broken.append(f"took {seconds:.0f} s to look through")
        if len(lines) > MOST_LINES:
            broken.append(f"made {len(lines)} lines")
        empty = self.folder / f"{attack.stem}.ipynb"
        empty.write_text(notebook())
        each = found[0] if found else submissions.Submission("eve", "01", str(empty))
        return Job(attack.stem, each.lab, each.path, each.member, SEED, BUDGET, place=each.place)

    def job(self, attack: Path) -> Job:
        if "\ndef hand_in(folder)" in attack.read_text():
            return self.looked_through(attack)
        path = self.folder / f"{attack.stem}.ipynb"
        self.write(attack, path)
        member = zipfile.ZipFile(path).namelist()[0] if zipfile.is_zipfile(path) else None
        return Job(attack.stem, exercise_of(attack).lab, str(path), member, SEED, BUDGET)

    def neighbour(self, number: int) -> Job:
        path = self.folder / f"neighbour-{number}.ipynb"
        path.write_text(notebook(reference_cell(find(EXERCISE))))
        return Job(f"neighbour-{number}", "01", str(path), seed=SEED, budget=BUDGET)

    def judge(self, attack: Path, line: str) -> Outcome:
        row, broken = json.loads(line), self.early.get(attack.stem, [])
        if row["points"] != 0:
            broken.append("earned points")
        if self.token in line:
            broken.append("read the canary")
        if self.canary.read_text() != self.token:
            broken.append("changed the canary")
            self.canary.write_text(self.token)
        for listener in self.listeners:
            reached = 0
            with contextlib.suppress(BlockingIOError):
                while True:
                    listener.accept()[0].close()
                    reached += 1
            if reached:
                broken.append("reached a socket outside")
        if re.search(r"(wrote|kept) [1-9]\d* MB outside", line):  # the attack's own words
            broken.append("took disk or memory outside")
        if re.search(r"(read|took) [1-9]\d* (files|limits) outside", line):
            broken.append("read or changed what is outside")
        page = pages.feedback(row | {"released": True}, "lab") if "exercises" in row else ""  # the peers make none
        if "<script" in page:
            broken.append("put a script into the feedback")
        try:
            page.encode()
        except UnicodeEncodeError:
            broken.append("cannot be written into a page")
        for system in handing_back.SYSTEMS if "place" in row else ():
            if not (handing_back._place(row, system, "lab") or "-").isprintable():
                broken.append("cannot be written into a zip of feedback")
        if row["seconds"] > MOST_SECONDS:
            broken.append(f"took {row['seconds']:.0f} s")
        tries = attack.read_text().splitlines()[0].removeprefix("# Tries to ").rstrip(".")
        return Outcome(attack.stem, tries, row["seconds"], broken)


def leftovers() -> list[str]:
    """Processes and folders of sandboxes that are there though nobody grades any more; others may, at the same time."""
    found = []
    for _ in range(20):
        folders = [path for path in Path(tempfile.gettempdir()).glob("lk-[0-9]*-*") if _size(path)]
        found = [str(path) for path in folders if not _at_work(int(path.name.split("-")[1]))]
        for process in map(int, filter(str.isdigit, os.listdir("/proc"))):
            command = _command(process)
            if b"/kit/kernel.py" in command and not _at_work(process):
                found.append(command.replace(b"\0", b" ").decode(errors="replace"))
        if not found:
            return []
        time.sleep(0.25)
    return found


def _at_work(process: int) -> bool:
    """Whether this is, or is below, a Python outside all sandboxes for which somebody waits."""
    while process > 1:
        above, command = parent(process), _command(process)
        if b"python" in command and b"/kit/" not in command:
            return above > 1
        process = above
    return False


def _command(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""


def _size(path: Path) -> int:
    return sum(1 for _ in path.rglob("*")) if path.exists() else 0
