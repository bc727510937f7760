"""Lab 05: subtraction, which has to be learned, at many rates; batches, schedules and passes over the data.

A run sees 1,600 worked examples, 16 at a step, each once. At this size the good rates are right on more than half of
the questions and the poor ones on few, so that the scores can be told apart.
"""

from collections.abc import Iterator

from labkit.runs.recipe import Recipe

SKILL = {"mix": "subtraction", "examples": 1600, "steps": 100, "batch_size": 16, "validation_n": 64}
SKILL |= {"evaluation_n": 150, "max_new_tokens": 64}
LORA_RATES = (1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2, 3.2e-2)
FULL_RATES = (5e-4, 1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2)
DEFAULTS = {"full": (2e-5, 5e-5), "lora": (5e-5, 2e-4)}  # TRL's and transformers'; transformers' and what guides say


def recipes() -> Iterator[Recipe]:
    for lr in DEFAULTS["lora"] + LORA_RATES:
        yield Recipe(f"rate-lora-{lr:g}", "05", lr=lr, **SKILL)
    for lr in DEFAULTS["full"] + FULL_RATES:
        yield Recipe(f"rate-full-{lr:g}", "05", method="full", lr=lr, **SKILL)
    for batch, rates in ((4, (2e-3, 4e-3, 8e-3)), (64, (8e-3, 1.6e-2, 3.2e-2))):  # the same examples, each once
        for lr in rates:
            yield Recipe(f"batch-{batch}-{lr:g}", "05", lr=lr, **SKILL | {"batch_size": batch, "steps": 1600 // batch})
    for name, fields in (("constant", {"schedule": "constant"}), ("linear", {"schedule": "linear"}), ("unwarmed", {})):
        for lr in (4e-3, 8e-3):
            warmup = 0.0 if name == "unwarmed" else 0.05
            yield Recipe(f"schedule-{name}-{lr:g}", "05", lr=lr, warmup=warmup, **fields, **SKILL)
    for examples in (400, 100):  # the same number of steps: seen 4 times, and 16 times
        yield Recipe(f"epochs-{examples}", "05", lr=8e-3, eval_every=10, **SKILL | {"examples": examples})
