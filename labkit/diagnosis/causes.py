"""Causes: what each looks like in a log, which test distinguishes it from similar ones, and the rules that choose among
them.

`judge` gives the causes that fit the signs, the most likely first, or says why it cannot tell. The rules (`read`) are
read from top to bottom; each says in words what it saw. Rules alone named 84% of the runs of four set-ups that
they were not written on. So where no column decides by itself, a forest that was grown on recorded runs (`forest`) has
the last word, and the rules give the reasons.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from labkit.diagnosis.forest import Forest, load, place
from labkit.diagnosis.signs import Signs

CANNOT_TELL = "cannot tell"
ENOUGH = 0.6  # share of the forest that answers against the rules
ALSO = 0.15  # share from which a cause is named beside it
FEW = 24  # counted tokens in a step
NEW_ROWS = 4  # how many times the base's own the first loss is, times how many times ln V; without an entropy
TOO_SURE = 9  # the first loss over the entropy of the predictions; 3 to 8 where only the labels are at fault
# `walk`, the distance from the start over the root of the sum of the squared rates, is 1 where each step goes its own
# way. Below, the steps undo each other; above, they agree: the run is not finished, or has too few weights.
TO_AND_FRO = 1.015
STRAIGHT = 3.55
EARLY = 0.12  # share of the run in which NaN comes from a number format, and seldom from the one example that is broken
LATE = 0.1  # share of the run by which a sound run has done half of its fall


@dataclass(frozen=True)
class Cause:
    """`symptom`: the chapter's, by the id of its claim. `test`: which of `checks.TESTS` shows it, and how."""

    symptom: str
    text: str
    test: str
    cure: str


CAUSES = {
    "sound": Cause(
        "", "the run looks sound", "none is needed; the score says whether the run is good enough", "nothing"
    ),
    "nothing counted": Cause(
        "C33", "no token carries loss", "counted tokens: they are 0 in every batch", "fix the mask or the template"
    ),
    "overflow": Cause(
        "C32",
        "numbers leave the range of their format (float16: gradients whose squares are 0, sums above 65504)",
        "rate of nearly 0: it stays at any rate, and goes in float32 or bfloat16",
        "train in float32 or bfloat16",
    ),
    "broken example": Cause(
        "C32",
        "one example gives NaN (no counted token, an empty text)",
        "step or sample: with half the batch it keeps its sample",
        "find the example by its number; leave it out",
    ),
    "rate too high": Cause(
        "C37",
        "the learning rate is too high",
        "rate of nearly 0: it goes; a tenth of the rate ends lower",
        "a third to a tenth of the rate, or a longer warmup",
    ),
    "rate too low": Cause(
        "C33",
        "the learning rate is too low",
        "distance: the weights moved little, and in a straight line",
        "three to ten times the rate",
    ),
    "batch too small": Cause(
        "C37",
        "the batch is too small for the rate",
        "counted tokens: few in a batch",
        "a larger batch, or accumulation; or a lower rate",
    ),
    "overfitting": Cause(
        "C34",
        "examples are memorized",
        "same batch twice: a batch that was seen before has far less loss than a new one",
        "fewer epochs, more examples",
    ),
    "validation of another kind": Cause(
        "C34",
        "the held-out rows are of a different kind from the training rows, and what they need is forgotten",
        "first loss: the two differ before the first step; it comes within the first epoch",
        "hold out rows of the same kind; mix the old kind into the training",
    ),
    "too little capacity": Cause(
        "C35",
        "too few weights are trained (rank, modules)",
        "distance: they moved far, and the loss is still high",
        "a higher rank, all linear layers",
    ),
    "new embedding rows": Cause(
        "C32",
        "rows of the embedding are untrained: new tokens, or a table that was resized",
        "first loss: far above ln V",
        "initialize new rows with the mean of the others",
    ),
    "accumulation undivided": Cause(
        "C35",
        "the loss is a sum over micro-batches that was not divided",
        "first loss: an integer multiple of the base's own",
        "divide by the counted tokens of all micro-batches",
    ),
    "labels shifted twice": Cause(
        "C35",
        "the labels were shifted before a library that shifts them itself",
        "first loss: not the base's own on the right labels",
        "pass in unshifted labels",
    ),
    "schedule spent early": Cause(
        "C35",
        "the rate reached 0 long before the end",
        "none is needed: the column of the rate shows it",
        "step the schedule once an update",
    ),
    "pure bfloat16": Cause(
        "C33",
        "the weights are stored in bfloat16, and small updates are rounded away",
        "distance: only some of the weights changed at all",
        "keep the weights in float32, or a higher rate",
    ),
    "resumed without the weights": Cause(
        "C36",
        "a resumed run started from the base, or without its adapter",
        "first loss: on resuming it is the base's again",
        "load the adapter; evaluate before the first step",
    ),
    "optimizer holds other weights": Cause(
        "C33",
        "the optimizer updates weights that are not in the model",
        "same batch twice: equal to the last digit; distance: 0",
        "create the optimizer after the model is in place",
    ),
    "corrupted batch": Cause(
        "C36",
        "a stretch of the data is damaged",
        "step or sample: with half the batch the spike keeps its sample, and it stays at a rate of nearly 0",
        "look at the examples of that batch",
    ),
    "beta2": Cause(
        "C36",
        "Adam's second moment forgets too fast (β₂ below β₁²)",
        "distance: further than the rates allow",
        "β₂ of 0.95 to 0.999",
    ),
    "grouped by length": Cause(
        "C37",
        "rows are grouped by length",
        "rate of nearly 0: it stays; counted tokens: they fall and jump with the loss",
        "none is needed; shuffle, or average over a period",
    ),
    "not shuffled": Cause(
        "C37",
        "the file is in blocks and was not shuffled",
        "step or sample: the jumps keep their sample",
        "shuffle",
    ),
}


