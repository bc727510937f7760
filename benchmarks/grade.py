"""`labkit grade`, sandbox on, beside nbgrader's `autograde`, which has none: the same files and probes, turn by turn.

A submission is a notebook as nbgrader releases it: the exercises of a lab, behind each its probes as cells of asserts.
What stands in the exercises is drawn from a seed: the reference, a known mistake, a stub, or code that raises. nbgrader
runs those notebooks as they are; `labkit grade` reads the same folder `submitted/`, takes the exercises out and puts
its own probes of the same seed behind them. Both count points by group of probes; `agree` says on how many submissions the
two come to the same points (ours also looks at whether a function changes its arguments).

Times are of the whole command, start and end included, medians over rounds in which the two take turns, each library on
one thread. `ratio_core` is one worker of ours over theirs, `ratio_two_cores` two workers over theirs, which has no
second; `ratio_cpu` compares the CPU time of all processes of a submission. Then: CPU time and memory as the class
grows; what a submission that uses up its budget costs the others; and in which labs' kernels torch is loaded.

nbgrader would bring a menu of its own into the learner's JupyterLab, so it is no part of the installation: what of it
is missing goes into a folder of the user's cache. Without it, or without a network, the rest is measured all the same. Run
by itself this takes `--submissions`, `--rounds`, `--growth` and `--only PART` (may be repeated); on SIGTERM or Ctrl-C it
prints the figures of the parts that are finished. `--only speed --submissions 48 --rounds 1` has the two ratios.
"""

from __future__ import annotations

import argparse
import copy
import ctypes
import inspect
import json
import os
import random
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import platformdirs

from labkit.cluster import ONE_THREAD
from labkit.exercises import catalogue, cell_of, find, reference_cell
from labkit.exercises.kinds import Exercise, literal
from labkit.grading.assemble import grouped, lab_exercises
from labkit.grading.submissions import labs as names_of_labs

LABS = ("01", "03")
SUBMISSIONS, ROUNDS, GROWTH, SEED = 40, 3, 1_000, 7
PARTS = ("speed", "growth", "bad_apple", "torch")
CORE, TWO_CORES, GROWS, MEMORY_MB = 3.0, 5.0, 1.25, 500  # what is promised
PEER = ("nbgrader==0.9.6", "SQLAlchemy==2.1.9", "alembic==1.20.1", "Mako==1.4.3", "RapidFuzz==3.14.6")
SUBREAPER = 36  # linux/prctl.h

# What stands first in nbgrader's notebook. Its `lk` has the decorator only, so that it costs nothing there.
PREAMBLE = """import math
import types
import numpy as np

lk = types.SimpleNamespace(exercise=lambda id: lambda function: function)


def same(a, b, groups=False):
    if groups:
        a, b = sorted(map(sorted, a)), sorted(map(sorted, b))
    if isinstance(b, dict):
        return isinstance(a, dict) and a.keys() == b.keys() and all(same(a[key], b[key]) for key in b)
    if isinstance(b, (list, tuple)):
        return isinstance(a, (list, tuple, np.ndarray)) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(b, (str, set, frozenset, type(None))):
        return a == b
    a, b = np.asarray(a), np.asarray(b)
    return a.shape == b.shape and np.allclose(a, b, rtol=1e-6, atol=1e-9, equal_nan=True)


def raises(name, function, *args):
    try:
        function(*args)
    except Exception as error:
        return type(error).__name__ == name
    return False
"""


def main(args) -> dict:
    figures: dict = {}
    measure(figures, args)
    return figures


def measure(figures: dict, args) -> None:
    """Put each part's figures into the dict as soon as it is finished, so that what is cut short has some."""
    count = getattr(args, "submissions", None) or SUBMISSIONS
    rounds = getattr(args, "rounds", None) or ROUNDS
    grown = getattr(args, "growth", None) or GROWTH
    only = getattr(args, "only", None) or PARTS
    ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)  # what outlives a command is waited for here, and its time counted
    try:
        with tempfile.TemporaryDirectory() as folder:
            if "speed" in only:
                path = peer()
                for lab in LABS:
                    figures[lab] = speed(lab, count, rounds, Path(folder, lab), path)
                for name in ("ratio_core", "ratio_two_cores", "ratio_cpu"):
                    if all(name in figures[lab] for lab in LABS):
                        figures[name] = min(figures[lab][name] for lab in LABS)
            if "growth" in only:
                figures["growth"] = growth(count, grown, Path(folder, "growth"))
            if "bad_apple" in only:
                figures["bad_apple"] = bad_apple(rounds, Path(folder, "apple"))
            if "torch" in only:
                figures["torch"] = torch_loaded(Path(folder, "torch"))
    finally:
        ctypes.CDLL(None).prctl(SUBREAPER, 0, 0, 0, 0)


