"""Lab 06: rank, scale, modules and mixed-in text on the skill of lab 05; and facts to be memorized at several ranks.

Adapters that are compared have alpha 32 at every rank, unless it is alpha that is looked at: then the best rate hardly
depends on the rank. Where conditions differ in what they want, each is tried at several rates.
"""

from collections.abc import Iterator

from labkit.runs.recipe import Recipe
from labkit.runs.recipes.hyperparameters import SKILL

RATES = (4e-3, 8e-3, 1.6e-2)
MLP, QV = "gate_proj,up_proj,down_proj", "q_proj,v_proj"
MODULES = {  # equal in number of trained weights to rank 4 on all linear layers, and at rank 16
    "all-r4": ("all-linear", 4),
    "mlp-r7": (MLP, 7),
    "qv-r19": (QV, 19),
    "mlp-r16": (MLP, 16),
    "qv-r16": (QV, 16),
}
SCALES = {1: (2, 8, 32), 64: (32, 64, 128)}  # alpha at a rank: fixed, α/r and α/√r fixed; at rank 16 all are 32
COMMON = 8e-3
FACT_RATES = {1: 8e-3, 4: 8e-3, 16: 8e-3}  # the best of `RATES` at 64 facts
FACTS = {64: 60, 128: 120, 256: 240}  # steps: each fact is seen 30 times


def recipes() -> Iterator[Recipe]:
    for name, (modules, rank) in MODULES.items():
        for lr in RATES:
            yield Recipe(f"modules-{name}-{lr:g}", "06", target_modules=modules, rank=rank, lr=lr, **SKILL)
    for rank, alphas in SCALES.items():
        for alpha in alphas:
            for lr in sorted({COMMON, *(float(f"{rate * 32 / alpha:.4g}") for rate in RATES)}):
                yield Recipe(f"scale-r{rank}-a{alpha}-{lr:g}", "06", rank=rank, alpha=alpha, lr=lr, **SKILL)
    mixed = SKILL | {"text_rows": 400, "steps": 125}  # a fifth of the rows is text; as many examples as without
    for lr in (4e-3, 8e-3):
        yield Recipe(f"mixed-lora-{lr:g}", "06", lr=lr, **mixed)
        yield Recipe(f"mixed-full-{lr / 2:g}", "06", method="full", lr=lr / 2, **mixed)
    for facts, steps in FACTS.items():
        memory = {"mix": f"facts-{facts}", "steps": steps, "validation_n": facts, "max_new_tokens": 24}
        for rank in (1, 4, 16):
            for lr in RATES if facts == min(FACTS) else (FACT_RATES[rank],):
                yield Recipe(f"facts-{facts}-r{rank}-{lr:g}", "06", rank=rank, lr=lr, **memory)
