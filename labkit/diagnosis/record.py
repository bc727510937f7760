"""The recorded runs that diagnosis is learned from and measured on.

`python -m labkit.diagnosis.record` makes what is missing of `labkit/records/diagnosis/`, a file of JSON lines for each
set-up, a line for each run; it continues where it was interrupted. Everything takes three hours on an idle core.
What they are measured with holds out all set-ups of one mix and base at a time (`groups`). Nothing here uses the rules.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labkit.diagnosis.clinic import Setup

FOLDER = Path(__file__).parents[1] / "records" / "diagnosis"
SMALL = "small"  # another base, made in minutes from the almanac's text: 3 layers, 128 wide

SETUPS: dict[str, dict[str, Any]] = {
    "digits-lora": {},
    "digits-all": {"trained": "all", "lr": 1e-3, "schedule": "linear", "eval_every": 8},
    "words-lora": {
        "mix": "words",
        "steps": 80,
        "rank": 8,
        "lr": 4e-3,
        "log_every": 4,
        "eval_every": 8,
        "schedule": "constant",
    },
    "answers-lora": {"mix": "answers", "steps": 48, "batch_size": 8, "rank": 32, "lr": 2e-3},
    "small-all": {
        "mix": "digits",
        "base": SMALL,
        "trained": "all",
        "lr": 1.5e-3,
        "steps": 72,
        "log_every": 2,
        "schedule": "linear",
    },
    "sums-last": {"mix": "sums", "trained": "last 2", "lr": 1.5e-3, "steps": 80, "log_every": 5, "eval_every": 10},
    "strengths": {
        "mix": "sums",
        "lr": 4e-3,
        "steps": 63,
        "batch_size": 16,
        "log_every": 3,
        "eval_every": 9,
        "schedule": "constant",
    },
    "dates-lora": {
        "mix": "dates",
        "rank": 4,
        "lr": 4e-3,
        "steps": 60,
        "batch_size": 10,
        "log_every": 2,
        "eval_every": 10,
        "schedule": "linear",
    },
    "small-lora": {"mix": "words", "base": SMALL, "lr": 4e-3, "steps": 90, "log_every": 3, "eval_every": 9},
    "dates-all": {"mix": "dates", "trained": "all", "lr": 8e-4, "steps": 50, "batch_size": 16, "eval_every": 5},
    "answers-last": {
        "mix": "answers",
        "base": SMALL,
        "trained": "last 2",
        "lr": 1.5e-3,
        "steps": 64,
        "batch_size": 8,
        "log_every": 4,
    },
    "letters-lora": {"mix": "letters", "rank": 8, "lr": 3e-3, "steps": 70, "log_every": 2, "eval_every": 10},
    "letters-all": {
        "mix": "letters",
        "trained": "all",
        "lr": 1e-3,
        "steps": 60,
        "batch_size": 10,
        "log_every": 3,
        "eval_every": 6,
        "schedule": "linear",
    },
    "small-dates": {
        "mix": "dates",
        "base": SMALL,
        "trained": "all",
        "lr": 1.5e-3,
        "steps": 64,
        "batch_size": 14,
        "log_every": 4,
    },
    "small-sums": {
        "mix": "sums",
        "base": SMALL,
        "lr": 4e-3,
        "steps": 100,
        "log_every": 5,
        "eval_every": 10,
        "schedule": "constant",
    },
}
STRENGTHS = {
    "digits-all": (2,),
    "words-lora": (1,),
    "strengths": (0, 3),
    "dates-all": (0, 3),
}  # places in a case's `strengths`
MIDDLE = (1, 2)  # elsewhere


def setups() -> dict[str, Setup]:
    from labkit.diagnosis.clinic import Setup

    return {name: Setup(name, **values) for name, values in SETUPS.items()}


def groups() -> list[list[str]]:
    """The set-ups' names, those together that learn from the same mix over the same base."""
    found: dict[tuple[str, str], list[str]] = {}
    for name, values in SETUPS.items():
        found.setdefault((values.get("mix", "digits"), values.get("base", "")), []).append(name)
    return list(found.values())


def wanted(setup: str) -> Iterator[tuple[str, int, int]]:
    """(case, which of its strengths, seed) of every run of a set-up: two for each case, of different seeds."""
    from labkit.diagnosis.clinic import CASES

    offset = 100 * [*SETUPS].index(setup)
    for turn, place in enumerate(STRENGTHS.get(setup, MIDDLE)):
        for number, case in enumerate(CASES.values()):
            yield case.name, min(place, len(case.strengths) - 1), offset + 2 * number + turn


def recorded(setup: str, folder: Path = FOLDER) -> list[dict]:
    """The runs of a set-up: `case, cause, strength, seed, log`. None in a log stands for NaN."""
    path = folder / f"{setup}.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []


def history(run: dict) -> dict[str, list]:
    """A recorded run's log, with NaN where JSON has None."""
    return {name: [math.nan if value is None else value for value in values] for name, values in run["log"].items()}


def record(setup: Setup, folder: Path = FOLDER, only: str | None = None) -> None:
    """Run what is not recorded yet, and add a line for each run."""
    from labkit.diagnosis import clinic

    done = {(run["case"], run["strength"], run["seed"]) for run in recorded(setup.name, folder)}
    for name, place, seed in wanted(setup.name):
        if (name, place, seed) in done or (only and name != only):
            continue
        started, case = time.perf_counter(), clinic.CASES[name]
        log = clinic.run(clinic.plan(setup, case, case.strengths[place], seed))
        kept = {column: [short(value) for value in values] for column, values in log.items()}
        line = {"case": name, "cause": case.cause, "strength": place, "seed": seed, "log": kept}
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / f"{setup.name}.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(line, separators=(",", ":")) + "\n")
        print(f"{setup.name} {name} {place} {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)


def short(value: float) -> float | None:
    """Four significant digits; what is no number becomes None."""
    if isinstance(value, int):
        return value
    if not math.isfinite(value):
        return None
    short = float(f"{value:.4g}")
    return int(short) if short == int(short) else short


def small_base(folder: Path) -> Path:
    """A base of another width and depth, trained for about four minutes on the almanac's text with the kit's tokenizer."""
    import torch

    from labkit import models
    from labkit.workshop.pretraining import Plan, train

    if not (folder / "config.json").is_file():
        plan = Plan(hidden=128, feed_forward=320, layers=3, heads=4, steps=450, tokens_per_step=2560, long_every=10**9)
        tokenizer = models.load_tokenizer()
        folder.mkdir(parents=True, exist_ok=True)
        model: Any = train(plan, tokenizer, folder)[0]
        model.to("cpu", torch.float32).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folder


def main(arguments: list[str] | None = None) -> int:
    import dataclasses

    parser = argparse.ArgumentParser(prog="python -m labkit.diagnosis.record", description=__doc__.splitlines()[0])
    parser.add_argument("setup", nargs="*", metavar="SETUP", help=f"{', '.join(SETUPS)}; or all")
    parser.add_argument("--case", help="only this case")
    parser.add_argument("--small-base", type=Path, metavar="FOLDER", default=Path("small-base"), help="made if missing")
    args = parser.parse_args(arguments)
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    for name, setup in setups().items():
        if args.setup and name not in args.setup:
            continue
        if setup.base == SMALL:
            setup = dataclasses.replace(setup, base=str(small_base(args.small_base)))
        record(setup, only=args.case)
    return 0


if __name__ == "__main__":
    sys.exit(main())
