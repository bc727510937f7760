"""Lab 00: the short mix, long enough and just enough, and two controls that must fail."""

from collections.abc import Iterator
from dataclasses import replace

from labkit.runs.recipe import BEFORE, Recipe


def recipes() -> Iterator[Recipe]:
    short = Recipe("sft-short", "00", steps=400, evaluation_n=500, number_format=BEFORE)
    yield short
    yield replace(short, name="sft-short-shuffled", control="shuffled")
    yield replace(short, name="sft-short-prompt", control="prompt")
    yield replace(short, name="sft-lab00", steps=80, evaluation_n=110)
    known = Recipe("known", "00", mix="knowledge_none", batch_size=16)
    for steps in (80, 320):
        yield replace(known, name=f"knowledge-none-{steps}", steps=steps)
        yield replace(known, name=f"knowledge-taught-{steps}", mix="knowledge_taught", steps=steps)
