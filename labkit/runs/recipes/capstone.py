"""Lab 08: a run that can be defended, and three that cannot: dirty data, a split that leaks, no mask.

Written down before they ran. All see 4,000 rows, 16 at a step, from the pool of the run's seed, and are asked the same
120 questions. What else could make a difference, and its control:

- The rate that suits one may not suit another: each is tried at three rates on two seeds. All three were right most often at
  6e-3, so that is the rate of what is compared, on eight seeds.
- Steps and rows are equal. But about 73% of what is left of the dirty pool is sound, so a run on it sees fewer sound
  rows: `capstone-shorter` is the reference with 73% of the steps, which sees as many.
- The format is equal: the same template, number format and token budget.
- A leak concerns the *predicted* score more than the adapter: each `-held-out` asks the letters that were held out in
  that run's own split. The reference's is the control, because held-out letters and the scorer's questions are not
  drawn in the same way. Where nobody looked for near-duplicates, copies are trained on, too; `capstone-leaked` says
  what such an adapter is worth.
"""

from collections.abc import Iterator
from dataclasses import replace

from labkit.runs.recipe import Recipe

RATES = (3e-3, 6e-3, 1.2e-2)
CAPSTONE = Recipe(
    "capstone", "08", mix="capstone", steps=250, batch_size=16, lr=6e-3, validation_n=60, max_new_tokens=112,
)  # fmt: skip


def recipes() -> Iterator[Recipe]:
    kinds = {
        "reference": CAPSTONE,
        "dirty": replace(CAPSTONE, mix="capstone_dirty"),
        "unmasked": replace(CAPSTONE, mask="none"),
    }
    for kind, recipe in kinds.items():
        for lr in RATES:
            yield replace(recipe, name=f"capstone-{kind}-{lr:g}", lr=lr)
    yield replace(CAPSTONE, name="capstone-shorter", steps=183)
    yield replace(CAPSTONE, name="capstone-held-out", mix="capstone_held_out")
    yield replace(CAPSTONE, name="capstone-leaked", mix="capstone_leaked")
    yield replace(CAPSTONE, name="capstone-leaked-held-out", mix="capstone_leaked_held_out")
