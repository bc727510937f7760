"""Cross-entropy: the loss of a token, of a sequence, of a batch in parts, and the gradient that it sends to the logits.

First what a learner writes (`token_loss`, `log_softmax`, `logit_gradient`, `sequence_loss`, `accumulate`), in float64
and without a library's loss; then functions that are only read, and losses of a model on a text. Losses are in nats.
Invalid input raises `ValueError`: logits that are not finite, a target outside the vocabulary, no counted token. How a
model is trained with the loss is in `training`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

    Model: TypeAlias = PreTrainedModel | PeftModel

# What a learner writes. Each is self-contained: its source runs with nothing but math and numpy.


def token_loss(p: float) -> float:
    """−ln p, the surprise in nats at a token that had the probability `p`; infinite where p is 0.

    Raises ValueError if p is not a probability: below 0, above 1, NaN.
    """
    if not 0 <= p <= 1:
        raise ValueError(f"p is {p}: a probability lies between 0 and 1")
    return abs(math.log(p)) if p > 0 else math.inf


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """ln softmax along the last axis, in the shape of `logits`; exact where exp alone would overflow.

    Raises ValueError for logits that are not finite, and for empty ones.
    """
    logits = np.asarray(logits, dtype=float)
    if not logits.size or not np.isfinite(logits).all():
        raise ValueError("the logits must be finite numbers, at least one; look for what made them NaN or infinite")
    below = logits - logits.max(axis=-1, keepdims=True)  # the largest is 0 now, so no exp is above 1
    return below - np.log(np.exp(below).sum(axis=-1, keepdims=True))


def logit_gradient(logits: np.ndarray, target: int) -> np.ndarray:
    """The gradient of one token's loss on its logits, of shape (vocabulary,): softmax minus one-hot.

    Raises ValueError for a target outside the vocabulary, and for logits that are not finite.
    """
    logits = np.asarray(logits, dtype=float)
    if not 0 <= target < len(logits):
        raise ValueError(f"the target is {target}, and the vocabulary has the ids 0 to {len(logits) - 1}")
    if not np.isfinite(logits).all():
        raise ValueError("the logits must be finite numbers; look for what made them NaN or infinite")
    gradient = np.exp(logits - logits.max())
    gradient /= gradient.sum()
    gradient[target] -= 1
    return gradient


def sequence_loss(logits: np.ndarray, labels: np.ndarray) -> float:
    """The mean loss over the counted tokens of one sequence: logits (length, vocabulary), labels (length,).

    Labels are unshifted, as in transformers: the logits at place t predict the label at t + 1, and -100 is not
    counted. Raises ValueError if no token is counted, for unequal lengths, for a label outside the vocabulary, and for
    logits that are not finite.
    """
    logits, labels = np.asarray(logits, dtype=float), np.asarray(labels)
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise ValueError(f"logits {logits.shape} and labels {labels.shape}: give (length, vocabulary) and (length,)")
    logits, targets = logits[:-1], labels[1:]
    counted = targets != -100
    if not counted.any():
        raise ValueError("no token is counted: all labels are -100, or nothing comes before the first; check the mask")
    logits, targets = logits[counted], targets[counted]
    if targets.min() < 0 or targets.max() >= logits.shape[1]:
        raise ValueError(f"a label lies outside the vocabulary, whose ids go from 0 to {logits.shape[1] - 1}")
    if not np.isfinite(logits).all():
        raise ValueError("the logits must be finite numbers; look for what made them NaN or infinite")
    top = logits.max(axis=1)
    log_sums = top + np.log(np.exp(logits - top[:, None]).sum(axis=1))
    return float((log_sums - logits[np.arange(len(targets)), targets]).mean())


def accumulate(sums: list[float], counts: list[int]) -> float:
    """The mean loss of a batch from its parts: summed losses and counted tokens of each; a part may count none.

    Raises ValueError if no token is counted at all, and if there is not one count for each sum.
    """
    if len(sums) != len(counts):
        raise ValueError(f"{len(sums)} sums and {len(counts)} counts: give one of each for every part")
    if sum(counts) == 0:
        raise ValueError("no token of any part is counted; check the mask")
    return sum(sums) / sum(counts)


# Given, only to be read.


def bits(loss: float) -> float:
    """A loss in bits instead of nats."""
    return loss / math.log(2)


def perplexity(loss: float) -> float:
    """e to the loss: among how many equally likely tokens a choice would surprise as much."""
    return math.exp(loss)


def shift(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(logits that predict something, what they should predict): the last logits and the first label are dropped."""
    return logits[:-1], labels[1:]


def masked_mean(values: np.ndarray, labels: np.ndarray) -> float:
    """The mean of the values whose label is not -100. Raises ValueError if there is none."""
    counted = np.asarray(labels) != -100
    if not counted.any():
        raise ValueError("no token is counted: all labels are -100")
    return float(np.asarray(values)[counted].mean())


def smoothed_gradient(logits: np.ndarray, target: int, smoothing: float) -> np.ndarray:
    """The gradient under label smoothing (Szegedy et al. 2016, arXiv 1512.00567): softmax minus a target spread out.

    The share `smoothing` of the target is spread equally over all tokens, so the gradient is 0 at a p slightly above 1
    − smoothing, and pushes back above that.
    """
    if not 0 <= smoothing <= 1:
        raise ValueError(f"smoothing is {smoothing}: a share lies between 0 and 1")
    spread = logit_gradient(logits, target)
    spread[target] += smoothing
    return spread - smoothing / len(spread)


# A model's losses on a text.


def token_losses(model: Model, ids: Sequence[int]) -> list[float | None]:
    """The loss of each token of a text, given everything before it; the first has None, because nothing comes before
    it.

    Raises ValueError for no ids, and for one outside the model's vocabulary.
    """
    import torch

    table: Any = model.get_input_embeddings()
    rows = table.weight.shape[0]
    if not len(ids) or min(ids) < 0 or max(ids) >= rows:
        raise ValueError(f"give at least one id; each is one of 0 to {rows - 1}")
    row = torch.tensor([list(ids)], device=model.device)
    with torch.no_grad():
        logits = model(input_ids=row).logits[0, :-1].float()
    losses = torch.nn.functional.cross_entropy(logits, row[0, 1:], reduction="none")
    return [None, *losses.tolist()]


def counted_losses(model: Model, rows: Iterable) -> list[float]:
    """The losses of all tokens of `rows` (as `masking.render` makes them) whose label is not -100, in one list."""
    losses = []
    for row in rows:
        of_row = zip(token_losses(model, row.input_ids), row.labels)
        losses += [loss for loss, label in of_row if label != -100 and loss is not None]
    return losses


def by_probability(losses: Sequence[float], edges: Sequence[float]) -> list[tuple[int, float, float]]:
    """(tokens, loss, gradient) for each bin of p between neighbouring edges; the last holds its upper edge too.

    The gradient of a token is the L1 norm of `logit_gradient`, which is 2(1 − p).
    """
    bins = []
    for low, high in zip(edges, edges[1:]):
        held = [loss for loss in losses if low <= math.exp(-loss) < high or (high == edges[-1] == math.exp(-loss))]
        bins.append((len(held), math.fsum(held), math.fsum(2 * (1 - math.exp(-loss)) for loss in held)))
    return bins