def doing(what: str) -> None:
    """Say what comes next, and when, on the stream that is not the result's."""
    print(f"{time.strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)


# Submissions


def drawn(lab: str, count: int, seed: int = SEED) -> list[dict[str, str]]:
    """`count` learners' cells of a lab, {exercise: source}: a bit over half of them right, no two learners alike."""
    rng, made, seen = random.Random(f"{lab} {seed}"), [], set()
    while len(made) < count:
        cells = {exercise.id: _cell(exercise, rng) for exercise in lab_exercises(lab)}
        if (key := tuple(cells.values())) not in seen:
            seen.add(key)
            made.append(cells)
    return made


def _cell(exercise: Exercise, rng: random.Random) -> str:
    what = rng.choices(("right", "mistake", "stub", "raises"), (55, 25, 10, 10))[0]
    head = f"@lk.exercise({exercise.id!r})\n"
    if what == "right":
        source = reference_cell(exercise)
    elif what == "mistake":
        source = cell_of(exercise, rng.choice(exercise.misconceptions).function)
    else:
        parameters = ", ".join(inspect.signature(exercise.reference).parameters)
        body = '"""To do."""\n    ...' if what == "stub" else "return undefined_name + 1"
        source = f"{head}def {exercise.name}({parameters}):\n    {body}\n"
    return f"{source}# {rng.randrange(10**6)}\n"


def notebook(cells: dict[str, str], seed: int = SEED) -> dict:
    """Exercises as an assignment of nbgrader's: each one's cell, and behind it a cell of asserts for each group."""
    made = [_made("preamble", PREAMBLE, grade=False, locked=True)]
    for id, cell in cells.items():
        exercise = find(id)
        made.append(_made(id, cell, solution=True))
        probes, groups = exercise.draw(seed), grouped(exercise, seed)
        for group, members in groups.items():
            source = "".join(_assert(exercise, probes[i].args) for i in members)
            points = exercise.points / len(groups)
            made.append(_made(f"{id}-{group}", source, grade=True, locked=True, points=points))
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return {"cells": made, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


def _assert(exercise: Exercise, args: tuple) -> str:
    said = "".join(f", {literal(each)}" for each in args)
    try:
        value = exercise.reference(*copy.deepcopy(args))
    except Exception as error:  # an error is the right answer to some
        return f"assert raises({type(error).__name__!r}, {exercise.name}{said})\n"
    groups = ", groups=True" if exercise.compare.partition else ""
    return f"assert same({exercise.name}({said[2:]}), {literal(value)}{groups})\n"


def _made(id: str, source: str, **about) -> dict:
    id = id.replace(".", "-").replace("_", "-").replace(" ", "-")
    metadata = {"schema_version": 3, "grade_id": id, "grade": False, "locked": False, "solution": False, "task": False}
    metadata |= {"cell_type": "code"} | about
    cell = {"cell_type": "code", "id": id, "source": source, "metadata": {"nbgrader": metadata}}
    return cell | {"outputs": [], "execution_count": None}


def hand_in(folder: Path, lab: str, learners: list[dict[str, str]], first: int = 0) -> Path:
    """Write `submitted/STUDENT/lab/LAB.ipynb` for each learner. The folder `submitted`."""
    for number, cells in enumerate(learners, start=first):
        place = folder / "submitted" / f"learner-{number:05d}" / "lab"
        place.mkdir(parents=True)
        (place / f"{name_of(lab)}.ipynb").write_text(json.dumps(notebook(cells)))
    return folder / "submitted"


def name_of(lab: str) -> str:
    return next(name for name, number in names_of_labs().items() if number == lab and name.startswith(f"{lab}_"))


def stub(exercise: Exercise) -> str:
    return f"@lk.exercise({exercise.id!r})\ndef {exercise.name}(*args):\n    ...\n"


def stubs(lab: str) -> dict[str, str]:
    return {exercise.id: stub(exercise) for exercise in lab_exercises(lab)}


# The two sides


def peer() -> str | None:
    """What must stand in PYTHONPATH for nbgrader; None if there is none, after a line that says why."""
    if find_spec("nbgrader"):
        return ""
    place = platformdirs.user_cache_path("labkit") / f"{PEER[0].replace('==', '-')}-{sys.implementation.cache_tag}"
    if place.exists():
        doing(f"nbgrader is in {place}")
    else:
        doing(f"installing nbgrader into {place}")
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent) as folder:
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]
            command += ["--no-deps", "--retries", "1", "--target", f"{folder}/new", *PEER]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
                print(f"nbgrader cannot be installed, so nothing is compared with it ({reason})")
                return None
            os.rename(f"{folder}/new", place)
    return str(place)


