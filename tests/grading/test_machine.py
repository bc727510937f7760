"""What ends by no doing of the learner's costs nobody a point: parts killed from outside, no room, no processes."""

import contextlib
import errno
import json
import os
import subprocess
import sys
import threading
import time

import oracle
import psutil
import pytest

from labkit import cluster
from labkit.cli import main
from labkit.exercises import find, reference_cell
from labkit.grading import book, judge, processes, runner, sandbox

POPEN = subprocess.Popen
RIGHT = reference_cell(find("data.jaccard"))
ENDS_ITSELF = '@lk.exercise("data.shingles")\ndef shingles(text, k):\n    import os\n    os.kill(os.getpid(), 9)\n'
TWICE = int(os.environ.get("LABKIT_TEST_GRADINGS", "4"))  # 25 for fifty kills
needs_sandbox = pytest.mark.skipif(sandbox.missing() is not None, reason="no sandbox here")

KILL = """
import contextlib, json, os, random, signal, sys
from labkit.grading import judge, processes, runner

path, seed = sys.argv[1], int(sys.argv[2])
processes.prctl(processes.SUBREAPER, 1)
judge._import_all()
runner.TICK = 0.01
tick, at = judge._Run.tick, {"ticks": 0, "kills": []}

def counted(run, alive):
    at["ticks"] += 1
    while at["kills"] and at["ticks"] >= at["kills"][0][0]:
        part = at["kills"].pop(0)[1]
        chain = [run.child, *processes.tree(run.child)]
        target = chain[min({"reader": 0, "bwrap": 1, "kernel": len(chain) - 1}[part], len(chain) - 1)]
        with contextlib.suppress(ProcessLookupError):
            os.kill(target, signal.SIGKILL)
    return tick(run, alive)

judge._Run.tick = counted

def graded(kills):
    at["ticks"], at["kills"] = 0, kills
    row = judge.grade(judge.Job("ada", "01", path, seed=3))
    return [row["outcome"], row["points"], {id: (got["kind"], got["groups"]) for id, got in row["exercises"].items()}]

expected = graded([])
most, chance = at["ticks"], random.Random(seed)
found = []
for _ in range(int(sys.argv[3])):
    kills = sorted((chance.randrange(most), chance.choice(["reader", "bwrap", "kernel"])) for _ in range(2))
    found.append([kills[:], graded(kills[:])])
print(json.dumps([expected, found]))
"""


