"""The recipes that are recorded, a file for each lab, by name."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec

from labkit.common import InputError
from labkit.runs.recipe import Recipe
from labkit.syllabus import LABS


def _recipes() -> Iterator[Recipe]:
    """Those of each lab that has a file here, in the order of the labs."""
    for topic in LABS:
        if find_spec(f"{__name__}.{topic}"):
            yield from import_module(f"{__name__}.{topic}").recipes()


RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in _recipes()}


def named(name: str) -> Recipe:
    if name not in RECIPES:
        raise InputError(f"there is no recipe {name!r}; there are {', '.join(RECIPES)}")
    return RECIPES[name]


def matching(pattern: str) -> list[Recipe]:
    """The recipes whose names a pattern means, in which * stands for anything; at least one."""
    return [RECIPES[name] for name in fnmatch.filter(RECIPES, pattern)] or [named(pattern)]
