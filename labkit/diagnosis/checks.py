"""Six tests that tell causes apart, each run on a planned run of the clinic and answered in one line.

What loss does the run begin with? How many tokens are counted? Does the same batch give the same loss later? How far
did the weights go? Does an event keep its step or its sample when the batch size changes? Does it survive a rate of
nearly nothing? Each takes a function that makes the plan, so that it can be run afresh and otherwise.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass

from labkit.diagnosis import clinic
from labkit.diagnosis.causes import FEW
from labkit.diagnosis.clinic import Plan
from labkit.training import History, Settings, fit

Make = Callable[[], Plan]


@dataclass(frozen=True)
class Result:
    """What a test gave: its figures, and a line that says what they mean."""

    test: str
    values: dict[str, float]
    line: str

    def __str__(self) -> str:
        return self.line


def first_loss(make: Make) -> Result:
    """The loss before the first step, beside the base's own on the same rows with the right labels, and ln V."""
    made = make()
    pad = made.tokenizer.pad_token_id
    rows = [made.rows[index] for index in made.order[0]]
    trained = trained_loss(made, rows)
    base = clinic.looked_at(clinic.base_of(made), clinic.as_they_should_be(rows), pad)[0]
    vocabulary = math.log(made.model.get_input_embeddings().weight.shape[0])
    if math.isclose(trained, base, rel_tol=1e-3):
        said = "the base's own: data, labels and weights are as they should be"
    elif trained > 1.3 * max(base, vocabulary):
        said = "far above both: the weights, or the sum that is called a loss, are not what they should be"
    else:
        said = "not the base's own: the labels or the weights are not what they should be"
    values = {"first": trained, "base": base, "ln_vocabulary": vocabulary}
    return Result(
        "first loss", values, f"first loss {trained:.2f}, the base's own {base:.2f}, ln V {vocabulary:.2f}: {said}"
    )


def counted_tokens(make: Make) -> Result:
    """Tokens that carry loss, by batch; rows in which none does."""
    made = make()
    counts = [sum(clinic.counted(made.rows[index]) for index in batch) for batch in made.order]
    empty = sum(clinic.counted(row) == 0 for row in made.rows)
    mean = sum(counts) / len(counts)
    said = "enough" if mean >= FEW and not empty else f"{empty} rows have none" if empty else "few: the loss is noisy"
    values = {"least": min(counts), "mean": mean, "most": max(counts), "empty_rows": empty}
    line = f"counted tokens a batch: {min(counts)} to {max(counts)}, mean {mean:.0f}, {empty} of {len(made.rows)} rows none: {said}"
    return Result("counted tokens", values, line)


def same_batch_twice(make: Make, steps: int = 8) -> Result:
    """The loss on the first batch before and after some steps on it alone."""
    made = make()
    made.order = [made.order[0]] * steps
    made.settings |= {"steps": steps, "schedule": "constant", "warmup": 0.0}
    made.on_step = []
    before = trained_loss(made, [made.rows[index] for index in made.order[0]])
    _train(made)
    after = trained_loss(made, [made.rows[index] for index in made.order[0]])
    said = "equal to the last digit: nothing is updated" if before == after else "it changes: something is updated"
    values = {"before": before, "after": after}
    return Result("same batch twice", values, f"the same batch: {before:.4f}, {steps} steps later {after:.4f}; {said}")


def distance(make: Make) -> Result:
    """How far the trained weights went, against what the rates allow, and which share of them changed at all."""
    log = clinic.run(make())
    went, share = log["distance"][-1], log["share_changed"][-1]
    lines = zip(log["lr"], [0, *log["step"]], log["step"])
    allowed = sum(rate * (here - before) for rate, before, here in lines)
    if not math.isfinite(went):
        said = "the weights are no numbers any more"
    elif went == 0:
        said = "nothing was trained"
    elif share < 0.8:
        said = "most updates were lost in rounding"
    elif went > allowed:
        said = "further than Adam's steps can go: its second moment forgets too fast, or is rounded to 0"
    elif went > 0.6 * allowed:
        said = "in nearly a straight line: the steps are small for the way they have to go"
    else:
        said = "as a run does that turns on its way"
    values = {"distance": went, "sum_of_rates": allowed, "share_changed": share}
    return Result(
        "distance", values, f"moved {went:.2g} (sum of the rates {allowed:.2g}), {share:.0%} of the weights: {said}"
    )


