"""On a Ray cluster grading comes to the same gradebook, byte for byte, also when a worker is killed in the middle."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import oracle
import psutil
import pytest

from labkit.cli import main
from labkit.exercises import catalogue, cell_of, find, reference_cell

SLOW = '@lk.exercise("data.jaccard")\ndef jaccard(a, b):\n    import time\n    time.sleep(0.2)\n    return len(a & b) / len(a | b)\n'
NAMED = cell_of(find("data.jaccard"), find("data.jaccard").misconceptions[0].function)


@pytest.fixture
def submissions(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    cells = {
        "ada": [reference_cell(exercise) for exercise in catalogue().values() if exercise.lab == "01"],
        "grace": [NAMED],
        "slow": [SLOW],
        "stub": [],
    }
    for student, sources in cells.items():
        (folder / student).mkdir()
        (folder / student / "01_data.ipynb").write_text(oracle.notebook(*sources))
    return folder


@pytest.fixture
def address(monkeypatch):
    """A cluster of two workers on this machine, for this test; another one here has nothing to do with it."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    cluster = Cluster()
    for chance in (1, 2, 3):  # on a busy machine a node may not be ready in the 30 s that Ray waits
        try:
            cluster.add_node(num_cpus=2, object_store_memory=100_000_000)
            break
        except Exception:
            cluster.shutdown()
            if chance == 3:
                raise
    yield cluster.address
    cluster.shutdown()


def graded(submissions, out, address):
    """The gradebook after one `labkit grade` on the cluster; each submission stands in the ledger once."""
    command = [sys.executable, "-m", "labkit.cli", "grade", str(submissions), "--out", str(out), "--seed", "5"]
    done = subprocess.run([*command, "--cluster", address], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [json.loads(line) for line in (out / "ledger.jsonl").open()]
    assert sorted(line["student"] for line in lines) == ["ada", "grace", "slow", "stub"]
    return (out / "gradebook.csv").read_bytes()


def test_a_worker_killed_in_the_middle_changes_nothing(submissions, address, tmp_path):
    assert main(["grade", str(submissions), "--out", str(tmp_path / "here"), "--seed", "5"]) == 0
    expected = (tmp_path / "here" / "gradebook.csv").read_bytes()
    killed = threading.Event()

    def kill_the_first():
        """SIGKILL to the first Ray worker that has a judge, which is in the midst of grading."""
        late = time.monotonic() + 60
        while time.monotonic() < late and not killed.is_set():
            for process in psutil.process_iter(["cmdline"]):
                line = " ".join(process.info["cmdline"] or ())
                if "labkit.grading.judge import serve" in line and "ray::" in " ".join(_parent_line(process)):
                    os.kill(process.ppid(), signal.SIGKILL)
                    killed.set()
                    return
            time.sleep(0.05)

    thread = threading.Thread(target=kill_the_first)
    thread.start()
    found = graded(submissions, tmp_path / "there", address)
    thread.join()
    assert killed.is_set() and found == expected


def _parent_line(process):
    try:
        return process.parent().cmdline()
    except (psutil.NoSuchProcess, AttributeError):
        return []