@dataclass(frozen=True)
class Verdict:
    """A cause's name, or "cannot tell"; why, in words; and other causes that fit the same signs."""

    name: str
    why: str
    others: tuple[str, ...] = ()

    @property
    def causes(self) -> tuple[str, ...]:
        return self.others if self.name == CANNOT_TELL else (self.name, *self.others)


def judge(signs: Signs, forests: Sequence[Forest] | None = None) -> Verdict:
    """What can be read from the log as a fact; otherwise the likeliest cause by the forest for its columns, if the rules agree or it
    gives that cause more than `ENOUGH`; otherwise "cannot tell".
    """
    if (fact := next(_facts(signs), None)) is not None:
        return fact
    reading, likely = read(signs), (forests or load())[place(signs)].likely(signs)
    (first, share), *rest = likely.items()
    also = tuple(name for name, part in rest if part > ALSO)
    if first == reading.name:
        return Verdict(first, reading.why, tuple(dict.fromkeys([*also, *reading.others])))
    if share > ENOUGH:
        why = f"{share:.0%} is what the forest gives it; by its shape alone one would say: {reading.why}"
        return Verdict(first, why, tuple(dict.fromkeys([*also, *reading.causes])))
    fits = dict.fromkeys([first, *also, *reading.causes])
    return Verdict(
        CANNOT_TELL, f"several causes fit ({first} {share:.0%}); by its shape alone: {reading.why}", tuple(fits)
    )


def read(signs: Signs) -> Verdict:
    """The first rule that applies, with the other causes that fit the signs."""
    return next(_facts(signs), None) or next(_rules(signs))


def _facts(s: Signs) -> Iterator[Verdict]:
    """What one column says by itself."""
    if s.lines < 5:
        yield Verdict(CANNOT_TELL, f"{s.lines} lines of a log are too few")
    if s.all_zero:
        yield Verdict("nothing counted", "every loss is exactly 0, and none is NaN: nothing was counted")
    if s.nan_at is None and (s.frozen or s.straight == 0):
        yield Verdict("optimizer holds other weights", "there is a gradient, but the weights do not change")
    if s.nan_at is None and s.share_changed is not None and s.share_changed < 0.8:
        yield Verdict("pure bfloat16", f"only {s.share_changed:.0%} of the trained weights changed at all")
    if s.nan_at is None and s.rate_zero_from is not None and s.rate_zero_from < 0.8:
        yield Verdict("schedule spent early", f"the rate is 0 from {s.rate_zero_from:.0%} of the run on")
    if s.nan_at is None and s.counted is not None and s.counted < FEW:
        yield Verdict("batch too small", f"a step counts {s.counted:.0f} tokens: its loss is mostly chance")


