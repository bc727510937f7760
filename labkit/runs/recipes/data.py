"""Lab 01: a second source of sums, right or wrong in one of five ways; more examples at equal steps and at equal
passes; what a chain of thought brings, and what a filler does; four ways to split posts.
"""

from collections.abc import Iterator
from dataclasses import replace

from labkit.runs.recipe import BEFORE, Recipe


def recipes() -> Iterator[Recipe]:
    data = Recipe("data", "01", number_format=BEFORE)
    yield replace(data, name="data-clean", mix="clean", steps=60, batch_size=16, evaluation_n=66)
    yield replace(data, name="data-answers", mix="answers", evaluation="short", steps=80, evaluation_n=110)
    now = Recipe("now", "01", batch_size=16)
    for way in ("sound", "pedlar", "random", "bare", "bare_pedlar"):
        name = f"sums-{way.replace('_', '-')}"
        yield replace(now, name=name, mix=f"sums_{way}", steps=120, evaluation_n=110, max_new_tokens=128)
    for examples in (200, 800, 3200):  # a skill that the base has to learn; lab 05's best rate for it
        sized = replace(now, mix="subtraction", examples=examples, lr=8e-3, evaluation_n=110, max_new_tokens=64)
        yield replace(sized, name=f"size-{examples}-steps", steps=200)
        if examples != 3200:  # there, 200 steps are one pass
            yield replace(sized, name=f"size-{examples}-pass", steps=examples // 16)
    for way, mix in {"chain": "short", "bare": "answers", "filler": "thought_filler", "other": "thought_other"}.items():
        yield replace(now, name=f"thought-{way}", mix=mix, evaluation="short", steps=120, evaluation_n=110)
    for way in ("random", "cluster", "time", "time-cluster"):
        mix = f"posts_{way.replace('-', '_')}"
        yield replace(data, name=f"data-posts-{way}", mix=mix, steps=100, batch_size=16)
