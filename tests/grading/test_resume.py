"""Killed at any moment and started again, grading comes to the same gradebook, and each submission stands once in the ledger."""

import json
import multiprocessing
import os
import random

from workers import grade_one_by_one

KILLS = 2 * int(os.environ.get("LABKIT_TEST_GRADINGS", "8"))  # 25 for fifty


def test_killed_at_many_moments_it_comes_to_the_same(tmp_path):
    """After some submissions, or while the pages are written. Each process is a fork of one that has only imported."""
    names = [f"s{number:03d}" for number in range(48)]
    for name in names:
        (tmp_path / "in" / name).mkdir(parents=True)
        (tmp_path / "in" / name / "01_data.ipynb").write_text(json.dumps({"cells": [], "of": name}))
    apart = multiprocessing.get_context("forkserver")
    apart.set_forkserver_preload(["workers", "labkit.cli", "labkit.grading.command"])

    def start(out):
        """(the process that grades, a pipe with a word for each submission that is kept, and then an end)."""
        receive, send = apart.Pipe(duplex=False)
        options = ["grade", str(tmp_path / "in"), "--out", str(out), "--seed", "1", "--unsandboxed"]
        process = apart.Process(target=grade_one_by_one, args=(options, send))
        process.start()
        send.close()
        return process, receive

    def ended(process, receive):
        process.join()
        receive.close()
        return process.exitcode

    assert ended(*start(tmp_path / "whole")) == 0
    chance, ledger, sizes = random.Random(0), tmp_path / "killed" / "ledger.jsonl", set()
    for kill in range(KILLS):
        process, receive = start(tmp_path / "killed")
        try:
            for _ in range(chance.randrange(1, 3 * len(names) // KILLS)):  # and from then on it goes on
                receive.recv_bytes()
            while kill == KILLS - 1:  # the last one is killed while it writes the pages
                receive.recv_bytes()
        except EOFError:
            pass
        process.kill()
        assert ended(process, receive) in (-9, 0)
        sizes.add(ledger.stat().st_size)
    assert len(sizes) > 3, sizes  # it was killed at several states
    assert ended(*start(tmp_path / "killed")) == 0
    assert (tmp_path / "killed" / "gradebook.csv").read_bytes() == (tmp_path / "whole" / "gradebook.csv").read_bytes()
    assert sorted(json.loads(line)["student"] for line in ledger.open()) == names
