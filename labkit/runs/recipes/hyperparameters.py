"""Lab 05: subtraction, which has to be learned, at many rates; batches and schedules.

A run sees 1,600 worked examples, 16 at a step, each once. At this size the good rates are right on more than half of
the questions and the poor ones on few, so that the scores can be told apart.
"""

from collections.abc import Iterator
from dataclasses import replace

from labkit.runs.recipe import Recipe

SKILL = Recipe(
    "skill", "05", mix="subtraction", examples=1600, steps=100, batch_size=16, lr=8e-3, validation_n=64,
    evaluation_n=150, max_new_tokens=64,
)  # fmt: skip
LORA_RATES = (1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2, 3.2e-2)
FULL_RATES = (5e-4, 1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2)
DEFAULTS = {"full": (2e-5, 5e-5), "lora": (5e-5, 2e-4)}  # TRL's and transformers'; transformers' and what guides say
BATCH_RATES = {4: (2e-3, 4e-3, 8e-3), 64: (4e-3, 8e-3, 1.6e-2, 3.2e-2)}


def recipes() -> Iterator[Recipe]:
    for lr in DEFAULTS["lora"] + LORA_RATES:
        yield replace(SKILL, name=f"rate-lora-{lr:g}", lr=lr)
    for lr in DEFAULTS["full"] + FULL_RATES:
        yield replace(SKILL, name=f"rate-full-{lr:g}", method="full", lr=lr)
    for batch, rates in BATCH_RATES.items():  # the same examples, each once
        for lr in rates:
            yield replace(SKILL, name=f"batch-{batch}-{lr:g}", lr=lr, batch_size=batch, steps=1600 // batch)
    # the control: as many steps as a batch of 16 gets, so four times as many rows, each example twice
    yield replace(SKILL, name="batch-64-long", batch_size=64, examples=None)
    for lr in (2e-3, 4e-3, 8e-3, 1.6e-2):
        yield replace(SKILL, name=f"schedule-constant-{lr:g}", lr=lr, schedule="constant")
        yield replace(SKILL, name=f"schedule-linear-{lr:g}", lr=lr, schedule="linear")
        yield replace(SKILL, name=f"schedule-unwarmed-{lr:g}", lr=lr, warmup=0.0)
