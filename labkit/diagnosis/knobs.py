"""The knobs of the clinic: what a learner changes about a sick run before running it again.

A knob changes a `Plan` whose fault is planted already, and is told which fault that is: one that undoes a fault of code
or data does so where that fault is, and elsewhere leaves the plan as it was, because there it was right. Which knob
cures which patient stands in `patients`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle, islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from labkit.diagnosis.clinic import Plan

LARGER = 4  # times the batch


@dataclass(frozen=True)
class Knob:
    """`turn(plan, fault)` changes the plan of a run with that fault (a name in `clinic.CASES`)."""

    text: str  # what a learner reads
    turn: Callable[[Plan, str], None]
    seed: int = 0  # added to the run's seed before it is planned


def _settings(**values: float) -> Callable[[Plan, str], None]:
    return lambda made, fault: made.settings.update(values)


def _times_the_rate(factor: float) -> Callable[[Plan, str], None]:
    return lambda made, fault: made.settings.update(lr=made.settings["lr"] * factor)


def _larger_batch(made: Plan, fault: str) -> None:
    """As many steps, `LARGER` times the rows in each; in the order in which they were read."""
    from labkit import training

    size, steps = made.settings["batch_size"], made.settings["steps"]
    drawn = made.order == training.batches(len(made.rows), size, steps, made.seed)
    made.settings["batch_size"] = LARGER * size
    if drawn:
        made.reorder()
        return
    rows = cycle(index for batch in made.order for index in batch)
    made.order = [list(islice(rows, LARGER * size)) for _ in range(steps)]


def _float32(made: Plan, fault: str) -> None:
    for parameter in made.model.parameters():
        parameter.data = parameter.data.float()
    if fault == "pure-bfloat16":
        made.on_step.clear()


def _shuffled(made: Plan, fault: str) -> None:
    made.reorder()


def _right_labels(made: Plan, fault: str) -> None:
    """Labels are the row's own tokens where the answer is, unshifted; what the row says is left alone."""
    from labkit.masking import IGNORED

    for row in made.rows + made.validation:
        if all(label in (IGNORED, token) for label, token in zip(row["right"], row["input_ids"])):
            row["labels"] = row["right"]


def _without_damaged(made: Plan, fault: str) -> None:
    """Rows of a damaged stretch, or without a counted token, are left out; a step that has none left, too."""
    if fault not in ("corrupted", "broken-example"):
        return
    damaged = {number for number, row in enumerate(made.rows) if row["labels"] != row["right"]}
    made.order = [kept for batch in made.order if (kept := [index for index in batch if index not in damaged])]
    made.settings["steps"] = len(made.order)


def _more_rows(made: Plan, fault: str) -> None:
    """New rows of the same kind, until each is seen once."""
    from labkit.diagnosis.clinic import HELD_OUT, examples, rows_of

    steps, size = made.settings["steps"], made.settings["batch_size"]
    if len(made.rows) >= sum(map(len, made.order)):
        return
    if fault == "staircase":
        rows = rows_of(examples("codes", steps * size, made.seed), made.tokenizer)
    else:
        rows = rows_of(examples(made.setup.mix, steps * size + HELD_OUT, made.seed), made.tokenizer)[HELD_OUT:]
    made.rows = made.rows + rows[len(made.rows) :]
    made.reorder()


def _same_kind_held_out(made: Plan, fault: str) -> None:
    from labkit.diagnosis.clinic import HELD_OUT, examples, rows_of

    if fault == "other-validation":
        made.validation = rows_of(examples(made.setup.mix, HELD_OUT, made.seed), made.tokenizer)


def _capacity(made: Plan, fault: str) -> None:
    from labkit.diagnosis.clinic import base_of, trainable

    if fault == "underfitting":
        import copy

        made.model = trainable(copy.deepcopy(base_of(made)), made.setup, made.seed)
        made.settings["lr"] = made.setup.lr


def _mean_rows(made: Plan, fault: str) -> None:
    import torch

    if fault != "new-rows":
        return
    table = made.model.get_input_embeddings().weight
    new = [made.tokenizer.eos_token_id, made.tokenizer.convert_tokens_to_ids("<|assistant|>")]
    others = torch.tensor([token not in new for token in range(len(table))])
    with torch.no_grad():
        table[new] = table[others].mean(0)


def _without(hook: str, *faults: str) -> Callable[[Plan, str], None]:
    """The loop's own part in the place of the one that the fault put there."""

    def turn(made: Plan, fault: str) -> None:
        if fault in faults:
            made.hooks.pop(hook)

    return turn


def _restored(made: Plan, fault: str) -> None:
    if fault == "resumed":
        made.on_step.clear()


KNOBS = {
    "tenth": Knob("a tenth of the learning rate", _times_the_rate(0.1)),
    "tenfold": Knob("ten times the learning rate", _times_the_rate(10)),
    "warmup": Knob("a warmup over the first 30% of the steps", _settings(warmup=0.3)),
    "beta2": Knob("β₂ of 0.999", _settings(beta2=0.999)),
    "batch": Knob(f"{LARGER} times the batch", _larger_batch),
    "capacity": Knob("rank 16 on all linear layers", _capacity),
    "float32": Knob("weights stored in float32", _float32),
    "rows": Knob("more rows, each seen once", _more_rows),
    "shuffle": Knob("rows shuffled", _shuffled),
    "labels": Knob("labels corrected, unshifted", _right_labels),
    "damaged": Knob("damaged rows left out", _without_damaged),
    "held-out": Knob("held-out rows of the kind that is trained on", _same_kind_held_out),
    "new-rows": Knob("new embedding rows begun at the mean of the others", _mean_rows),
    "divide": Knob("the loss divided by the accumulation", _without("mean_loss", "undivided")),
    "schedule": Knob("the schedule stepped once an update", _without("schedule", "schedule-spent")),
    "optimizer": Knob("the optimizer given the model's own weights", _without("optimized", "other-weights")),
    "resume": Knob("the trained weights loaded on resuming", _restored),
    "seed": Knob("nothing but another seed", lambda made, fault: None, seed=100),
}
