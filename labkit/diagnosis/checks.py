"""Six tests that distinguish causes, each run on a planned run of the clinic and answered in one line.

What loss does the run begin with? How many tokens are counted? Does the same batch give the same loss later? How far
did the weights go? Does an event keep its step or its sample when the batch size changes? Does it survive a rate of
nearly nothing? Each takes a function that makes the plan, so that it can be run afresh and otherwise; those that
compare with the run itself also take its log (`usual`, as `clinic.run` gives it with a line each step), which saves
running it again.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from labkit.diagnosis import clinic
from labkit.diagnosis.causes import FEW
from labkit.diagnosis.clinic import Plan
from labkit.diagnosis.measures import Log, losses_of, scatter_of
from labkit.training import History, Settings, fit

JUMP = 1.75  # times the losses before: more than the chance of a batch makes
Make = Callable[[], Plan]


@dataclass(frozen=True)
class Result:
    """A test's result: its figures, and a line that says what they mean."""

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
        said = "the base's own: data, labels and weights are correct"
    elif trained > 1.3 * max(base, vocabulary):
        said = "far above both: the weights are wrong, or the loss is a sum"
    else:
        said = "not the base's own: the labels or the weights are wrong"
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
    if empty:
        said = f"{empty} of {len(made.rows)} rows have none"
    else:
        said = (
            "enough, and no row is without any" if mean >= FEW else "few, so the loss is noisy; no row is without any"
        )
    values = {"least": min(counts), "mean": mean, "most": max(counts), "empty_rows": empty}
    line = f"counted tokens a batch: {min(counts)} to {max(counts)}, mean {mean:.0f}: {said}"
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


def distance(make: Make, usual: Log | None = None) -> Result:
    """How far the trained weights went, against what the rates allow, and which share of them changed at all."""
    log = usual or clinic.run(make())
    went, share = log["distance"][-1], log["share_changed"][-1]
    lines = zip(log["lr"], [0, *log["step"]], log["step"])
    allowed = sum(rate * (here - before) for rate, before, here in lines)
    if not math.isfinite(went):
        said = "the weights are no longer numbers"
    elif went == 0:
        said = "nothing was trained"
    elif share < 0.8:
        said = "updates were lost in rounding"
    elif went > allowed:
        said = "further than Adam's steps can go: its second moment forgets too fast, or is rounded to 0"
    elif went > 0.6 * allowed:
        said = "in nearly a straight line: the steps are small for the way they have to go"
    elif went < 0.1 * allowed:
        said = "far less than that: to and fro more than onwards"
    else:
        said = "as in a run that turns on its way"
    values = {"distance": went, "sum_of_rates": allowed, "share_changed": share}
    line = f"moved {went:.2g} a weight (the rates add up to {allowed:.2g}), {share:.0%} of the weights changed: {said}"
    return Result("distance", values, line if math.isfinite(went) else said)


def step_or_sample(make: Make, usual: Log | None = None) -> Result:
    """Where the loss's largest event stands with half the batch: at its step, or at its sample."""
    whole, half = make(), make()
    half.order = [batch[at : at + max(1, len(batch) // 2)] for batch in half.order for at in _halves(batch)]
    half.settings |= {"steps": len(half.order), "batch_size": max(1, half.settings["batch_size"] // 2)}
    half.setup = dataclasses.replace(half.setup, log_every=1)
    whole.setup = dataclasses.replace(whole.setup, log_every=1)
    losses = [log["loss"] for log in (usual or clinic.run(whole), clinic.run(half))]
    found = [event(each) for each in losses]
    values = dict(zip(("step", "step_at_half"), [math.nan if step is None else step for step in found]))
    if None in found:
        line = "no event, neither a spike nor a jump, with this batch or with half of it"
        return Result("step or sample", values, line)
    first, second = (step for step in found if step is not None)
    size = losses[0][first - 1] / _before(losses[0], first - 1)
    what = f"the loss is suddenly {size:.1f} times as high" if math.isfinite(size) and size > 0 else "the numbers end"
    if abs(second - 2 * first + 0.5) <= max(1.5, 0.05 * first):  # sample s is in step s/n, or in one of two of the half
        said = "it keeps its sample, something in the data"
    elif abs(second - first) <= max(1, 0.05 * first):
        said = "it keeps its step, something in the schedule or the loop"
    else:
        said = "neither its step nor its sample is kept, so it is one of several, or chance"
    return Result("step or sample", values, f"{what} at step {first}, with half the batch at step {second}: {said}")


def survives_zero_rate(make: Make, usual: Log | None = None) -> Result:
    """Whether a jump, or else the scatter, is there when hardly anything is learned: then it is in the data."""
    usual, still = usual or clinic.run(make()), make()
    still.settings["lr"] *= 1e-6
    both = [losses_of(log) for log in (usual, clinic.run(still))]
    scatter = [scatter_of(losses) for losses in both]
    steps = [event(losses) for losses in both]
    if not math.isfinite(scatter[1]):
        said = "no numbers even at a rate of nearly 0: not the rate"
    elif not math.isfinite(scatter[0]):
        said = "the numbers stay: the learning ends them"
    elif not any(scatter):
        said = "the loss is the same at every step"
    elif steps[0] is not None and both[0][steps[0] - 1] > JUMP * _before(both[0], steps[0] - 1):
        if steps[1] is None:
            said = f"the jump at step {steps[0]} is gone: the learning, or the loop, makes it"
        else:
            said = f"a jump is still there, at step {steps[1]}: the data makes it"
    elif scatter[1] > 0.5 * scatter[0] and scatter[1] > 0.03:
        said = "it stays: what goes up and down is the data, not the learning"
    else:
        said = "it goes: it comes from the learning"
    values = {"scatter": scatter[0], "scatter_at_zero_rate": scatter[1]}
    values |= dict(zip(("step", "step_at_zero_rate"), [math.nan if step is None else step for step in steps]))
    first, second = (f"{each:.1%}" if math.isfinite(each) else "no number" for each in scatter)
    line = f"scatter of the loss {first}, at a millionth of the rate {second}: {said}"
    return Result("rate of nearly 0", values, line)


TESTS: dict[str, Callable[..., Result]] = {
    "first loss": first_loss,
    "counted tokens": counted_tokens,
    "same batch twice": same_batch_twice,
    "distance": distance,
    "step or sample": step_or_sample,
    "rate of nearly 0": survives_zero_rate,
}


def all_of(make: Make, usual: Log) -> dict[str, Result]:
    """The six, by name, of a run whose log is known."""
    alone = {name: TESTS[name](make) for name in ("first loss", "counted tokens", "same batch twice")}
    return alone | {name: TESTS[name](make, usual) for name in ("distance", "step or sample", "rate of nearly 0")}


def event(losses: list[float]) -> int | None:
    """The step, from 1, of the first loss that is NaN or infinite, otherwise of the largest rise over the five before
    it.
    """
    for place, loss in enumerate(losses):
        if not math.isfinite(loss) or (loss == 0 and place and losses[place - 1] > 0):
            return place + 1
    rises = {
        place: losses[place] / _before(losses, place)
        for place in range(max(5, len(losses) // 6), len(losses))
        if _before(losses, place) > 0
    }
    if not rises:
        return None
    largest = max(rises, key=lambda place: rises[place])
    return None if rises[largest] < 1.4 else largest + 1


def _before(losses: list[float], place: int) -> float:
    """The median of the five losses before a place, or of those there are."""
    return median(losses[max(0, place - 5) : place] or losses[:1])


def trained_loss(made: Plan, rows: list[dict]) -> float:
    """The loss that the trainer would log for these rows as one batch, before any update."""
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
