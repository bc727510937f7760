"""Functions for the tests' worker processes, which import them by name."""

import dataclasses
import os
import time

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
