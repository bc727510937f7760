"""Runs in a notebook: `run` replays a record or runs a recipe now, `my_runs` is the learner's own table."""

from __future__ import annotations

import dataclasses
import html
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from labkit import progress
from labkit.common import InputError, html_table, text_table
from labkit.live import Line
from labkit.runs.compare import share, share_interval
from labkit.runs.execution import executed
from labkit.runs.recipe import Recipe
from labkit.runs.recipes import named
from labkit.runs.record import Outcome, Record

if TYPE_CHECKING:
    from labkit.models import Score
    from labkit.training import History


@dataclass(frozen=True)
class Run:
    """One run of a recipe, replayed from its record or made now.

    When printed, a replayed run shows its score, which is the same everywhere; a run made now shows only what it was,
    because its numbers differ from machine to machine: they are in `score`, `rows` and `history`.
    """

    recipe: Recipe
    outcome: Outcome
    recorded: bool
    model: Any = None  # after a run made now, for more questions; None for a replay
    tokenizer: Any = None

    @property
    def score(self) -> Score:
        from labkit.models import Score

        def known(values: dict) -> dict[str, Any]:
            return {name: math.nan if value is None else value for name, value in values.items()}

        by_task = {task: Score(**known(values)) for task, values in self.outcome.by_task.items()}
        return Score(**known(self.outcome.score), by_task=by_task)

    @property
    def history(self) -> History:
        from labkit.training import History

        return History.from_dict(self.outcome.history)

    @property
    def rows(self) -> list[dict]:
        """The score by task, all tasks first: task, n, correct, share, low, high, cot."""
        return [
            {"task": "all", **self.outcome.score},
            *({"task": task, **row} for task, row in self.outcome.by_task.items()),
        ]

    def keep(self, note: str = "") -> None:
        """Add this run to the learner's table, *my runs*. Keeping the same run twice keeps it once."""
        score = self.outcome.score
        progress.store().add_run(
            lab=self.recipe.lab,
            recipe=self.recipe.name,
            hash=self.recipe.hash,
            score=score["share"],
            low=score["low"],
            high=score["high"],
            note=note,
        )
        print(f"Kept in my runs: {self.recipe.name}{', ' if note else ''}{note}")

    def __repr__(self) -> str:
        name = f"{self.recipe.name}, seed {self.recipe.seed}"
        if not self.recorded:
            return f"{name}: run now, {self.recipe.steps} steps, {self.outcome.score['n']} questions asked"
        return f"{name}: {told(self.outcome.score)}\nrecorded {self.outcome.date} on {self.outcome.machine}"

    def _repr_html_(self) -> str:
        first, _, rest = repr(self).partition("\n")
        caption = f"<p>{html.escape(first)}{f'<br><em>{html.escape(rest)}</em>' if rest else ''}</p>"
        return caption + (self.table() if self.recorded else "")

    def table(self) -> str:
        """The score by task as an HTML table."""
        return html_table(
            ("task", "right", "share", "95% interval"),
            [
                (
                    row["task"],
                    f"{row['correct']} of {row['n']}",
                    f"{row['share']:.1%}",
                    f"{row['low']:.1%} to {row['high']:.1%}",
                )
                for row in self.rows
            ],
        )


def run(recipe: str | Recipe, live: bool = False, seed: int = 0) -> Run:
    """Replay a recipe's recorded run, or run it now with `live=True`, in the number format that suits this machine.

    Nothing is added to *my runs*: that is `run.keep(note)`.
    """
    if isinstance(recipe, str):
        recipe = named(recipe)
    chosen = dataclasses.replace(recipe, seed=seed)
    if live:
        chosen = dataclasses.replace(chosen, number_format=_number_format())
    else:
        record = Record.load(recipe.name)
        if record.hash != recipe.hash:
            raise InputError(f"{recipe.name} is recorded, but with another recipe or base; run it with live=True")
        return Run(chosen, record.outcome(seed), recorded=True)
    line = Line()
    try:
        outcome, model, tokenizer = executed(chosen, lambda share, text: line.show(f"{recipe.name}: {text}", share))
        result = Run(chosen, outcome, recorded=False, model=model, tokenizer=tokenizer)
    except BaseException:
        line.close()
        raise
    line.show(f"{recipe.name}, seed {seed}: {told(result.outcome.score)}, in {result.outcome.seconds:.0f} s")
    line.show_html(f"<p>{html.escape(recipe.name)}, seed {seed}, {result.outcome.seconds:.0f} s</p>{result.table()}")
    return result


def _number_format() -> str:
    """The number format of the matrix products in a run made now."""
    from labkit import models, training

    return str(training.number_format(models.device())).removeprefix("torch.")


class MyRuns(list):
    """The learner's own table: the rows of *my runs*, oldest first."""

    HEAD = ("lab", "recipe", "share", "95% interval", "note")

    def cells(self) -> list[tuple[str, ...]]:
        return [
            (row["lab"], row["recipe"], f"{row['score']:.1%}", f"{row['low']:.1%} to {row['high']:.1%}", row["note"])
            for row in self
        ]

    def __repr__(self) -> str:
        if not self:
            return 'No runs are kept yet. run.keep("a note") keeps one.'
        return text_table([self.HEAD, *self.cells()])

    def _repr_html_(self) -> str:
        return html_table(self.HEAD, self.cells()) if self else f"<p>{html.escape(repr(self))}</p>"


def summary(records: Mapping[str, Record], stopped: bool = False) -> None:
    """Print a table with a row for each record: how many examples it saw, its rate, its share of right answers with the
    95% interval over seeds, and, if asked, the share of answers that ended by themselves.
    """
    rows = [["", "examples seen", "rate", "right (95% interval)", "seeds"] + ["stopped"] * stopped]
    for name, record in records.items():
        seen = record.recipe["steps"] * record.recipe["batch_size"]
        row = [name, f"{seen:,}", f"{record.recipe['lr']:g}", f"{share(record):.1%}", str(len(record.outcomes))]
        rows.append(row + [f"{share_interval([o.score['stopped'] for o in record.outcomes]):.1%}"] * stopped)
    print(text_table(rows))


def my_runs() -> MyRuns:
    """What the learner has kept: one row for each run."""
    return MyRuns(progress.store().runs())


def told(score: dict) -> str:
    span = f"{score['low']:.1%} to {score['high']:.1%}"
    return f"{score['correct']} of {score['n']} right, {score['share']:.1%} (95% interval {span})"
