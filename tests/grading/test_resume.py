"""Killed at any moment and started again, grading comes to the same gradebook, and each submission stands once in the ledger."""

import json
import os
import random
import signal
import time

from labkit import cluster
from labkit.cli import main
from labkit.grading import judge

KILLS = 2 * int(os.environ.get("LABKIT_TEST_GRADINGS", "8"))  # 25 for fifty


def test_killed_at_many_moments_it_comes_to_the_same(tmp_path, monkeypatch):
    """After some submissions, or while the pages are written."""
    names = [f"s{number:03d}" for number in range(48)]
    for name in names:
        (tmp_path / "in" / name).mkdir(parents=True)
        (tmp_path / "in" / name / "01_data.ipynb").write_text(json.dumps({"cells": [], "of": name}))

    def start(out):
        """(the child that grades, the end of a pipe in which it puts a byte for each submission, and then an end)."""
        receive, send = os.pipe()

        def one_by_one(function, items, *, progress, **_):
            """`cluster.map` with lines that need no kernel, so that many runs are quick."""
            for index, job in enumerate(items):
                progress(index, json.dumps(judge._line(job, judge.digest(job), "graded", {})))
                os.write(send, b".")
                time.sleep(0.01)
            os.close(send)

        monkeypatch.setattr(cluster, "map", one_by_one)
        child = os.fork()
        if child == 0:
            os._exit(main(["grade", str(tmp_path / "in"), "--out", str(out), "--seed", "1", "--unsandboxed"]))
        os.close(send)
        return child, receive

    child, whole = start(tmp_path / "whole")
    assert os.waitpid(child, 0)[1] == 0
    chance, ledger, sizes = random.Random(0), tmp_path / "killed" / "ledger.jsonl", set()
    for _ in range(KILLS):
        child, receive = start(tmp_path / "killed")
        wanted = chance.randrange(3 * len(names) // KILLS)
        while wanted > 0 and (said := os.read(receive, wanted)):
            wanted -= len(said)
        time.sleep(chance.uniform(0, 0.05 if wanted else 0.005))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(receive)
        sizes.add(ledger.stat().st_size if ledger.exists() else 0)
    assert len(sizes) > 3, sizes  # it was killed at several states
    child, last = start(tmp_path / "killed")
    assert os.waitpid(child, 0)[1] == 0
    os.close(whole)
    os.close(last)
    assert (tmp_path / "killed" / "gradebook.csv").read_bytes() == (tmp_path / "whole" / "gradebook.csv").read_bytes()
    assert sorted(json.loads(line)["student"] for line in ledger.open()) == names
