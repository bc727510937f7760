"""Lab 07: the skill of lab 05, learned by an adapter over a base of which 4, 3 or 2 bits a weight are kept.

Steps, examples, rank and seeds are those of lab 05's LoRA and full fine-tuning, and each has its own best of the same
rates. The bases of 3 and 2 bits are the control: had their scores not fallen either, the task could not show what a
quantized base loses. `bits-4` is NF4 without bitsandbytes, `qlora` is bitsandbytes with double quantization.
"""

from collections.abc import Iterator
from dataclasses import replace

from labkit.runs.recipe import Recipe
from labkit.runs.recipes.hyperparameters import SKILL

RATES = (4e-3, 8e-3, 1.6e-2)
BITS = (4, 3, 2)


def recipes() -> Iterator[Recipe]:
    skill = replace(SKILL, lab="07")
    for lr in RATES:
        yield replace(skill, name=f"qlora-{lr:g}", method="qlora", lr=lr)
        for bits in BITS:
            yield replace(skill, name=f"bits-{bits}-{lr:g}", base_bits=bits, lr=lr)
