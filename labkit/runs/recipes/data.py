"""Lab 01: a pool, cleaned or not, all of it or little; answers without a chain of thought; four ways to split posts."""

from collections.abc import Iterator

from labkit.runs.recipe import BEFORE, Recipe


def recipes() -> Iterator[Recipe]:
    pool = {"steps": 60, "batch_size": 16, "evaluation_n": 66, **BEFORE}
    for mix in ("clean", "dirty"):
        yield Recipe(f"data-{mix}", "01", mix=mix, **pool)
        yield Recipe(f"data-{mix}-small", "01", mix=mix, examples=120, **pool)
    yield Recipe("data-answers", "01", mix="answers", evaluation="short", steps=80, evaluation_n=110, **BEFORE)
    for way in ("random", "cluster", "time", "time-cluster"):
        mix = f"posts_{way.replace('-', '_')}"
        yield Recipe(f"data-posts-{way}", "01", mix=mix, steps=100, batch_size=16, **BEFORE)
