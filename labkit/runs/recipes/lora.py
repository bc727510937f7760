"""Lab 06: modules, rank and mixed-in text on the skill of lab 05; and facts to be memorized at several ranks.

Adapters that are compared have alpha 32 at every rank, because then the best rate hardly depends on the rank. Where
conditions differ in what they want, each is tried at several rates.
"""

from collections.abc import Iterator
from dataclasses import replace

from labkit.runs.recipe import Recipe
from labkit.runs.recipes.hyperparameters import SKILL

RATES = (4e-3, 8e-3, 1.6e-2)
MODULES = {  # equal in number of trained weights
    "all-r4": ("all-linear", 4),
    "mlp-r7": ("gate_proj,up_proj,down_proj", 7),
    "qv-r19": ("q_proj,v_proj", 19),
}
EQUAL_RANK = {"mlp": "gate_proj,up_proj,down_proj", "qv": "q_proj,v_proj"}  # rank 16; all-linear is lab 05's LoRA
SCALES = {  # (rank, alpha): rates. At rank 16 and alpha 32 all conventions are the same run
    "alpha": {(64, 32): RATES},  # and rank 4 at alpha 32, which is modules-all-r4
    "ratio": {(4, 8): (8e-3, 1.6e-2, 3.2e-2), (64, 128): (2e-3, 4e-3, 8e-3)},  # alpha/r is 2
    "root": {(4, 16): RATES, (64, 64): (4e-3, 8e-3, 1.6e-2)},  # alpha/√r is 8
}
RANKS = (1, 4, 16)
FACTS = {64: 60, 128: 120}  # steps: each fact is seen 30 times
FACT_RATE = 8e-3  # at every rank the best of `RATES` at 64 facts


def recipes() -> Iterator[Recipe]:
    skill = replace(SKILL, lab="06")
    for name, (modules, rank) in MODULES.items():
        for lr in (*RATES, 3.2e-2):
            yield replace(skill, name=f"modules-{name}-{lr:g}", target_modules=modules, rank=rank, lr=lr)
    for name, modules in EQUAL_RANK.items():
        for lr in (*RATES, 3.2e-2):
            yield replace(skill, name=f"modules-{name}-r16-{lr:g}", target_modules=modules, lr=lr)
    for convention, settings in SCALES.items():
        for (rank, alpha), rates in settings.items():
            for lr in rates:
                yield replace(skill, name=f"scale-{convention}-r{rank}-{lr:g}", rank=rank, alpha=alpha, lr=lr)
    for lr in (4e-3, 5.7e-3, 8e-3, 1.13e-2, 1.6e-2):  # in steps of √2, so that none wins by the luck of its grid
        yield replace(skill, name=f"variant-lora-{lr:g}", lr=lr)
        yield replace(skill, name=f"variant-dora-{lr:g}", variant="dora", lr=lr)
        yield replace(skill, name=f"variant-plus-{lr / 4:g}", b_ratio=16, lr=lr / 4)
    for size in (4, 64):  # beside LoRA's, of lab 05
        for lr in (1e-3, 2e-3, 4e-3, 8e-3):
            name = f"batch-full-{size}-{lr:g}"
            yield replace(skill, name=name, method="full", lr=lr, batch_size=size, steps=1600 // size)
    # a fifth of the rows is text; as many examples as without
    yield replace(skill, name="mixed-lora-0.008", text_rows=400, steps=125)
    for facts, steps in FACTS.items():
        for rank in RANKS:
            for lr in RATES if facts == min(FACTS) else (FACT_RATE,):
                yield Recipe(
                    f"facts-{facts}-r{rank}-{lr:g}", "06", mix=f"facts-{facts}", rank=rank, lr=lr, steps=steps,
                    validation_n=facts, max_new_tokens=24,
                )  # fmt: skip
    # the control: is rank 1 full, or only slow? Each of 128 facts is seen 120 times
    yield Recipe(
        "long-facts-128-r1", "06", mix="facts-128", rank=1, lr=FACT_RATE, steps=480, validation_n=128, max_new_tokens=24,
    )  # fmt: skip
