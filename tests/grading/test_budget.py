"""A loop without end, or a dead kernel, costs its own exercise and no other; a busy machine costs nobody a point."""

import json
import subprocess
import sys
from pathlib import Path

import oracle
import pytest

from labkit.exercises import find, reference_cell
from labkit.grading import judge, runner, sandbox

ENDLESS = "while True:\n        pass"
DEAD = "import os\n    os._exit(0)"


def cell(body):
    return f'@lk.exercise("data.jaccard")\ndef jaccard(a, b):\n    {body}\n'


def graded(folder, body, **budget):
    sources = [cell(body), *(reference_cell(find(id)) for id in ("data.shingles", "data.candidate_probability"))]
    path = Path(folder, "01_data.ipynb")
    path.write_text(oracle.notebook(*sources))
    job = judge.Job("ada", "01", str(path), seed=3, budget=judge.Budget(**{"cpu": 1, "wall": 6, **budget}))
    return json.loads(judge.work(job))


@pytest.mark.parametrize("body, kind", [(ENDLESS, "slow"), (DEAD, "ended")])
def test_the_other_exercises_get_a_fresh_kernel(tmp_path, body, kind):
    row = graded(tmp_path, body)
    got = row["exercises"]
    assert got["data.jaccard"]["kind"] == kind and got["data.jaccard"]["points"] == 0
    for id in ("data.shingles", "data.candidate_probability"):
        assert got[id]["kind"] == "passed" and got[id]["points"] == got[id]["possible"]
    assert row["points"] == 2 and oracle.leftovers() == []


def test_what_took_too_long_is_tried_once_more_alone(tmp_path, monkeypatch):
    started = []

    class Run:
        at, cpu, spent = ("data.jaccard", "g"), 0.0, (0.0, 0.0)

        def __init__(self, job, only, folder, take, cells, rest):
            started.append(only)
            self.take = take

        def run(self):
            if len(started) == 1:  # as if the machine had been busy at the first probe of the first exercise
                self.take({"found": {"data.jaccard": ["g"]}, "tried": {"data.jaccard": True}})
                return runner.End("slow", "took longer than 6 s")
            self.take({"exercise": "data.jaccard", "group": "g", "earned": True})
            self.take({"exercise": "data.jaccard", "kind": "passed", "text": "passed"})
            return None

    monkeypatch.setattr(judge, "_Run", Run)
    (tmp_path / "01_data.ipynb").write_text(oracle.notebook())
    line = judge.grade(judge.Job("ada", "01", str(tmp_path / "01_data.ipynb"), seed=3))
    assert started == [None, {("data.jaccard", "g")}]
    assert line["exercises"]["data.jaccard"]["kind"] == "passed" and line["points"] == 1


LOOK = """
import contextlib, json, os, sys
from labkit.grading import judge, processes, runner, sandbox
count, seen = processes.files, set()

def look(process):
    with contextlib.suppress(OSError):
        seen.add(os.stat(f"/proc/{process}/root/tmp").st_dev)
    return count(process)

processes.files, runner.TICK = look, 0.0005
judge._import_all()
points = [judge.grade(judge.Job("ada", "01", sys.argv[1], seed=3))["points"] for _ in range(4)]
print(json.dumps([points, sorted(seen), os.stat("/tmp").st_dev]))
"""


@pytest.mark.skipif(sandbox.missing() is not None, reason="no sandbox here")
def test_of_files_only_a_sandboxs_own_are_counted(tmp_path):
    """While bubblewrap starts, a process still has the machine's root, and all the machine's files in it."""
    path = tmp_path / "01_data.ipynb"
    path.write_text(oracle.notebook(reference_cell(find("data.jaccard"))))
    done = subprocess.run([sys.executable, "-c", LOOK, path], capture_output=True, text=True, timeout=120)
    points, seen, outside = json.loads(done.stdout.splitlines()[-1])
    assert points == [1] * 4 and seen and outside not in seen