def step_or_sample(make: Make) -> Result:
    """Where the loss's largest event stands with half the batch: at its step, or at its sample."""
    whole, half = make(), make()
    half.order = [batch[at : at + max(1, len(batch) // 2)] for batch in half.order for at in _halves(batch)]
    half.settings |= {"steps": len(half.order), "batch_size": max(1, half.settings["batch_size"] // 2)}
    half.setup = dataclasses.replace(half.setup, log_every=1)
    whole.setup = dataclasses.replace(whole.setup, log_every=1)
    found = [event(clinic.run(each)["loss"]) for each in (whole, half)]
    values = {
        "step": math.nan if found[0] is None else found[0],
        "step_at_half": math.nan if found[1] is None else found[1],
    }
    if None in found:
        return Result(
            "step or sample", values, "no event: neither a spike nor a lasting jump, with this batch or half of it"
        )
    first, second = (step for step in found if step is not None)
    kept = "sample" if abs(second - 2 * first) <= abs(second - first) else "step"
    cause = "something in the data" if kept == "sample" else "something in the schedule or the loop"
    return Result(
        "step or sample", values, f"at step {first}, with half the batch at step {second}: it keeps its {kept}, {cause}"
    )


def survives_zero_rate(make: Make) -> Result:
    """Whether scatter or spikes are there when hardly anything is learned: then they are in the data's order."""
    usual, still = clinic.run(make()), make()
    still.settings["lr"] *= 1e-6
    scatter = [_scatter(log["loss"]) for log in (usual, clinic.run(still))]
    if not math.isfinite(scatter[1]):
        said = "no numbers even at a rate of nothing: not the rate"
    elif scatter[1] > 0.5 * scatter[0] and scatter[1] > 0.03:
        said = "it stays: what goes up and down is the data, not the learning"
    else:
        said = "it goes: the learning makes it"
    values = {"scatter": scatter[0], "scatter_at_zero_rate": scatter[1]}
    line = f"scatter of the loss {scatter[0]:.1%}, at a millionth of the rate {scatter[1]:.1%}: {said}"
    return Result("rate of nearly 0", values, line)


TESTS: dict[str, Callable[[Make], Result]] = {
    "first loss": first_loss,
    "counted tokens": counted_tokens,
    "same batch twice": same_batch_twice,
    "distance": distance,
    "step or sample": step_or_sample,
    "rate of nearly 0": survives_zero_rate,
}


def event(losses: list[float]) -> int | None:
    """The step, from 1, of the first loss that is no number, or else of the largest rise over the five before it."""
    for place, loss in enumerate(losses):
        if not math.isfinite(loss) or (loss == 0 and place and losses[place - 1] > 0):
            return place + 1
    rises = {
        place: losses[place] / sorted(losses[place - 5 : place])[2]
        for place in range(max(5, len(losses) // 6), len(losses))
        if sorted(losses[place - 5 : place])[2] > 0
    }
    if not rises:
        return None
    largest = max(rises, key=lambda place: rises[place])
    return None if rises[largest] < 1.4 else largest + 1


def trained_loss(made: Plan, rows: list[dict]) -> float:
    """The loss that the trainer would write for these rows as one batch, before any update."""
    made = dataclasses.replace(
        made, model=copy.deepcopy(made.model), rows=rows, order=[list(range(len(rows)))], on_step=[]
    )
    made.settings = made.settings | {"steps": 1}
    return _train(made).loss[0]


def _train(made: Plan) -> History:
    hooks = clinic.hooks_of(made)
    rows = [{key: row[key] for key in ("input_ids", "labels")} for row in made.rows]
    pad = made.tokenizer.pad_token_id
    return fit(made.model, rows, Settings(**made.settings), pad=pad, on_nan="record", hooks=hooks)


def _halves(batch: list[int]) -> range:
    return range(0, len(batch), max(1, len(batch) // 2))


def _scatter(losses: list[float]) -> float:
    """Root mean square of the logarithm's second difference, in the later two thirds: blind to a steady fall."""
    later = losses[len(losses) // 3 :]
    if any(not math.isfinite(loss) for loss in later):
        return math.nan
    logs = [math.log(max(loss, 1e-9)) for loss in later]
    seconds = [(a - 2 * b + c) / math.sqrt(6) for a, b, c in zip(logs, logs[1:], logs[2:])]
    return math.sqrt(sum(second**2 for second in seconds) / max(1, len(seconds)))
