"""The attack corpus (`tests/attacks/`): hostile submissions, one at a time, each with an honest neighbour behind it."""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import tempfile
from pathlib import Path

from labkit import cluster
from labkit.grading.judge import work


def _oracle():
    path = Path(__file__).parents[1] / "tests" / "attacks" / "oracle.py"
    spec = importlib.util.spec_from_file_location("attack_oracle", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["attack_oracle"] = module
    spec.loader.exec_module(module)
    return module


def main(args: argparse.Namespace) -> dict:
    oracle = _oracle()
    held, outcomes = 0, {}
    with tempfile.TemporaryDirectory() as folder, oracle.Oracle(Path(folder)) as judge:
        jobs = [job for n, attack in enumerate(oracle.ATTACKS) for job in (judge.job(attack), judge.neighbour(n))]
        lines = cluster.map(work, jobs, workers=1)
        for number, attack in enumerate(oracle.ATTACKS):
            outcome = judge.judge(attack, lines[2 * number])
            broken = list(outcome.broken)
            if json.loads(lines[2 * number + 1])["points"] != 1:
                broken.append("touched its neighbour's grade")
            held += not broken
            outcomes[outcome.name] = broken
            print(f"{'held' if not broken else 'BROKEN':<7} {outcome.seconds:>5.1f} s  {outcome.name}: {outcome.tries}; {', '.join(broken)}")
    left = oracle.leftovers()
    print(f"{held} of {len(outcomes)} held; left behind: {', '.join(left) or 'nothing'}")
    return {"total": len(outcomes), "held": held, "left_behind": len(left), "ok": held == len(outcomes) and not left}
