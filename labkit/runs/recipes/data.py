"""Lab 01: a pool, cleaned or not, all of it or little; answers without a chain of thought; four ways to split posts."""

from collections.abc import Iterator
from dataclasses import replace

from labkit.runs.recipe import BEFORE, Recipe


def recipes() -> Iterator[Recipe]:
    data = Recipe("data", "01", number_format=BEFORE)
    for mix in ("clean", "dirty"):
        pool = replace(data, name=f"data-{mix}", mix=mix, steps=60, batch_size=16, evaluation_n=66)
        yield pool
        yield replace(pool, name=f"data-{mix}-small", examples=120)
    yield replace(data, name="data-answers", mix="answers", evaluation="short", steps=80, evaluation_n=110)
    for way in ("random", "cluster", "time", "time-cluster"):
        mix = f"posts_{way.replace('-', '_')}"
        yield replace(data, name=f"data-posts-{way}", mix=mix, steps=100, batch_size=16)
