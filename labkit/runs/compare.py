"""Comparing recorded runs: means over seeds, paired differences on the same questions, each with its 95% interval."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

from labkit.common import InputError
from labkit.runs.record import Outcome, Record

if TYPE_CHECKING:
    from labkit.models import Score


@dataclass(frozen=True)
class Interval:
    """A mean over seeds and its 95% interval (t distribution), with its values."""

    mean: float
    low: float
    high: float
    values: tuple[float, ...]

    @property
    def n(self) -> int:
        return len(self.values)

    @property
    def points(self) -> Interval:
        """A share, or a difference of shares, in percentage points."""
        return Interval(100 * self.mean, 100 * self.low, 100 * self.high, tuple(100 * value for value in self.values))

    def __format__(self, form: str) -> str:
        """`f"{interval:.1%}"` is "83.1% (80.0% to 86.2%)": the mean, and the interval."""
        return f"{self.mean:{form}} ({self.low:{form}} to {self.high:{form}})"


def interval(values: Sequence[float]) -> Interval:
    """The mean of at least two independent values, and its 95% interval."""
    if len(values) < 2:
        raise InputError(f"{len(values)} seed gives no interval: record at least 2")
    middle = mean(values)
    half = t_quantile(len(values) - 1) * stdev(values) / math.sqrt(len(values))
    return Interval(middle, middle - half, middle + half, tuple(values))


def share_interval(values: Sequence[float]) -> Interval:
    """`interval` of shares, which ends at 0 and 1: the t distribution does not know where shares end."""
    found = interval(values)
    return replace(found, low=max(found.low, 0.0), high=min(found.high, 1.0))


def share(record: Record) -> Interval:
    """The share of right answers of a record, over its seeds."""
    return share_interval(list(record.shares.values()))


def paired_difference(a: Record, b: Record, tasks: Collection[str] | None = None) -> Interval:
    """How much higher the share of right answers is in `a` than in `b`: seed by seed, on the same questions.

    `tasks`: only the questions of these families. Raises `InputError` if the two have fewer than two seeds in common,
    or were asked different questions.
    """
    seeds = sorted(a.shares.keys() & b.shares.keys())
    for seed in seeds:
        if a.outcome(seed).questions != b.outcome(seed).questions:
            raise InputError(
                f"{a.name} and {b.name} were asked different questions at seed {seed}; give both the same evaluation"
            )
    if len(seeds) < 2:
        raise InputError(f"{a.name} and {b.name} have {len(seeds)} recorded seeds in common; at least 2 are needed")
    return interval([_share_of(a.outcome(seed), tasks) - _share_of(b.outcome(seed), tasks) for seed in seeds])


def paired_text_loss(a: Record, b: Record) -> Interval:
    """How much higher the loss on the base's own text is after `a` than after `b`, in nats, seed by seed."""
    seeds = sorted(a.shares.keys() & b.shares.keys())
    losses = [[record.outcome(seed).text_loss for seed in seeds] for record in (a, b)]
    if any(loss is None for row in losses for loss in row):
        raise InputError(f"{a.name} or {b.name} was not asked for the base's text")
    return interval([one - other for one, other in zip(*losses)])


def _share_of(outcome: Outcome, tasks: Collection[str] | None) -> float:
    if tasks is None:
        return outcome.score["share"]
    missing = sorted(set(tasks) - outcome.by_task.keys())
    if missing or not tasks:
        raise InputError(f"no question of {', '.join(missing) or 'nothing'}; there are {', '.join(outcome.by_task)}")
    parts = [outcome.by_task[task] for task in tasks]
    return sum(part["correct"] for part in parts) / sum(part["n"] for part in parts)


def pooled(record: Record) -> Score:
    """The score over all recorded seeds taken together, and for each family, with Wilson intervals.

    The seeds' questions count as independent. Variation between seeds is not in the interval: to compare two recipes
    use `paired_difference`.
    """
    from labkit.models import Score, wilson

    def summed(parts: Sequence[dict], **more: Any) -> Score:
        n, correct = (sum(part[key] for part in parts) for key in ("n", "correct"))
        return Score(n, correct, correct / n, *wilson(correct, n), **more)

    tasks = sorted({task for outcome in record.outcomes for task in outcome.by_task})
    by_task = {
        task: summed([outcome.by_task[task] for outcome in record.outcomes if task in outcome.by_task])
        for task in tasks
    }
    return summed([outcome.score for outcome in record.outcomes], by_task=by_task)


def t_quantile(degrees: int) -> float:
    """The 97.5% quantile of Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, 0.975))
