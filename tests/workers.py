"""Functions for the tests' worker processes, which import them by name."""

import argparse
import dataclasses
import json
import multiprocessing
import os
import signal
import sys
import time
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path

from labkit.common import InputError
from labkit.runs import Outcome, Recipe


def square(number: int) -> tuple[int, int, str]:
    """(its square, the process, how many threads it may use); misbehaves for some numbers."""
    print("noise on standard output")
    if number == 13:
        raise ValueError("not thirteen")
    if number == 14:
        os._exit(3)
    if number == 15:
        return lambda: None  # cannot be handed back
    if number == 16:
        time.sleep(60)
    return number * number, os.getpid(), os.environ["OMP_NUM_THREADS"]


def outcome(recipe: Recipe) -> Outcome:
    """What a run might leave, made up from the recipe; fails for the seed that LABKIT_TEST_FAILS names."""
    if os.environ.get("LABKIT_TEST_FAILS") == str(recipe.seed):
        raise InputError("this seed fails")
    correct = 80 + recipe.seed % 5 + (3 if recipe.method == "full" else 0)
    score = {"n": 100, "correct": correct, "share": correct / 100, "low": 0.7, "high": 0.95, "cot": None}
    return Outcome(
        seed=recipe.seed,
        score=score,
        by_task={"sums": score},
        right="1" * correct + "0" * (100 - correct),
        questions="q",
        trained_on="t",
        history={"step": [1, 2], "loss": [4.0, None]},
        trainable=1,
        total=10,
        train_seconds=1.5,
        seconds=2.0,
        machine="a machine",
        versions={"made in process": str(os.getpid())},
        date="2026-11-23",
    )


def outcome_of_others(recipe: Recipe) -> Outcome:
    return dataclasses.replace(outcome(recipe), questions="others")


def apart() -> ForkServerContext:
    """Where processes are forks of one that has imported what training needs and done nothing else.

    A fork of the tests' own process would have its locks, and none of the threads that were to open them.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["workers", "labkit.sft", "labkit.scale", "trl.trainer.sft_trainer"])
    return context


def sft(options: list[str], after: float | None, told: Path) -> None:
    """`labkit sft` in a process that dies after so many seconds of its own work; `told` gets how many it took."""
    import torch

    from labkit import cli, sft

    torch.set_num_threads(1)
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    begin, started = sft._Run.begun, []

    def begun(self):
        started.append(time.process_time())
        if after is not None:
            signal.setitimer(signal.ITIMER_PROF, after)  # whose signal nothing handles: as sudden as SIGKILL
        return begin(self)

    sft._Run.begun = begun
    status = cli.main(["sft", *options])
    if started:  # or else the run was finished already
        told.write_text(repr(time.process_time() - started[0]))
    os._exit(status)


def scale(options: list[str], log: Path, dies_at: int | None, env: dict[str, str]) -> None:
    """`labkit.scale` in a process that dies at the beginning of that step."""
    os.environ |= env
    import torch
    import trl

    from labkit import scale

    torch.set_num_threads(1)
    sys.stdout = sys.stderr = open(log, "w", encoding="utf-8", buffering=1)
    begin, seen = trl.SFTTrainer.training_step, []

    def step(self, *args, **more):
        seen.append(True)
        if len(seen) == dies_at:
            os._exit(9)
        return begin(self, *args, **more)

    trl.SFTTrainer.training_step = step
    parser = argparse.ArgumentParser()
    scale.add_arguments(parser)
    try:
        status = scale.main(parser.parse_args(options))
    except InputError as error:
        print(error)
        status = 2
    os._exit(status)


def grade_one_by_one(options: list[str], kept: Connection) -> None:
    """`labkit grade` with lines that need no kernel; `kept` gets a word for each, and is closed before the pages."""
    from labkit import cli, cluster
    from labkit.grading import judge

    def in_turn(function, items, *, progress, **_):
        for index, job in enumerate(items):
            progress(index, json.dumps(judge._line(job, judge.digest(job), "graded", {})))
            kept.send_bytes(b"kept")
        kept.close()

    cluster.map = in_turn
    os._exit(cli.main(options))
