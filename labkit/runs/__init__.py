"""Recipes, their recorded runs, and runs made now.

A `Recipe` (recipe.py, and recipes/ for those that ship) names everything that decides a run. Its `Record` (record.py)
ships with the kit. execution.py runs and records, compare.py gives differences with intervals, show.py is what a
notebook calls, and command.py and replay.py are `labkit runs` and `labkit run`.
"""

from labkit.runs.compare import Interval, interval, paired_difference, paired_text_loss, pooled, share, t_quantile
from labkit.runs.execution import (
    best,
    best_rate,
    best_rates,
    digest,
    execute,
    execute_together,
    is_right,
    mix,
    rebuild,
    rebuild_all,
    settings,
    shuffle_answers,
    text_rows,
    trained,
    trained_beside,
    training_rows,
)
from labkit.runs.recipe import Recipe, base_digest
from labkit.runs.recipes import RECIPES, named
from labkit.runs.record import Outcome, Record, machine, recorded, stale, versions
from labkit.runs.show import MyRuns, Run, my_runs, run, summary

__all__ = [
    "RECIPES",
    "Interval",
    "MyRuns",
    "Outcome",
    "Recipe",
    "Record",
    "Run",
    "base_digest",
    "best",
    "best_rate",
    "best_rates",
    "digest",
    "execute",
    "execute_together",
    "interval",
    "is_right",
    "machine",
    "mix",
    "my_runs",
    "named",
    "paired_difference",
    "paired_text_loss",
    "pooled",
    "rebuild",
    "rebuild_all",
    "recorded",
    "run",
    "settings",
    "share",
    "shuffle_answers",
    "stale",
    "summary",
    "t_quantile",
    "text_rows",
    "trained",
    "trained_beside",
    "training_rows",
    "versions",
]
