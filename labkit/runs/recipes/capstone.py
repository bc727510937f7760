"""Lab 08: a run that can be defended, and three that cannot: dirty data, a split that leaks, no mask.

Written down before any of them ran. All see 2,400 rows, 16 at a step, from the pool of the run's seed, and are asked
the same 120 questions. What else could make the difference, and the control for it:

- the rate that suits one may not suit another: each is tried at three rates, and the best of them is recorded;
- number of steps and of rows: equal. The dirty pool is larger, so each of its rows is seen less often: `capstone-few`
  is the reference on as few of the pool's clean letters as the dirty pool has of other faults, seen more often;
- format: the same number format, template and token budget in all;
- leaking concerns the *predicted* score, not the adapter: `-held-out` asks each kind's own held-out letters. The
  reference's own prediction is the control, because held-out letters and the scorer's questions are not the same mix.
"""

from collections.abc import Iterator
from dataclasses import replace

from labkit.runs.recipe import Recipe

RATES = (3e-3, 6e-3, 1.2e-2)
CAPSTONE = Recipe(
    "capstone-reference", "08", mix="capstone", steps=150, batch_size=16, lr=6e-3, validation_n=60, max_new_tokens=96,
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
    yield replace(CAPSTONE, name="capstone-reference-held-out", mix="capstone_held_out")
    yield replace(CAPSTONE, name="capstone-leaked", mix="capstone_leaked")
    yield replace(CAPSTONE, name="capstone-leaked-held-out", mix="capstone_leaked_held_out")
    yield replace(CAPSTONE, name="capstone-few", examples=500)