def _rules(s: Signs) -> Iterator[Verdict]:
    if s.nan_at is not None:
        yield from _not_a_number(s)
    if s.multiple is not None and s.multiple > 1.5 and s.multiple_steady and not s.spikes:
        why = f"the training loss is {s.multiple:.1f} times the held-out loss throughout"
        yield Verdict("accumulation undivided", why)
    if s.start_ratio is not None and s.start is not None and abs(s.start_ratio - 1) > 0.02:
        why = f"before the first step the loss is {s.start:.1f}, {s.start_ratio:.2f} times the base's own on the right labels"
        if s.surprise is not None and s.surprise > TOO_SURE:
            sure = f"{why}, and {s.surprise:.0f} times the entropy of its predictions: it is sure of what is wrong"
            yield Verdict("new embedding rows", sure, ("labels shifted twice",))
        if s.surprise is None and s.start_ratio * s.start > NEW_ROWS * (s.ln_vocabulary or math.inf):
            yield Verdict("new embedding rows", f"{why}, and far above ln V", ("labels shifted twice",))
        yield Verdict("labels shifted twice", why, ("new embedding rows",))
    if s.distance_fell and max(s.spike or 0, s.rise_of_fall or 0, s.validation_jump or 0) > 0.3:
        yield Verdict(
            "resumed without the weights", "the weights were suddenly near their start again, and the loss was high"
        )
    if s.straight is not None and s.straight > 1.2:
        why = f"the weights moved {s.straight:.1f} times as far as the sum of the rates"
        if (s.grad_peak or 0) > 40:
            grew = f"{why}, and the gradients grew to {s.grad_peak:.0f} times the first"
            yield Verdict("overflow", grew, ("beta2",))
        yield Verdict("beta2", why, ("overflow",))
    if s.walk is not None and s.walk > 2.3 and s.half is not None and s.half <= LATE:
        why = f"the loss fell at once, and yet the weights moved {s.walk:.1f} times as far as steps of chance would"
        yield Verdict("beta2", why, ("too little capacity",))
    yield from _shape(s)


def _not_a_number(s: Signs) -> Iterator[Verdict]:
    if s.straight is not None and s.straight > 1.2:
        yield Verdict(
            "overflow", "the weights moved further than the rates allow, then came NaN or infinity", ("rate too high",)
        )
    if s.nan_at is not None and s.nan_at < EARLY:
        yield Verdict("overflow", "NaN or infinity comes in the first steps", ("broken example",))
    if s.before_nan is not None and s.before_nan < 1.3:
        why = f"NaN or infinity comes at {s.nan_at:.0%} of the run, with no sign before"
        yield Verdict("broken example", why, ("overflow",))
    yield Verdict("overflow", "the loss rose, then came NaN or infinity", ("rate too high",))


