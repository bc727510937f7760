"""Lab 00: the short mix, long enough and just enough, and two controls that must fail."""

from collections.abc import Iterator

from labkit.runs.recipe import BEFORE, Recipe


def recipes() -> Iterator[Recipe]:
    yield Recipe("sft-short", "00", steps=400, evaluation_n=500, **BEFORE)
    yield Recipe("sft-short-shuffled", "00", steps=400, evaluation_n=500, control="shuffled", **BEFORE)
    yield Recipe("sft-short-prompt", "00", steps=400, evaluation_n=500, control="prompt", **BEFORE)
    yield Recipe("sft-lab00", "00", steps=80, evaluation_n=110, **BEFORE)
