"""Exercises of lab 03: the loss of a token and its gradient, of a sequence, and of a batch computed in parts."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator

import numpy as np

from labkit import cross_entropy
from labkit.exercises.kinds import Comparison, Exercise, Probe, mistake

# token_loss


def token_probes(rng: random.Random) -> Iterator[Probe]:
    for p in (1.0, 0.5, 0.0, 1.5, 1e-300, -0.5):
        yield Probe((p,), "edges")
    for p in (rng.uniform(0.01, 0.2), rng.uniform(0.3, 0.6), rng.uniform(0.7, 0.99), 0.0, rng.uniform(1.1, 3), 1e-40):
        yield Probe((p,), "typical")
    yield Probe((-rng.uniform(0.1, 1),), "typical")


@mistake(
    "counts in bits",
    "You take the logarithm to base 2: that is the loss in bits. In nats, as in every library, it is `math.log`.",
)
def token_in_bits(p):
    return -math.log2(p)


@mistake(
    "counts to base ten",
    "You take the logarithm to base 10: the natural one is `math.log`, and at p = 0.1 it gives 2.30, not 1.",
)
def token_base_ten(p):
    return -math.log10(p)


@mistake(
    "takes 1 − p",
    "You take 1 − p, which is never above 1: the loss of a token that was thought impossible must have no bound.",
)
def token_missing(p):
    return 1 - p


@mistake(
    "forgets the sign",
    "You give ln p, which is below 0: the loss is −ln p, so that training can lower it towards 0.",
)
def token_without_sign(p):
    return math.log(p)


@mistake(
    "weighs with p",
    "You give −p ln p: that is a term of the entropy. The token is there, so its surprise counts in full.",
)
def token_times_p(p):
    return -p * math.log(p)


@mistake("takes 1/p", "You give 1/p: the loss is its logarithm. Halving p doubles 1/p, and adds 0.69 nats to the loss.")
def token_inverse(p):
    return 1 / p


@mistake(
    "fails at 0",
    "At p = 0 yours raises an error: nothing is more surprising than the impossible, so return `math.inf`.",
)
def token_fails_at_zero(p):
    if p == 0:
        raise ValueError("math domain error")
    return cross_entropy.token_loss(p)


@mistake(
    "hides what is small",
    "You keep p above some small number: the loss has no upper bound, and at p = 0 it is infinite.",
)
def token_clipped(p):
    return cross_entropy.token_loss(max(p, 1e-12))


@mistake(
    "the formula alone",
    "The formula is right, but two cases need lines of their own: at p = 0 `math.log` fails, and the loss is `math.inf`; "
    "above 1 the loss would be negative, and it must be a `ValueError`.",
)
def token_formula_alone(p):
    return -math.log(p)


@mistake(
    "infinite below 0",
    "For p below 0 you give infinity: this p is not a probability, so raise a `ValueError`. Only at 0 the loss is infinite.",
)
def token_infinite_below_zero(p):
    return cross_entropy.token_loss(max(p, 0.0))


@mistake(
    "lets p above 1 through",
    "For p above 1 you give a negative loss: this p is not a probability, so raise a `ValueError`.",
)
def token_unchecked(p):
    return -math.log(p) if p else math.inf


TOKEN_LOSS = Exercise(
    id="cross_entropy.token_loss",
    points=1,
    minutes=3,
    reference=cross_entropy.token_loss,
    probes=token_probes,
    misconceptions=(
        token_in_bits,
        token_base_ten,
        token_missing,
        token_without_sign,
        token_times_p,
        token_inverse,
        token_fails_at_zero,
        token_clipped,
        token_formula_alone,
        token_infinite_below_zero,
        token_unchecked,
    ),
    hints=(
        "Three cases: p is not a probability, p is 0, and all others.",
        "`math.log` is the natural logarithm, and `math.inf` is infinity. Which sign makes the loss positive?",
        "Raise `ValueError` unless `0 <= p <= 1`; give `math.inf` if p is 0; else `-math.log(p)`.",
    ),
)


# log_softmax


def softmax_probes(rng: random.Random) -> Iterator[Probe]:
    yield Probe((np.array([0.0, 0.0]),), "edges")
    yield Probe((np.array([7.0]),), "edges")
    yield Probe((np.array([1e4, 0.0, -1e4]),), "edges")
    yield Probe((np.array([-1e4, -1e4]),), "edges")
    yield Probe((np.array([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]]),), "edges")
    for _ in range(4):
        yield Probe((_logits(rng, rng.randint(2, 3), rng.randint(4, 5)),), "typical")
    yield Probe((_logits(rng, 2, 3) * 3000 + 1e4,), "typical")
    yield Probe((np.array([_logits(rng, 2, 3), _logits(rng, 2, 3)]),), "typical")


def _logits(rng: random.Random, *shape: int) -> np.ndarray:
    return np.array([round(rng.uniform(-3, 3), 2) for _ in range(math.prod(shape))]).reshape(shape)


@mistake(
    "overflows",
    "You take exp of the logits as they are: above 709 it is infinite, and what is far below gets probability 0 and "
    "the logarithm −∞. Subtract the largest logit first, and take no logarithm of a quotient.",
)
def softmax_naive(logits):
    with np.errstate(all="ignore"):
        powers = np.exp(logits)
        return np.log(powers / powers.sum(axis=-1, keepdims=True))


@mistake(
    "takes the first axis",
    "You sum along the first axis: the vocabulary is the last one, so each row must sum to 1 (`axis=-1`).",
)
def softmax_wrong_axis(logits):
    return np.moveaxis(cross_entropy.log_softmax(np.moveaxis(logits, 0, -1)), -1, 0)


@mistake(
    "sums over all rows",
    "You sum over the whole array: each row is a separate choice; `axis=-1, keepdims=True` sums row by row.",
)
def softmax_over_all(logits):
    return cross_entropy.log_softmax(logits.reshape(-1)).reshape(logits.shape)


@mistake(
    "leaves the logarithm out",
    "You give the probabilities: return their logarithm. Tiny ones would round to 0 on the way.",
)
def softmax_without_log(logits):
    return np.exp(cross_entropy.log_softmax(logits))


@mistake(
    "turns the sign",
    "You give the loss of each token, which is above 0: a logarithm of a probability is below it.",
)
def softmax_sign(logits):
    return -cross_entropy.log_softmax(logits)


@mistake("counts in bits", "You take the logarithm to base 2: `np.log` is the natural one.")
def softmax_in_bits(logits):
    return cross_entropy.log_softmax(logits) / math.log(2)


@mistake(
    "subtracts the largest only",
    "You subtract the largest logit and stop: you must also subtract the logarithm of the summed exp of what remains.",
)
def softmax_largest_only(logits):
    return logits - logits.max(axis=-1, keepdims=True)


@mistake(
    "takes the logarithm of a rounded p",
    "You take the logarithm of a quotient: what is far below has been rounded to 0 by then, and its logarithm is −∞. "
    "Subtract the logarithm of the sum instead.",
)
def softmax_of_rounded(logits):
    with np.errstate(all="ignore"):
        return np.log(np.exp(cross_entropy.log_softmax(logits)))


LOG_SOFTMAX = Exercise(
    id="cross_entropy.log_softmax",
    points=2,
    minutes=5,
    reference=cross_entropy.log_softmax,
    probes=softmax_probes,
    compare=Comparison(rtol=1e-6, atol=1e-6),
    misconceptions=(
        softmax_naive,
        softmax_wrong_axis,
        softmax_over_all,
        softmax_without_log,
        softmax_sign,
        softmax_in_bits,
        softmax_largest_only,
        softmax_of_rounded,
    ),
    hints=(
        "ln softmax is the logit minus ln Σ exp of all logits. What happens to both if you lower every logit by the same amount?",
        "First `below = logits - logits.max(axis=-1, keepdims=True)`: then no exp can overflow.",
        "`below - np.log(np.exp(below).sum(axis=-1, keepdims=True))`.",
    ),
)


# logit_gradient


def gradient_probes(rng: random.Random) -> Iterator[Probe]:
    yield Probe((np.array([0.0, 0.0]), 0), "edges")
    yield Probe((np.array([5.0]), 0), "edges")
    yield Probe((np.array([2.0, 1.0, 0.0]), 2), "edges")
    yield Probe((np.array([1e4, 0.0, -1e4]), 1), "edges")
    yield Probe((np.array([2.0, 1.0]), 2), "edges")
    yield Probe((np.array([2.0, 1.0]), -1), "edges")
    for _ in range(5):
        size = rng.randint(3, 6)
        yield Probe((_logits(rng, size), rng.randrange(size)), "typical")
    yield Probe((_logits(rng, 4) * 3000 + 1e4, rng.randrange(4)), "typical")
    yield Probe((_logits(rng, 3), 3), "typical")
    yield Probe((_logits(rng, 3), 4 + rng.randrange(3)), "typical")
    yield Probe((_logits(rng, 3), -1 - rng.randrange(3)), "typical")


@mistake(
    "turns the sign",
    "Your sign is wrong: it is predicted minus target. A step against the gradient then raises the right logit.",
)
def gradient_sign(logits, target):
    found = -np.exp(cross_entropy.log_softmax(logits))
    found[target] += 1
    return found


@mistake(
    "moves the target only",
    "You leave the other logits at 0: each wrong token has the gradient p, and is pushed down by it.",
)
def gradient_target_only(logits, target):
    whole = cross_entropy.logit_gradient(logits, target)
    alone = np.zeros(len(whole))
    alone[target] = whole[target]
    return alone


@mistake(
    "forgets the target",
    "You return softmax alone: 1 must still be subtracted from the right token's entry, which is then p − 1.",
)
def gradient_without_target(logits, target):
    whole = cross_entropy.logit_gradient(logits, target)
    whole[target] += 1
    return whole


@mistake("takes 1 from all", "You subtract 1 from every entry: the target is 1 at the right token and 0 at all others.")
def gradient_of_all(logits, target):
    return gradient_without_target.function(logits, target) - 1


@mistake(
    "takes the gradient on p",
    "You give −1/p, the gradient on the probability: on the logits softmax comes in between, and it is p − 1.",
)
def gradient_of_probability(logits, target):
    with np.errstate(divide="ignore"):
        p = cross_entropy.logit_gradient(logits, target)[target] + 1
        found = np.zeros(len(logits))
        found[target] = -1 / p
    return found


@mistake("leaves softmax out", "You subtract 1 from the logit itself: the logits must go through softmax first.")
def gradient_without_softmax(logits, target):
    cross_entropy.logit_gradient(logits, target)
    found = np.array(logits, dtype=float)
    found[target] -= 1
    return found


@mistake(
    "overflows",
    "You take exp of the logits as they are: above 709 it is infinite. Subtract the largest logit first.",
)
def gradient_naive(logits, target):
    with np.errstate(all="ignore"):
        found = np.exp(logits) / np.exp(logits).sum()
    found[target] -= 1
    return found


@mistake(
    "divides by the vocabulary",
    "You divide by the size of the vocabulary: the gradient of one token's loss is not averaged over logits.",
)
def gradient_averaged(logits, target):
    return cross_entropy.logit_gradient(logits, target) / len(logits)


@mistake(
    "takes −1 for the last",
    "You take a negative target for one counted from the end, as Python does: no id is negative, so raise a "
    "`ValueError`. With −100 as target it would go wrong silently.",
)
def gradient_from_the_end(logits, target):
    if target >= len(logits):
        raise ValueError("outside the vocabulary")
    return cross_entropy.logit_gradient(logits, target % len(logits))


@mistake(
    "does not check the target",
    "A target outside the vocabulary must be a `ValueError`: the array's own error comes only above the last id; "
    "below 0 Python silently counts from the end.",
)
def gradient_unchecked(logits, target):
    return cross_entropy.logit_gradient(logits, range(len(logits))[target])


@mistake(
    "allows the id after the last",
    "A target that equals the number of logits gets through your check: ids begin at 0, so refuse it with `>=`.",
)
def gradient_one_id_too_many(logits, target):
    if target == len(logits):
        raise IndexError("index is out of bounds")
    return cross_entropy.logit_gradient(logits, target)


LOGIT_GRADIENT = Exercise(
    id="cross_entropy.logit_gradient",
    points=2,
    minutes=6,
    reference=cross_entropy.logit_gradient,
    probes=gradient_probes,
    compare=Comparison(rtol=1e-6, atol=1e-8),
    misconceptions=(
        gradient_sign,
        gradient_target_only,
        gradient_without_target,
        gradient_of_all,
        gradient_of_probability,
        gradient_without_softmax,
        gradient_naive,
        gradient_averaged,
        gradient_from_the_end,
        gradient_unchecked,
        gradient_one_id_too_many,
    ),
    hints=(
        "Predicted minus target: what is predicted is softmax of the logits, what is the target?",
        "`np.exp(logits - logits.max())`, divided by its sum, is softmax. At one place subtract 1.",
        "Check `0 <= target < len(logits)` first, else raise `ValueError`; then softmax, and `p[target] -= 1`.",
    ),
)


# sequence_loss


def sequence_probes(rng: random.Random) -> Iterator[Probe]:
    toy = np.array([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 3.0]])
    yield Probe((toy, np.array([0, 1, 2])), "edges")
    yield Probe((toy, np.array([-100, -100, 0])), "edges")
    yield Probe((toy, np.array([1, -100, -100])), "edges")
    yield Probe((toy * 1e4, np.array([-100, 1, 1])), "edges")
    yield Probe((toy[:1], np.array([2])), "edges")
    yield Probe((toy * 1e4, np.array([-100, 0, 1])), "edges")  # certain and right: a loss of exactly 0
    for _ in range(5):
        length, vocabulary = rng.randint(4, 6), rng.randint(3, 5)
        labels = [rng.randrange(vocabulary) for _ in range(length)]
        labels[rng.randrange(1, 3)] = -100
        labels[0], labels[-1] = rng.choice((-100, labels[0])), 0
        yield Probe((_logits(rng, length, vocabulary), np.array(labels)), "typical")
    large, labels = _logits(rng, 4, 3) * 3000 + 1e4, [-100, -100, rng.randrange(3), rng.randrange(3)]
    yield Probe((large, np.array(labels)), "typical")
    yield Probe((_logits(rng, 3, 4), np.array([rng.randrange(4), -100, -100])), "typical")
    sure = [rng.randrange(3) for _ in range(3)]
    yield Probe((1e5 * np.eye(3)[sure], np.array([-100, *sure[:2]])), "typical")
    yield Probe((1e5 * np.eye(3)[sure], np.array([-100, (sure[0] + 1) % 3, sure[1]])), "typical")  # sure, and wrong


def _losses(logits: np.ndarray, targets: Iterable[int]) -> list[float]:
    kept = [(row, target) for row, target in zip(logits, targets) if target != -100]
    return [-float(cross_entropy.log_softmax(row)[target]) for row, target in kept]


def _mean(losses: list[float]) -> float:
    if not losses:
        raise ValueError("no token is counted")
    return sum(losses) / len(losses)


@mistake(
    "does not shift",
    "You do not shift: the logits at a place predict the token after it, so the first label and the last logits go.",
)
def sequence_unshifted(logits, labels):
    return _mean(_losses(logits, labels))


@mistake(
    "shifts the wrong way",
    "You shift the wrong way: the logits would predict the token before, which the model has just read.",
)
def sequence_shifted_back(logits, labels):
    return _mean(_losses(logits[1:], labels[:-1]))


@mistake("shifts twice", "You shift by two: the logits at a place predict the very next token.")
def sequence_shifted_twice(logits, labels):
    return _mean(_losses(logits[:-2], labels[2:]))


@mistake(
    "divides by all positions",
    "You divide by all predicted tokens: those with −100 are not counted, neither in the sum nor in the number.",
)
def sequence_over_all(logits, labels):
    return sum(_losses(logits[:-1], labels[1:])) / (len(labels) - 1)


@mistake("divides by the length", "You divide by the length of the sequence: the mean is over the counted tokens only.")
def sequence_over_length(logits, labels):
    return sum(_losses(logits[:-1], labels[1:])) / len(labels)


@mistake(
    "sums",
    "You give the sum: return the mean over the counted tokens, because with a sum long answers would weigh more.",
)
def sequence_summed(logits, labels):
    return sum(_losses(logits[:-1], labels[1:]))


@mistake(
    "gives 0 for nothing",
    "Where no token is counted you give 0, and a broken mask would look like a perfect model: raise a `ValueError`.",
)
def sequence_zero_of_none(logits, labels):
    return _mean(_losses(logits[:-1], labels[1:]) or [0.0])


@mistake(
    "gives NaN for nothing",
    "Where no token is counted you give NaN, as torch does: it would ruin every weight in one step, so raise a "
    "`ValueError`.",
)
def sequence_nan_of_none(logits, labels):
    return _mean(_losses(logits[:-1], labels[1:]) or [math.nan])


@mistake(
    "overflows",
    "You take exp of the logits as they are: above 709 it is infinite. Subtract each row's largest first.",
)
def sequence_naive(logits, labels):
    cross_entropy.sequence_loss(logits, labels)
    counted = labels[1:] != -100
    with np.errstate(all="ignore"):
        powers = np.exp(logits[:-1][counted])
        p = powers[np.arange(len(powers)), labels[1:][counted]] / powers.sum(axis=1)
        return float(-np.log(p).mean())


@mistake(
    "leaves out token 0",
    "You leave out label 0 too, which is the id of a token. Only −100 is not counted: keep `labels != -100`.",
)
def sequence_without_token_zero(logits, labels):
    return _mean(_losses(logits[:-1], [label if label > 0 else -100 for label in labels[1:]]))


@mistake(
    "masks before the shift",
    "You leave out the places with −100 first and shift then: the first counted label loses its logits, which are at "
    "the place before it. Shift first.",
)
def sequence_masked_first(logits, labels):
    kept = labels != -100
    return _mean(_losses(logits[kept][:-1], labels[kept][1:]))


@mistake(
    "masks with unshifted labels",
    "You shift, but the places that you leave out are those where the unshifted labels are −100. Look at the shifted "
    "labels, `labels[1:]`: logits and labels are kept or left out together.",
)
def sequence_masked_unshifted(logits, labels):
    kept = labels[:-1] != -100
    return _mean([-float(cross_entropy.log_softmax(z)[y]) for z, y in zip(logits[:-1][kept], labels[1:][kept])])


@mistake(
    "takes the logarithm of a rounded p",
    "You take the logarithm of softmax: a tiny probability has been rounded to 0 by then, and its loss is infinite. Take "
    "log-sum-exp minus the right logit.",
)
def sequence_of_rounded(logits, labels):
    cross_entropy.sequence_loss(logits, labels)
    with np.errstate(all="ignore"):
        return _mean([-np.log(np.exp(-loss)) for loss in _losses(logits[:-1], labels[1:])])


SEQUENCE_LOSS = Exercise(
    id="cross_entropy.sequence_loss",
    points=3,
    minutes=8,
    reference=cross_entropy.sequence_loss,
    probes=sequence_probes,
    misconceptions=(
        sequence_unshifted,
        sequence_shifted_back,
        sequence_shifted_twice,
        sequence_over_all,
        sequence_over_length,
        sequence_summed,
        sequence_zero_of_none,
        sequence_nan_of_none,
        sequence_naive,
        sequence_without_token_zero,
        sequence_masked_first,
        sequence_masked_unshifted,
        sequence_of_rounded,
    ),
    hints=(
        "Three things in turn: shift, leave out what is −100, then the mean of ln Σ exp − the right logit.",
        "After `logits, targets = logits[:-1], labels[1:]` keep the places where `targets != -100`, in both.",
        (
            "`np.logaddexp.reduce(logits, axis=1)` is ln Σ exp of each row, without overflow; "
            "`logits[np.arange(len(targets)), targets]` are the right logits. Raise `ValueError` if nothing is "
            "counted."
        ),
    ),
)


# accumulate


def accumulate_probes(rng: random.Random) -> Iterator[Probe]:
    yield Probe(([6.0], [3]), "edges")
    yield Probe(([2.0, 6.0], [1, 9]), "edges")
    yield Probe(([0.0, 3.0], [0, 2]), "edges")
    yield Probe(([0.0, 0.0], [0, 0]), "edges")
    yield Probe(([0.0, 0.0], [3, 2]), "edges")
    for _ in range(5):
        counts = [rng.randint(1, 40) for _ in range(rng.randint(2, 5))]
        counts[0] += counts[1]
        yield Probe(([round(count * rng.uniform(0.1, 4), 2) for count in counts], counts), "typical")
    yield Probe(([0.0, round(rng.uniform(1, 9), 2), 1.5], [0, rng.randint(2, 9), 1]), "typical")
    yield Probe(([0.0] * 3, [0] * 3), "typical")
    yield Probe(([0.0] * 3, [rng.randint(1, 9), 0, rng.randint(1, 9)]), "typical")


@mistake(
    "takes the mean of means",
    "You take the mean of the parts' means: a token in a short part then weighs more than one in a long part.",
)
def accumulate_means(sums, counts):
    means = [total / count for total, count in zip(sums, counts) if count]
    return sum(means) / len(means) if means else math.nan


@mistake(
    "takes the mean of means, of empty parts too",
    "You take the mean of the parts' means, a part without a counted token as 0: it has no mean, and parts must not "
    "have equal weight anyway. Divide once, at the end.",
)
def accumulate_means_empty_too(sums, counts):
    cross_entropy.accumulate(sums, counts)
    return sum(total / count for total, count in zip(sums, counts) if count) / len(counts)


@mistake(
    "takes the mean of means, and fails at an empty part",
    "You take the mean of the parts' means, and divide by 0 where a part counts no token: divide once, at the end.",
)
def accumulate_means_failing(sums, counts):
    return sum(total / count for total, count in zip(sums, counts)) / len(sums)


@mistake(
    "takes the mean of means, NaN at an empty part",
    "You take the mean of the parts' means, and a part that counts no token is 0/0, NaN: divide once, at the end.",
)
def accumulate_means_nan(sums, counts):
    with np.errstate(all="ignore"):
        return float((np.array(sums) / np.array(counts)).mean())


@mistake(
    "divides by the parts",
    "You divide by the number of parts: the loss is a mean over tokens, so divide by all counted tokens.",
)
def accumulate_over_parts(sums, counts):
    return sum(sums) / len(sums)


@mistake("sums the means", "You add up the parts' means: with more parts the loss, and with it the step, would grow.")
def accumulate_sum_of_means(sums, counts):
    cross_entropy.accumulate(sums, counts)
    return sum(total / count for total, count in zip(sums, counts) if count)


@mistake("takes sums for means", "You multiply by the counts once more: what comes in are sums already, not means.")
def accumulate_weighted(sums, counts):
    cross_entropy.accumulate(sums, counts)
    return sum(total * count for total, count in zip(sums, counts)) / sum(counts)


@mistake("does not divide", "You give the sum: divide it by the number of counted tokens.")
def accumulate_undivided(sums, counts):
    return sum(sums)


@mistake(
    "gives 0 for nothing",
    "Where no token is counted you give 0, and a broken mask would look like a perfect model: raise a `ValueError`.",
)
def accumulate_zero_of_none(sums, counts):
    return cross_entropy.accumulate(sums, counts) if sum(counts) else 0.0


ACCUMULATE = Exercise(
    id="cross_entropy.accumulate",
    points=1,
    minutes=4,
    reference=cross_entropy.accumulate,
    probes=accumulate_probes,
    misconceptions=(
        accumulate_means,
        accumulate_means_empty_too,
        accumulate_means_failing,
        accumulate_means_nan,
        accumulate_over_parts,
        accumulate_sum_of_means,
        accumulate_weighted,
        accumulate_undivided,
        accumulate_zero_of_none,
    ),
    hints=(
        "What would the mean be if all parts were in one batch?",
        "Add up all losses and all tokens, and divide once.",
        "`sum(sums) / sum(counts)`, after raising `ValueError` where `sum(counts)` is 0.",
    ),
)
