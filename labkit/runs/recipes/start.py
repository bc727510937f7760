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
