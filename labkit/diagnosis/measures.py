"""Measures that say whether a run became better: each is smaller where the run is sounder. Nothing heavy is imported."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

Log = dict[str, list]  # as `clinic.run` gives it, with a line each step


@dataclass(frozen=True)
class Measure:
    text: str  # what a learner reads
    of: Callable[[Log], float]
    percent: bool = False

    def written(self, log: Log) -> str:
        value = self.of(log)
        return "no number" if not math.isfinite(value) else f"{value:.0%}" if self.percent else f"{value:.2f}"


def losses_of(log: Log) -> list[float]:
    """The training losses of a log with a line each step; NaN where the gradient is no number, whatever is written."""
    return [loss if math.isfinite(norm) else math.nan for loss, norm in zip(log["loss"], log["grad_norm"])]


def scatter_of(losses: list[float]) -> float:
    """Root mean square of the logarithm's second difference, in the later two thirds: blind to a steady fall."""
    later = losses[len(losses) // 3 :]
    if any(not math.isfinite(loss) for loss in later):
        return math.nan
    logs = [math.log(max(loss, 1e-9)) for loss in later]
    seconds = [(a - 2 * b + c) / math.sqrt(6) for a, b, c in zip(logs, logs[1:], logs[2:])]
    return math.sqrt(sum(second**2 for second in seconds) / max(1, len(seconds)))


def _multiple(log: Log) -> float:
    last = log["loss"][-math.ceil(len(log["loss"]) / 5) :]
    return sum(last) / len(last) / log["validation_loss"][-1]


def _idle(log: Log) -> float:
    return sum(not (math.isfinite(norm) and norm > 0) for norm in log["grad_norm"]) / len(log["grad_norm"])


MEASURES = {
    "held-out": Measure("held-out loss at the end", lambda log: log["validation_loss"][-1]),
    "rise": Measure(
        "held-out loss at the end over its lowest", lambda log: log["validation_loss"][-1] / min(log["validation_loss"])
    ),
    "start": Measure("held-out loss before the first step", lambda log: log["validation_loss"][0]),
    "multiple": Measure("training loss over held-out loss at the end", _multiple),
    "scatter": Measure(
        "scatter of the training loss from step to step", lambda log: scatter_of(losses_of(log)), percent=True
    ),
    "idle": Measure("steps whose gradient is 0 or no number", _idle, percent=True),
}