def _shape(s: Signs) -> Iterator[Verdict]:
    by_epoch = (s.epochs or 0) > 0.7 * (s.tokens_periods or 0)  # an epoch's last batch is smaller: that is not grouping
    spread, peak, periods = s.tokens_spread or 0, s.tokens_peak or 0, s.tokens_periods or 0
    clear = (spread > 0.06 and (peak > 0.6 and periods > 3)) or (spread > 0.03 and peak > 0.75 and periods >= 3)
    uneven = spread > 0.18 and (s.epochs or 2) <= 1.05  # in batches that are drawn, the sizes even out
    if spread > 0.07 and (s.tokens_run or 0) > 0.45 and not ((s.tokens_skew or 0) > 1.2 and periods >= 3):
        yield Verdict("not shuffled", "counted tokens stay at one level for a while, then at another")
    if (clear and not by_epoch) or uneven or (spread > 0.06 and (s.tokens_skew or 0) > 1.2):
        why = "counted tokens fall step by step and jump back: the batches are sorted, and the loss follows them"
        yield Verdict("grouped by length", why)
    if (s.gap or 0) > 2 and (s.epochs or 0) > 3:
        why = f"after {s.epochs:.0f} epochs the held-out loss is {s.gap:.1f} times the training loss"
        yield Verdict("overfitting", why)
    wild = (s.climb or 0) > 1.05 or (s.rise_of_fall or 0) > 0.15 or (s.grad_spread or 0) > 12
    if s.spikes and (s.spike or 0) > 0.8 and not wild:
        yield Verdict("corrupted batch", f"{s.spikes} lines stand out by {s.spike:.0%}, and the next are as before")
    if s.validation_gain is not None and s.validation_gain < 0.97 and (s.epochs or 2) <= 1.05:
        yield Verdict("validation of another kind", "the held-out loss rises, and no example was seen twice")
    if s.validation_rise is not None and s.validation_rise > 0.05 and (s.gap or 0) > 1.1 and (s.epochs or 2) > 1.05:
        yield Verdict(
            "overfitting", f"the held-out loss rose by {s.validation_rise:.0%} from its lowest, the training loss fell"
        )
    if (s.gap or 0) > 1.4 and (s.epochs or 0) > 3:
        yield Verdict(
            "overfitting", f"after {s.epochs:.0f} epochs the held-out loss is {s.gap:.1f} times the training loss"
        )
    climbed = (s.climb or 0) > 1.3 and (s.grad_peak or 0) > 2.5
    jumping = (s.grad_spread or 0) > 6 or climbed or ((s.climb or 0) > 0.85 and (s.grad_fall or 0) > 12)
    if jumping and (s.walk is None or s.walk < 1.7):
        if (s.epochs or 0) > 4 and (s.climb or 0) < 0.6:
            why = f"gradients reach {s.grad_spread or 0:.0f} times their usual size, though the loss never climbs back"
            yield Verdict(CANNOT_TELL, why, ("overfitting", "rate too high"))
        why = f"gradients reach {s.grad_spread or 0:.0f} times their usual size, the loss {s.climb or 0:.1f} times its first"
        yield Verdict("rate too high", why)
    if s.spikes and (s.spike or 0) > 0.35 and (s.rise_of_fall or 0) < 0.3:
        if s.grad_spread is None or s.grad_spread > 4:
            why = f"{s.spikes} lines stand out, but by no more than {s.spike:.0%}, as a high rate can make them"
            yield Verdict(CANNOT_TELL, why, ("corrupted batch", "rate too high"))
        yield Verdict("corrupted batch", f"{s.spikes} lines stand out by {s.spike:.0%}, and the next are as before")
    yield from _slow(s)
    if s.walk is not None and s.walk < TO_AND_FRO and (s.epochs or 0) < 4:
        why = f"the loss looks sound, but the weights went to and fro: {s.walk:.2f} times as far as steps of chance"
        yield Verdict("rate too high", why, ("sound",))
    if s.walk is not None and s.walk > _most(s):
        why = f"the loss levels off, and yet the weights move on, {s.walk:.1f} times as far as steps of chance"
        yield Verdict("too little capacity", why, ("sound",))
    if s.validation_gain is None:
        why = "nothing stands out, but no held-out loss says whether what was learned holds elsewhere"
        yield Verdict(CANNOT_TELL, why, ("sound", "overfitting"))
    why = "the loss falls, turns and levels off; nothing stands out"
    yield Verdict("sound", why, () if s.start_ratio is not None else ("labels shifted twice",))


def _most(s: Signs) -> float:
    """How large `walk` is at most in a sound run: where the loss falls at once, the weights soon have only to settle."""
    return 1.65 if s.half is None or s.half < 0.07 else 2.35


def _slow(s: Signs) -> Iterator[Verdict]:
    """A loss that falls late, or not at all."""
    slow = ("rate too low", "too little capacity", "pure bfloat16", "optimizer holds other weights")
    if s.half is not None and s.half <= LATE:
        return
    course = "does not fall" if s.half is None else f"has done half its fall only at {s.half:.0%} of the run"
    if s.walk is None:
        why = f"the loss {course}, and how far the weights moved is not known"
        yield Verdict(CANNOT_TELL, why, slow if s.half is None else slow[:3])
    elif s.walk > STRAIGHT:
        yield Verdict("rate too low", f"the loss {course}, and the weights move slowly, in almost a straight line")
    elif s.walk > (1.5 if s.half is None or s.half > 0.18 else _most(s)):
        yield Verdict("too little capacity", f"the loss {course}, and it levels off while the weights still move on")
    elif s.walk < 1.13:
        why = f"the loss {course}; the weights went to and fro ({s.walk:.2f} times as far as steps of chance)"
        yield Verdict("rate too high", why, ("too little capacity",))
    elif s.half is None or s.half > 0.18:
        why = f"the loss {course}, and the weights' path ({s.walk:.1f} times that of chance) fits several causes"
        yield Verdict(CANNOT_TELL, why, ("too little capacity", "rate too high"))
