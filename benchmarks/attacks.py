"""The attack corpus (`tests/attacks/`): hostile submissions, one at a time, each with an honest neighbour behind it.

Beside ours stands what plain nbval and nbgrader make of the same files, each in a throw-away namespace
(`tests/attacks/peers.py` says which), judged by the same oracle. `total` and `held` are ours. Run by itself this takes
the beginnings of names: `python benchmarks/attacks.py 55 60`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from labkit import cluster
from labkit.grading.command import progress
from labkit.grading.judge import work
from labkit.live import Line
from labkit.workshop import bench

AT_ONCE = 2  # of the peers' namespaces


def main(args: argparse.Namespace) -> dict:
    here = Path(__file__).resolve()
    sys.path.insert(0, str(here.parents[1] / "tests" / "attacks"))
    import oracle
    import peers

    chosen = [path for path in oracle.ATTACKS if path.name.startswith(tuple(getattr(args, "attacks", None) or ("",)))]
    with tempfile.TemporaryDirectory() as folder, oracle.Oracle(Path(folder)) as judge:
        ours = graded(oracle, judge, chosen)
    left = oracle.leftovers()
    with tempfile.TemporaryDirectory() as folder:
        theirs = beside(peers, oracle, bench.load(here.with_name("grade.py")), chosen, Path(folder))
    for attack in chosen:
        outcome, broken = ours[attack.stem]
        said = "; ".join(f"{peer}: {', '.join(found[attack.stem]) or 'held'}" for peer, found in theirs.items())
        print(
            f"{'BROKEN' if broken else 'held':<7} {outcome.seconds:>5.1f} s  {attack.stem}: {outcome.tries}; "
            f"{', '.join([*broken, said])}"
        )
    held = {peer: sum(not broken for broken in found.values()) for peer, found in theirs.items()}
    mine = sum(not broken for _, broken in ours.values())
    others = "".join(f"; under {peer} {count}" for peer, count in held.items())
    print(f"{mine} of {len(chosen)} held{others}; left behind: {', '.join(left) or 'nothing'}")
    figures = {"total": len(chosen), "held": mine, **{f"{peer}_held": count for peer, count in held.items()}}
    table = {
        stem: {"labkit": broken, **{peer: theirs[peer][stem] for peer in theirs}} for stem, (_, broken) in ours.items()
    }
    return figures | {"left_behind": len(left), "ok": mine == len(chosen) and not left, "attacks": table}


def graded(oracle, judge, attacks: list[Path]) -> dict[str, tuple]:
    """{attack: (its outcome here, what did not hold)}; each is looked at before the one after the next begins."""
    outcomes, broken = {}, {attack.stem: [] for attack in attacks}

    shown, began = Line(), time.monotonic()

    def look(index: int, line: str) -> None:
        attack = attacks[index // 2]
        shown.show(progress(index + 1, len(jobs), time.monotonic() - began), (index + 1) / len(jobs))
        if index % 2 == 0:
            outcomes[attack.stem] = judge.judge(attack, line)
            broken[attack.stem] += outcomes[attack.stem].broken
        elif json.loads(line)["points"] != 1:
            broken[attack.stem].append("touched its neighbour's grade")

    jobs = [job for n, attack in enumerate(attacks) for job in (judge.job(attack), judge.neighbour(n))]
    cluster.map(work, jobs, workers=1, progress=look)
    shown.close()
    return {stem: (outcomes[stem], broken[stem]) for stem in broken}


def beside(peers, oracle, grade, attacks: list[Path], folder: Path) -> dict[str, dict[str, list[str]]]:
    """{peer: {attack: what did not hold}}; of nbgrader nothing where it cannot be had."""
    site = grade.peer()
    courses: dict[str, Path] = {}
    for exercise in {oracle.exercise_of(attack).id: oracle.exercise_of(attack) for attack in attacks}.values():
        courses[exercise.id] = folder / exercise.id
        if site is None:
            courses[exercise.id].mkdir()
        else:
            grade.course(courses[exercise.id], "lab", {exercise.id: grade.stub(exercise)}, site)
    folder.chmod(0o755)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        runs = {
            peer: [
                pool.submit(peers.graded, peer, each, courses[oracle.exercise_of(each).id], site or "")
                for each in attacks
            ]
            for peer in peers.PEERS
            if peer != "nbgrader" or site is not None
        }
        return {peer: {each.stem: run.result() for each, run in zip(attacks, found)} for peer, found in runs.items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("attacks", nargs="*", metavar="NAME")
    print(json.dumps(main(parser.parse_args())))
