"""The attacks under plain nbval and under nbgrader, judged by the same oracle.

Neither has a sandbox, so each run is put into a namespace of its own: no network but its own loopback, processes of its
own, files of which only a throw-away /tmp can be written, limits on memory, processes and time. What an attack cannot
reach for that reason alone (/etc, installed libraries, mounts) counts as held, in the peers' favour. An attack is
graded together with an honest neighbour behind it. Run by itself, within such a namespace, this grades one attack.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree
from pathlib import Path
from types import ModuleType

import oracle

from labkit.exercises import reference_cell
from labkit.exercises.kinds import Exercise, literal
from labkit.grading import sandbox
from labkit.grading.assemble import grouped
from labkit.workshop import bench

PEERS = ("nbval", "nbgrader")
LIMITS = sandbox.Limits(memory_mb=2_500, files_mb=700, file_mb=1_100, processes=250, open_files=1_024)
START = 60.0  # seconds that a peer may take for itself
CELL = oracle.BUDGET.wall  # seconds for a cell: both peers take such a limit
DISK = 100_000_000  # bytes left behind that are too many


def graded(peer: str, attack: Path, course: Path, site: str) -> list[str]:
    """What did not hold when the peer graded this attack. `site` is the folder with nbgrader, `course` one of its own."""
    here = Path(__file__).resolve()
    with contextlib.ExitStack() as stack:
        command = [sys.executable, "/attacks/peers.py", peer, f"/attacks/{attack.name}"]
        command, options = sandbox.wrapped(command, LIMITS, "lab", stack)
        bound = [
            (here.parent, "/attacks"),
            (here.parents[2] / "benchmarks", "/benchmarks"),
            (course, "/course"),
            (site, "/peer"),
        ]
        place = command.index("--remount-ro")
        command[place:place] = [word for source, at in bound if source for word in ("--ro-bind", str(source), at)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, **options)
        try:
            said = process.communicate(timeout=oracle.MOST_SECONDS + 2 * START)[0]
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return ["ran on until the namespace was ended"]
    try:
        return json.loads(said.splitlines()[-1])
    except (IndexError, ValueError):
        return ["ended the grader, and all else of its user"]


def main(peer: str, attack: Path) -> list[str]:
    """Within the namespace: grade an attack and its neighbour, and look at what came of it."""
    grade = bench.load(Path("/benchmarks/grade.py"))
    folder, exercise = Path("/tmp/work"), oracle.exercise_of(attack)
    folder.mkdir()
    with oracle.Oracle(folder) as judge:
        judge.write(attack, folder / "attack.ipynb")
        honest = json.loads(oracle.notebook(reference_cell(exercise)))
        submitted = [(folder / "attack.ipynb", _read(folder / "attack.ipynb")), (None, honest)]
        run = {"nbval": nbval, "nbgrader": nbgrader}[peer]
        start = time.monotonic()
        points, neighbour, said = run(grade, exercise, submitted, folder)
        seconds = max(
            0.0, time.monotonic() - start - 10
        )  # less what the peer needs to start and to grade the neighbour
        line = json.dumps({"points": points, "seconds": seconds, "said": said})
        broken = judge.judge(attack, line).broken
    if neighbour != 1:
        broken.append("touched its neighbour's grade")
    if _others():
        broken.append("left processes behind")
    if (used := shutil.disk_usage("/tmp").used) > DISK:
        broken.append(f"left {used / 1e6:.0f} MB on the disk")
    return broken


def _read(path: Path) -> dict | None:
    """A notebook that can be completed by probes; None for a file that is none."""
    try:
        made = json.loads(path.read_text()) if path.stat().st_size < 20_000_000 else None
    except (ValueError, RecursionError):
        return None
    return made if isinstance(made, dict) and all(isinstance(cell, dict) for cell in made.get("cells", [0])) else None


def nbval(grade: ModuleType, exercise: Exercise, submitted: list, folder: Path) -> tuple[float, float, str]:
    """(share of groups earned, the neighbour's, what was said): probes stand behind the cells, answers as outputs."""
    probes, groups = exercise.draw(oracle.SEED), grouped(exercise, oracle.SEED)
    behind = []
    for members in groups.values():
        calls = ", ".join(f"{exercise.name}({', '.join(map(literal, probes[i].args))})" for i in members)
        answers = [exercise.reference(*probes[i].args) for i in members]
        output = {"output_type": "stream", "name": "stdout", "text": f"{answers}\n"}
        behind.append(
            {
                "cell_type": "code",
                "metadata": {},
                "source": f"print([{calls}])",
                "outputs": [output],
                "execution_count": 1,
            }
        )
    first = {"cell_type": "code", "metadata": {}, "source": grade.PREAMBLE, "outputs": [], "execution_count": None}
    (folder / "nbval").mkdir()
    places = []
    for name, (path, made) in zip(("a", "z"), submitted):
        if made is None:
            shutil.move(path, folder / "nbval" / f"{name}.ipynb")
            places.append(set())
            continue
        cells = [first, *made["cells"], *behind]
        (folder / "nbval" / f"{name}.ipynb").write_text(
            json.dumps(made | {"cells": cells, "nbformat": 4, "nbformat_minor": 4})
        )
        number = sum(cell.get("cell_type") == "code" for cell in cells)
        places.append({f"Cell {n}" for n in range(number - len(behind), number)})
    command = [sys.executable, "-m", "pytest", "--nbval", "a.ipynb", "z.ipynb", "-p", "no:cacheprovider", "--rootdir=."]
    said = _run(
        [*command, f"--nbval-cell-timeout={CELL:g}", "--junitxml=result.xml"],
        folder / "nbval",
        grade.environment(folder),
    )
    passed: list[float] = [0.0, 0.0]
    if (folder / "nbval" / "result.xml").exists():
        for case in xml.etree.ElementTree.parse(folder / "nbval" / "result.xml").iter("testcase"):
            which = int(case.get("classname", "").startswith("z"))
            passed[which] += case.get("name") in places[which] and len(case) == 0
    return passed[0] / len(behind), passed[1] / len(behind), said


def nbgrader(grade: ModuleType, exercise: Exercise, submitted: list, folder: Path) -> tuple[float, float, str]:
    """(points, the neighbour's share, what was said): the cells stand where the assignment has them."""
    shutil.copytree("/course", folder / "course", ignore=shutil.ignore_patterns("home"))
    name = next((folder / "course" / "release" / "lab").glob("*.ipynb")).name
    for student, (path, made) in zip(("a", "z"), submitted):
        place = folder / "course" / "submitted" / student / "lab"
        place.mkdir(parents=True)
        if made is None:
            shutil.move(path, place / name)
            continue
        whole = grade.notebook({exercise.id: grade.stub(exercise)}, oracle.SEED)
        cells, own = made["cells"], whole["cells"][1]
        for number, cell in enumerate(cells):
            if exercise.id in "".join(cell.get("source", "")):
                cells[number] = own | {"source": cell["source"], "metadata": cell.get("metadata", {}) | own["metadata"]}
                break
        whole["cells"][1:2] = [{"id": f"own-{number}", **cell} for number, cell in enumerate(cells)]
        (place / name).write_text(json.dumps(whole | {"metadata": whole["metadata"] | made.get("metadata", {})}))
    command = [*grade.NBGRADER, "autograde", "lab", f"--Execute.timeout={CELL:g}"]
    said = _run(command, folder / "course", grade.environment(folder, "/peer"))
    points = grade.autograded(folder / "course" / "gradebook.db")
    for path in (folder / "course" / "autograded").glob("a/**/*.ipynb"):
        said += path.read_text(errors="replace")
    return points.get("a") or 0, (points.get("z") or 0) / exercise.points, said


def _run(command: list[str], folder: Path, env: dict[str, str]) -> str:
    with open(folder / "said.txt", "wb") as file:
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=file, stderr=file, start_new_session=True)
        try:
            process.wait(timeout=oracle.MOST_SECONDS + 15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return (folder / "said.txt").read_text(errors="replace")[-5_000_000:]


def _others() -> list[int]:
    """Processes that go on, though the grader has ended."""
    time.sleep(1)
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state = path.read_text().rpartition(")")[2].split()[0]
            if int(path.parent.name) not in (1, os.getpid()) and state not in "ZX":
                found.append(int(path.parent.name))
    return found


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], Path(sys.argv[2]))))