@needs_sandbox
@pytest.mark.parametrize(
    "cells, gradings", [([RIGHT], TWICE), ([RIGHT, ENDS_ITSELF], 1)], ids=["right", "ends itself too"]
)
def test_a_reader_or_sandbox_killed_at_any_moment_changes_no_grade(tmp_path, cells, gradings):
    """Two of its parts in each grading."""
    path = tmp_path / "01_data.ipynb"
    path.write_text(oracle.notebook(*cells))
    command = [sys.executable, "-c", KILL, str(path), "0", str(gradings)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    expected, found = json.loads(done.stdout.splitlines()[-1])
    assert expected[:2] == ["graded", 1] and (len(cells) == 1 or expected[2]["data.shingles"][0] == "ended")
    assert [row for row in found if row[1] != expected] == []


LAST = (
    KILL.partition("def counted")[0]
    + """
from labkit.exercises import find
from labkit.grading import assemble

last = ("data.jaccard", list(assemble.grouped(find("data.jaccard"), 3))[-1])

def once(run, alive):
    if run.part == "probe" and run.at == last and not at["kills"]:
        at["kills"].append(run.at)
        os.kill([run.child, *processes.tree(run.child)][1], signal.SIGKILL)
    return tick(run, alive)

judge._Run.tick = once
row = judge.grade(judge.Job("ada", "01", path, seed=3))
print(json.dumps([row["outcome"], row["points"], len(at["kills"])]))
"""
)


@needs_sandbox
def test_a_sandbox_that_is_killed_in_the_last_probe_of_all_is_no_answer(tmp_path):
    path = tmp_path / "01_data.ipynb"
    slow = RIGHT.replace("    if not a and", "    __import__('time').sleep(0.05)\n    if not a and")
    assert slow != RIGHT
    path.write_text(oracle.notebook(slow))
    command = [sys.executable, "-c", LAST, str(path), "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert json.loads(done.stdout.splitlines()[-1]) == ["graded", 1, 1], done.stderr


def line_of(path, **more):
    return json.loads(judge.work(judge.Job("ada", "01", str(path), seed=3, **more)))


@needs_sandbox
def test_a_judge_that_is_killed_is_replaced(tmp_path):
    path = tmp_path / "01_data.ipynb"
    path.write_text(oracle.notebook(RIGHT))
    judge._stop_judge()
    killed = judge._judge(os.getpid())
    threading.Timer(0.0, killed.kill).start()
    assert line_of(path)["points"] == 1


def test_a_judge_that_is_killed_each_time_is_the_machines_fault(tmp_path, monkeypatch):
    started = []

    def start(command, **options):
        started.append(POPEN([sys.executable, "-S", "-c", "import os; os.kill(os.getpid(), 9)"], **options))
        return started[-1]

    judge._stop_judge()
    monkeypatch.setattr(judge.subprocess, "Popen", start)
    path = tmp_path / "01_data.ipynb"
    path.write_text(oracle.notebook(RIGHT))
    row = line_of(path)
    assert row["machine"] is True and row["outcome"].startswith("the machine's fault: ") and len(started) == 2


NO_ROOM = [
    ("fork", os, "fork", OSError(errno.EAGAIN, "Resource temporarily unavailable")),
    ("folder", runner.tempfile, "mkdtemp", OSError(errno.ENOSPC, "No space left on device")),
]


@pytest.mark.parametrize("name, owner, function, error", NO_ROOM, ids=[each[0] for each in NO_ROOM])
def test_no_process_and_no_room_are_the_machines_fault(tmp_path, monkeypatch, name, owner, function, error):
    path = tmp_path / "01_data.ipynb"
    path.write_text(oracle.notebook(RIGHT))

    def fails(*args, **kwargs):
        raise error

    monkeypatch.setattr(owner, function, fails)
    row = judge.grade(judge.Job("ada", "01", str(path), seed=3))
    assert row["machine"] is True and error.strerror in row["outcome"] and row["exercises"].keys()


WRITES = """
import errno, json, sys
from labkit.grading import judge, processes, runner

def full(path, text):
    raise OSError(errno.ENOSPC, "No space left on device")

processes.prctl(processes.SUBREAPER, 1)
runner.write_privately = full
print(json.dumps(judge.grade(judge.Job("ada", "01", sys.argv[1], seed=3))))
"""


def test_a_full_disk_where_the_notebook_is_written_is_the_machines_fault(tmp_path):
    path = tmp_path / "01_data.ipynb"
    path.write_text(oracle.notebook(RIGHT))
    done = subprocess.run([sys.executable, "-c", WRITES, str(path)], capture_output=True, text=True, timeout=120)
    row = json.loads(done.stdout.splitlines()[-1])
    assert row["machine"] is True and "No space left on device" in row["outcome"]


@pytest.mark.parametrize("code, part, whose", [
    (-9, "probe", "machine"), (137, "probe", "unknown"), (None, "probe", "unknown"), (0, "learner", "learner"),
    (139, "probe", "learner"), (0, "begin", "machine"), (0, "next", "learner"),
])  # fmt: skip
def test_by_whose_doing_a_kernel_ended(code, part, whose):
    run = object.__new__(judge._Run)
    run.job, run.part = judge.Job("ada", "01", "x"), part
    assert run._kernel_ended(code).whose == whose


@pytest.mark.parametrize("seconds, whose", [(0, None), (1.9, None), (2.1, "unknown")])
def test_how_a_kernel_ended_that_left_no_trace_is_asked_of_the_child_first(monkeypatch, seconds, whose):
    """A child that is killed loses its sandbox some moments before the pipe to it closes."""
    monkeypatch.setattr(processes, "children", lambda process: [])
    monkeypatch.setattr(judge._Run, "heard_more", lambda run: False)
    run = object.__new__(judge._Run)
    run.job, run.part, run.child, run.budget = judge.Job("ada", "01", "x"), "probe", 0, judge.Budget()
    run.clock, run.cpu_before, run.began, run.reading, run.rest = processes.Clock(), 0.0, None, False, (9.0, 9.0)
    run.waiter, run.since, run.seen = processes.parent(os.getppid()), time.monotonic(), time.monotonic() - seconds
    end = run.tick([])
    assert (end and end.whose) == whose


# What becomes of such a line


def submissions(folder, *students):
    for student in students:
        (folder / student).mkdir(parents=True)
        (folder / student / "01_data.ipynb").write_text(oracle.notebook())


def fake(outcomes):
    """`cluster.map` of lines that need no kernel; `outcomes` says for each student what happens at each try."""
    calls = []

    def map_(function, items, *, progress=lambda index, line: None, workers=None, **_):
        calls.append(([job.student for job in items], workers))
        lines = []
        for index, job in enumerate(items):
            what = outcomes[job.student].pop(0)
            if what == "died":
                raise cluster.WorkError("its process died", index=index)
            row = judge.failed(job, "x") if what == "machine" else judge._line(job, judge.digest(job), "graded", {})
            lines.append(json.dumps(row))
            progress(index, lines[-1])
        return lines

    return map_, calls


def graded(tmp_path, monkeypatch, outcomes, capsys):
    submissions(tmp_path / "in", *outcomes)
    map_, calls = fake(outcomes)
    monkeypatch.setattr(cluster, "map", map_)
    status = main(
        ["grade", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--seed", "1", "--unsandboxed", "--canvas"]
    )
    rows = {row["student"]: row for row in book.Ledger(tmp_path / "out" / "ledger.jsonl").rows()}
    return status, rows, calls, capsys.readouterr().out


@pytest.mark.parametrize("what", ["machine", "died"])
def test_what_the_machine_failed_at_is_tried_again_alone(tmp_path, monkeypatch, capsys, what):
    outcomes = {"ada": ["graded"], "bob": [what, "graded"], "eve": ["graded"]}
    status, rows, calls, _ = graded(tmp_path, monkeypatch, outcomes, capsys)
    assert status == 0 and {student: row["outcome"] for student, row in rows.items()} == dict.fromkeys(rows, "graded")
    assert set(rows) == {"ada", "bob", "eve"} and calls[-1] == (["bob"], 1)


@pytest.mark.parametrize("what", ["machine", "died"])
def test_the_machines_fault_is_no_zero_and_is_graded_by_the_same_command(tmp_path, monkeypatch, capsys, what):
    outcomes = {"ada": ["graded"], "bob": [what] * 3 + ["graded"]}
    status, rows, _, said = graded(tmp_path, monkeypatch, outcomes, capsys)
    assert status == 1 and rows["bob"]["machine"] is True and "bob, lab 01: the machine's fault" in said
    assert [line.split(",")[2] for line in (tmp_path / "out" / "gradebook.csv").read_text().splitlines()[1:]] == [
        "0",
        "",
    ]
    assert "machine" in (tmp_path / "out" / "report.html").read_text().partition("Not graded")[2]
    outcomes["bob"] = ["graded"]
    assert main(["grade", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--unsandboxed"]) == 0
    assert not outcomes["bob"]


@needs_sandbox
def test_a_worker_killed_in_the_middle_changes_no_grade(tmp_path, capsys):
    folder = tmp_path / "in"
    submissions(folder, "ada", "bob")
    slow = RIGHT.replace("def jaccard(a, b):\n", "def jaccard(a, b):\n    import time\n    time.sleep(0.1)\n")
    for student in ("ada", "bob"):
        (folder / student / "01_data.ipynb").write_text(oracle.notebook(slow))
    killed = []

    def kill_one():
        """SIGKILL to the first worker that has a sandbox below it."""
        while not killed and not over.is_set():
            for worker in psutil.Process().children():
                with contextlib.suppress(psutil.NoSuchProcess):  # one that ended while it was looked at
                    if "labkit.cluster" in " ".join(worker.cmdline()) and any(
                        "bwrap" in each.name() for each in worker.children(recursive=True)
                    ):
                        worker.kill()
                        killed.append(worker.pid)
                        return
            over.wait(0.01)

    over = threading.Event()
    thread = threading.Thread(target=kill_one)
    thread.start()
    try:
        status = main(["grade", str(folder), "--out", str(tmp_path / "out"), "--seed", "1", "--workers", "2"])
    finally:
        over.set()
        thread.join()
    rows = {row["student"]: row["points"] for row in book.Ledger(tmp_path / "out" / "ledger.jsonl").rows()}
    assert killed and status == 0 and rows == {"ada": 1, "bob": 1}
    assert oracle.leftovers() == []