def environment(folder: Path, path: str = "") -> dict[str, str]:
    """An environment whose home, and whatever Jupyter keeps, lies in a folder; one thread."""
    own = {"HOME": folder, "JUPYTER_CONFIG_DIR": folder / "config", "JUPYTER_DATA_DIR": folder / "data"}
    own |= {"JUPYTER_RUNTIME_DIR": folder / "runtime", "IPYTHONDIR": folder / "ipython", "LABKIT_HOME": folder / "home"}
    paths = [each for each in (path, str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")) if each]
    programs = [
        f"{path}/bin",
        str(Path(sys.executable).parent),
        os.environ.get("PATH", "/usr/bin:/bin"),
    ]  # nbgrader calls alembic
    own |= {"PYTHONPATH": os.pathsep.join(paths), "PATH": os.pathsep.join(programs)}
    return os.environ | ONE_THREAD | {name: str(value) for name, value in own.items()}


def course(folder: Path, name: str, cells: dict[str, str], path: str) -> Path:
    """A course of nbgrader's that has released these stubs as `lab/NAME.ipynb`; submissions go into its `submitted`."""
    source = folder / "source" / "lab"
    source.mkdir(parents=True)
    (folder / "nbgrader_config.py").write_text('c = get_config()\nc.CourseDirectory.course_id = "course"\n')
    (source / f"{name}.ipynb").write_text(json.dumps(notebook(cells)))
    ran([*NBGRADER, "generate_assignment", "lab"], folder, environment(folder, path))
    return folder


NBGRADER = [sys.executable, "-m", "nbgrader"]


def autograde(folder: Path, path: str) -> tuple[dict, dict[str, float]]:
    """(what nbgrader's autograde takes, {student: points}) for a course, whose other files stay as they are."""
    (folder / "gradebook.db").replace(folder / "kept.db")
    shutil.copy(folder / "kept.db", folder / "gradebook.db")
    shutil.rmtree(folder / "autograded", ignore_errors=True)
    used = ran([*NBGRADER, "autograde", "lab"], folder, environment(folder, path))
    points = autograded(folder / "gradebook.db")
    (folder / "kept.db").replace(folder / "gradebook.db")
    return used, points


def autograded(database: Path) -> dict[str, float]:
    """{student: points} in a gradebook of nbgrader's."""
    ask = """select a.student_id, sum(coalesce(g.auto_score, 0)) from grade g
             join submitted_notebook n on g.notebook_id = n.id join submitted_assignment a on n.assignment_id = a.id
             group by a.student_id"""
    connection = sqlite3.connect(database)
    try:
        return dict(connection.execute(ask).fetchall())
    finally:
        connection.close()


def graded(submitted: Path, out: Path, workers: int, watch: bool = False, more: tuple = ()) -> tuple[dict, list[dict]]:
    """(what `labkit grade` takes, the lines of its ledger)."""
    command = [sys.executable, "-m", "labkit.cli", "grade", str(submitted), "--out", str(out), "--seed", str(SEED)]
    used = ran([*command, "--workers", str(workers), *more], out.parent, environment(out.parent), watch)
    rows = [json.loads(line) for line in (out / "ledger.jsonl").open()]
    used["cpu"] += sum(row["sandbox_cpu_seconds"] for row in rows)  # which end with their namespace, uncounted
    return used, rows


def ran(command: list[str], folder: Path, env: dict[str, str], watch: bool = False) -> dict:
    """{seconds, cpu, peak_mb} of a command and of all that it starts; `peak_mb` where somebody watches."""
    before, cpu, start, peak = children(), _cpu(), time.perf_counter(), 0.0
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=said, stderr=subprocess.STDOUT)
        while process.poll() is None:
            if watch:
                peak = max(peak, grader_memory(process.pid))
            time.sleep(0.2 if watch else 0.01)
        seconds = time.perf_counter() - start
        _reap(before)
        if process.returncode:
            said.seek(0)
            raise SystemExit(f"{' '.join(command[1:5])} failed:\n{said.read()[-2000:]}")
    return {"seconds": seconds, "cpu": _cpu() - cpu, "peak_mb": peak / 1e6}


def children(process: int | str = "self") -> set[int]:
    found: set[int] = set()
    for task in os.listdir(f"/proc/{process}/task"):
        with open(f"/proc/{process}/task/{task}/children") as file:
            found |= set(map(int, file.read().split()))
    return found


def _reap(before: set[int]) -> None:
    """Wait for what a command left behind that is about to end: workers, judges."""
    late = time.monotonic() + 5
    while left := children() - before:
        for process in left:
            os.waitpid(process, os.WNOHANG)
        if time.monotonic() > late:
            raise SystemExit("a command left a process behind")
        time.sleep(0.01)


def _cpu() -> float:
    import resource

    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def grader_memory(process: int) -> int:
    """Bytes of the grader itself: the command, its workers, their judges and the judges' children; no sandbox.

    It is the proportional set size, by which what a forked child shares with its judge counts once.
    """
    total = 0
    try:
        with open(f"/proc/{process}/cmdline", "rb") as file:
            if file.read().startswith(b"bwrap\0"):
                return 0
        with open(f"/proc/{process}/smaps_rollup") as file:
            total = next(int(line.split()[1]) * 1024 for line in file if line.startswith("Pss:"))
        total += sum(map(grader_memory, children(process)))
    except (OSError, StopIteration):
        pass  # it ended meanwhile
    return total


# What is measured


def speed(lab: str, count: int, rounds: int, folder: Path, path: str | None) -> dict:
    """Submissions per minute of both sides, and their ratios."""
    if path is None:
        folder.mkdir(parents=True)
    else:
        doing(f"lab {lab}: nbgrader makes its course")
        course(folder, name_of(lab), stubs(lab), path)
    submitted = hand_in(folder, lab, drawn(lab, count))
    sides: dict[str, list[dict]] = {"one": [], "two": [], "peer": []}
    rows, theirs = [], {}
    for turn in range(rounds):
        for workers, side in ((1, "one"), (2, "two")):
            doing(f"lab {lab}, round {turn + 1} of {rounds}: labkit, workers: {workers}")
            used, rows = graded(submitted, folder / f"grades-{turn}-{side}", workers)
            sides[side].append(used)
        if path is not None:
            doing(f"lab {lab}, round {turn + 1} of {rounds}: nbgrader")
            used, theirs = autograde(folder, path)
            sides["peer"].append(used)
    middle = {
        side: {key: statistics.median(each[key] for each in used) for key in used[0]}
        for side, used in sides.items()
        if used
    }
    figures: dict = {f"per_minute_{side}": round(60 * count / used["seconds"], 1) for side, used in middle.items()}
    figures |= {f"cpu_{side}": round(used["cpu"] / count, 3) for side, used in middle.items()}
    points = {row["student"]: row["points"] for row in rows}
    figures |= {"submissions": count, "points": round(statistics.mean(points.values()), 2)}
    text = f"lab {lab}, {count} submissions: {figures['per_minute_one']} a minute with one worker, "
    text += f"{figures['per_minute_two']} with two"
    if path is not None:
        one, two, other = middle["one"], middle["two"], middle["peer"]
        figures |= {
            "ratio_core": round(other["seconds"] / one["seconds"], 2),
            "ratio_two_cores": round(other["seconds"] / two["seconds"], 2),
        }
        figures["ratio_cpu"] = round(other["cpu"] / one["cpu"], 2)
        figures["agree"] = sum(abs(points[student] - theirs.get(student, -1)) < 0.02 for student in points)
        figures["ok"] = figures["ratio_core"] >= CORE and figures["ratio_two_cores"] >= TWO_CORES
        text += (
            f"; nbgrader {figures['per_minute_peer']}: {figures['ratio_core']:.2f} times its speed with one, "
            f"{figures['ratio_two_cores']:.2f} with two; CPU time {figures['cpu_one']:.2f} s and "
            f"{figures['cpu_peer']:.2f} s ({figures['ratio_cpu']:.2f}); {figures['agree']} of {count} get the same points"
        )
    print(text, flush=True)
    return figures


def growth(few: int, many: int, folder: Path) -> dict:
    """CPU time of a submission of lab 01, and the grader's memory, for a small class and a large one."""
    learners, used, spent = drawn("01", many), {}, {}
    for count in (few, many):
        doing(f"growth: {count:,} submissions")
        at = folder / str(count)
        at.mkdir(parents=True)
        used[count], rows = graded(hand_in(at, "01", learners[:count]), at / "grades", os.cpu_count() or 1, watch=True)
        spent[count] = statistics.mean(row["cpu_seconds"] for row in rows)
    cpu = {count: used[count]["cpu"] / count for count in used}
    figures = {
        "few": few, "many": many, "cpu_few": round(cpu[few], 3), "cpu_many": round(cpu[many], 3),
        "ratio": round(cpu[many] / cpu[few], 3), "judges_ratio": round(spent[many] / spent[few], 3),
        "peak_mb_few": round(used[few]["peak_mb"]), "peak_mb_many": round(used[many]["peak_mb"]),
    }  # fmt: skip
    figures["ok"] = max(figures["ratio"], figures["judges_ratio"]) <= GROWS and figures["peak_mb_many"] <= MEMORY_MB
    print(
        f"{few} and {many:,} submissions: {cpu[few]:.3f} s and {cpu[many]:.3f} s of CPU time each "
        f"({figures['ratio']:.2f} times; without the command's start and end {figures['judges_ratio']:.2f}); "
        f"the grader itself takes {figures['peak_mb_few']} MB and {figures['peak_mb_many']} MB",
        flush=True,
    )
    return figures


def bad_apple(rounds: int, folder: Path) -> dict:
    """How much later the others are done, on one worker, when one submission never ends; and that one's own time."""
    honest = drawn("01", 6)
    endless = stubs("01") | {
        "data.jaccard": '@lk.exercise("data.jaccard")\ndef jaccard(a, b):\n    while True:\n        pass\n'
    }
    waits, own = {"without": [], "with": []}, []
    for turn in range(rounds):
        for name, learners in (("without", honest), ("with", [endless, *honest])):
            doing(f"one that never ends, round {turn + 1} of {rounds}: {name} it")
            at = folder / f"{name}-{turn}"
            at.mkdir(parents=True)
            used, rows = graded(
                hand_in(at, "01", learners, first=1 - (name == "with")), at / "grades", 1, more=("--cpu", "2")
            )
            waits[name].append(used["seconds"])
            if name == "with":
                own.append(next(row["seconds"] for row in rows if row["student"] == "learner-00000"))
    delay, own_time = statistics.median(waits["with"]) - statistics.median(waits["without"]), statistics.median(own)
    noise = max(waits["without"]) - min(waits["without"])
    print(
        f"a submission that never ends takes {own_time:.1f} s and delays 6 others, on one worker, by {delay:.1f} s "
        f"(they vary by {noise:.1f} s)"
    )
    return {
        "own_seconds": round(own_time, 2),
        "delay_seconds": round(delay, 2),
        "noise_seconds": round(noise, 2),
        "ok": delay <= own_time + max(noise, 0.5),
    }


def torch_loaded(folder: Path) -> dict:
    """{lab: {the exercises whose kernel held torch, seconds of a submission}}: those that ask for it, and what follows."""
    figures = {}
    for lab in sorted({exercise.lab for exercise in catalogue().values()}):
        doing(f"torch: lab {lab}")
        exercises = lab_exercises(lab)
        look = 'import sys\n    raise RuntimeError("torch is here" if "torch" in sys.modules else "no torch")'
        cells = {e.id: f"@lk.exercise({e.id!r})\ndef {e.name}(*args):\n    {look}\n" for e in exercises}
        place = folder / lab / "submitted" / "ada"
        place.mkdir(parents=True)
        made = {
            "cells": [_made(id, source) for id, source in cells.items()],
            "metadata": {},
            "nbformat": 4,
            "nbformat_minor": 5,
        }
        (place / f"{name_of(lab)}.ipynb").write_text(json.dumps(made))
        _, (row,) = graded(folder / lab / "submitted", folder / lab / "grades", 1)
        seen = [id for id, each in row["exercises"].items() if "torch is here" in each["text"]]
        first = next((number for number, exercise in enumerate(exercises) if exercise.torch), len(exercises))
        figures[lab] = {"with_torch": seen, "seconds": row["seconds"], "ok": seen == [e.id for e in exercises[first:]]}
        print(f"lab {lab}: torch is loaded for {', '.join(seen) or 'nothing'}; {row['seconds']:.1f} s")
    return figures


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--submissions", type=int)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--growth", type=int)
    parser.add_argument("--only", action="append", choices=PARTS)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    found: dict = {}
    try:
        measure(found, parser.parse_args())
    finally:
        print(json.dumps(found))
