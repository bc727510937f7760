"""Lab 04: masked, unmasked and partly weighted on questions about passages (four budgets) and the long mix (two), each
at several rates; the planted failures on the short mix.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from labkit.runs.recipe import BEFORE, Recipe


def recipes() -> Iterator[Recipe]:
    sound = Recipe(
        "mask-sound",
        "04",
        examples=640,
        steps=40,
        batch_size=16,
        evaluation_n=110,
        max_new_tokens=128,
        number_format=BEFORE,
    )
    long = replace(sound, mix="long", examples=320, steps=20)
    yield replace(long, name="mask-masked-0.003", lr=3e-3)
    # Questions about passages: prompts are nine tenths of the tokens, answers are bare, and no prompt holds an answer.
    budget = Recipe("budget", "04", mix="passages", batch_size=8, evaluation_n=110, max_new_tokens=24, validation_n=48)
    budget = replace(budget, validation_mask="completion")
    ways: dict[str, dict[str, Any]] = {"masked": {}, "tenth": {"prompt_weight": 0.1}, "unmasked": {"mask": "none"}}
    for name, way in ways.items():
        for lr in (1.5e-3, 4.5e-3, 1.35e-2):
            for steps in (20, 40, 80, 160):
                yield replace(budget, name=f"budget-{name}-{steps}-{lr:g}", steps=steps, lr=lr, **way)
            yield replace(budget, name=f"few-{name}-{lr:g}", steps=40, lr=lr, examples=64, **way)
    # The same on the long mix, one pass each: examples of every family, with long prompts and chains of thought.
    passes = Recipe("longer", "04", mix="long", batch_size=16, evaluation_n=110, max_new_tokens=128, validation_n=48)
    passes = replace(passes, validation_mask="completion")
    for name, way in ways.items():
        for lr in (1.5e-3, 4.5e-3, 1.35e-2):
            for steps in (20, 40):
                yield replace(
                    passes, name=f"longer-{name}-{steps}-{lr:g}", steps=steps, examples=16 * steps, lr=lr, **way
                )
    yield replace(long, name="mask-partial", mask="partial")
    yield sound
    for fault in ("template", "truncated", "late", "shifted"):
        yield replace(sound, name=f"mask-{fault}", fault=fault)
    again = replace(sound, number_format="float32")
    yield replace(again, name="fault-sound")
    for fault in ("prompt_trained", "shifted_early", "no_end_token"):
        yield replace(again, name=f"fault-{fault.replace('_', '-')}", fault=fault)
    yield replace(sound, name="mask-end", stop="unknown")
    yield replace(sound, name="mask-no-end", stop="unknown", fault="no_end_token")
