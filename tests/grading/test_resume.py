"""Killed at any moment and started again, grading comes to the same gradebook, and each submission stands once in the ledger."""

import json
import os
import random
import signal
import time

from labkit import cluster
from labkit.cli import main
from labkit.grading import judge


def one_by_one(function, items, *, progress, **_):
    """`cluster.map` with lines that need no kernel, so that many runs are quick."""
    for index, job in enumerate(items):
        time.sleep(0.02)
        progress(index, json.dumps(judge._line(job, judge.digest(job), "graded", {})))


def test_killed_fifty_times_it_comes_to_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "map", one_by_one)
    names = [f"s{number:03d}" for number in range(120)]
    for name in names:
        (tmp_path / "in" / name).mkdir(parents=True)
        (tmp_path / "in" / name / "01_data.ipynb").write_text(json.dumps({"cells": [], "of": name}))

    def start(out):
        child = os.fork()
        if child == 0:
            os._exit(main(["grade", str(tmp_path / "in"), "--out", str(out), "--seed", "1", "--unsandboxed"]))
        return child

    assert os.waitpid(start(tmp_path / "whole"), 0)[1] == 0
    moments, ledger, sizes = random.Random(0), tmp_path / "killed" / "ledger.jsonl", set()
    for _ in range(50):
        child = start(tmp_path / "killed")
        time.sleep(moments.uniform(0.05, 0.7))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        sizes.add(ledger.stat().st_size if ledger.exists() else 0)
    assert len(sizes) > 5, sizes  # it was killed at many states
    assert os.waitpid(start(tmp_path / "killed"), 0)[1] == 0
    assert (tmp_path / "killed" / "gradebook.csv").read_bytes() == (tmp_path / "whole" / "gradebook.csv").read_bytes()
    assert sorted(json.loads(line)["student"] for line in ledger.open()) == names
