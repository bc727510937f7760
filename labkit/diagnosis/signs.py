"""What can be seen in a log, measured: `see` turns a history's lists into `Signs`, each a number or a place.

A sign that needs a column that the log lacks is None. What a sign means is in `causes`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Signs:
    """Shares are of the run, from 0 to 1; losses in nats a token."""

    lines: int  # of the log, training
    first: float | None = None  # training loss at the start …
    last: float | None = None  # … and in the last fifth
    ln_vocabulary: float | None = None  # the loss of a model that knows nothing
    start_ratio: float | None = None  # held-out loss before the first step, over the base's own with the right labels
    start: float | None = None  # held-out loss before the first step
    surprise: float | None = None  # the same over the entropy of the predictions: how much too sure they are
    multiple: float | None = None  # training loss over held-out loss, the usual ratio later in the run
    multiple_steady: bool = False  # and whether it is about the same from the start
    all_zero: bool = False  # every loss is 0
    nan_at: float | None = None  # where the first loss or gradient norm is NaN or infinite
    before_nan: float | None = None  # the last loss before, over the lowest before
    counted: float | None = None  # tokens that carry loss, in an average step
    epochs: float | None = None
    half: float | None = None  # where half of the whole fall of the loss is done
    rise: float | None = None  # the largest lasting rise of the training loss, over its lowest before
    rise_at: float | None = None
    rise_of_fall: float | None = None  # the same as a share of all that had been gained
    climb: float | None = None  # the highest the loss goes, three lines taken together, over its first
    spike: float | None = None  # the largest rise that is over at the next line, relative to its surroundings
    spikes: int = 0
    noise: float | None = None  # the scatter of the training loss about its course, as a share of it, second half
    validation_rise: float | None = None  # held-out loss at the end over its lowest
    validation_gain: float | None = None  # held-out loss before the first step over the one at the end
    validation_jump: float | None = None  # its largest rise between two looks, over the one before
    gap: float | None = None  # held-out loss over training loss at the end
    frozen: bool = False  # the held-out loss is the same to the last digit at every look
    rate_zero_from: float | None = None  # where the rate becomes 0 for the rest of the run
    grad_fall: float | None = None  # the usual gradient norm where it is largest, over that of the last fifth
    grad_peak: float | None = None  # the largest gradient norm over the first
    grad_spread: float | None = None  # largest over usual gradient norm after the first fifth
    straight: float | None = None  # distance of the weights from the start, over the sum of the rates
    walk: float | None = None  # the same over the root of the sum of the squared rates: about 1 if each step is chance
    distance_fell: bool = False  # the distance from the start became much smaller
    share_changed: float | None = None
    tokens_spread: float | None = None  # of the counted tokens about their mean, as a share of it
    tokens_run: float | None = None  # likeness of neighbouring steps in counted tokens: about 0 where rows are shuffled
    tokens_skew: float | None = None  # of the differences of neighbours: large where they fall slowly and jump back
    tokens_peak: float | None = None  # share of their variance that one period, and the half of it, explain
    tokens_periods: float | None = None  # how often that period is in the run

    def as_dict(self) -> dict:
        return {name: value for name, value in dataclasses.asdict(self).items() if value is not None}


def see(history: Mapping[str, Sequence]) -> Signs:
    """The signs in a history (named as in `formats.Log`). Raises ValueError if it has no training loss, or columns of
    different lengths.
    """
    with np.errstate(all="ignore"):  # a ratio to zero is infinite or NaN, and no rule applies to it
        return _see(history)


def _see(history: Mapping[str, Sequence]) -> Signs:
    columns = {
        name: _array(values) for name, values in history.items() if len(values) and not isinstance(values[0], list)
    }
    loss = columns.get("loss")
    if loss is None:
        raise ValueError("the history has no training loss")
    count = len(loss)
    for name in ("step", "grad_norm", "lr", "unmasked_tokens", "epoch"):
        if name in columns and len(columns[name]) != count:
            raise ValueError(f"{name} has {len(columns[name])} entries, loss {count}")
    step = columns.get("step", np.arange(1, count + 1))
    grad = columns.get("grad_norm")
    found: dict = {"lines": count, "all_zero": bool(np.all(loss == 0))}
    found |= _not_a_number(loss, history.get("grad_norm"), found["all_zero"])
    if "nan_at" in found:
        loss = np.where(np.arange(count) >= round(found["nan_at"] * count), np.nan, loss)
    sound = np.isfinite(loss)
    found |= _course(loss[sound], np.flatnonzero(sound) / count)
    if "validation_loss" in columns and not found["all_zero"]:
        found |= _held_out(step, loss, columns)
    if found["all_zero"] and "base_loss" in columns:
        found["start_ratio"] = 0.0
    if "ln_vocabulary" in columns:
        found["ln_vocabulary"] = float(columns["ln_vocabulary"][0])
    if "unmasked_tokens" in columns:
        found |= _tokens(columns["unmasked_tokens"])
    if "epoch" in columns and np.isfinite(columns["epoch"]).any():
        found["epochs"] = float(np.nanmax(columns["epoch"]))
    if grad is not None and np.isfinite(grad).sum() > 4:
        later = grad[count // 5 :]
        later = later[np.isfinite(later)]
        usual = _running(grad[np.isfinite(grad)])
        if np.isfinite(grad[0]) and grad[0] > 0:
            found["grad_peak"] = float(np.nanmax(grad[1:]) / grad[0])
        end = usual[-max(1, len(usual) // 5) :].mean()
        if end > 0:
            found["grad_fall"] = float(usual.max() / end)
        if len(later) and np.median(later) > 0:
            found["grad_spread"] = float(later.max() / np.median(later))
    if "lr" in columns:
        found |= _rates(columns["lr"], step, columns)
    if "share_changed" in columns:
        changed = columns["share_changed"][np.isfinite(columns["share_changed"])]
        found["share_changed"] = float(changed[-1]) if len(changed) else None
    return Signs(**found)


def _array(values: Sequence) -> np.ndarray:
    return np.array([math.nan if value is None else value for value in values], dtype=float)


def _not_a_number(loss: np.ndarray, grads: Sequence | None, all_zero: bool) -> dict:
    """Where NaN or infinity begins. Trainers that hide NaN log 0, or continue with a mean, while the gradient norm is
    NaN.
    """
    ends = ~np.isfinite(loss)
    if grads is not None:
        ends |= np.array([value is not None and not math.isfinite(value) for value in grads])
    elif not all_zero:  # without gradient norms: zeros from some place to the end
        zero = loss == 0
        ends |= np.array([bool(zero[place:].all()) and len(zero) - place > 2 for place in range(len(zero))])
    if not ends.any():
        return {}
    at = int(ends.argmax())
    before = loss[:at][np.isfinite(loss[:at])]
    ratio = float(before[-1] / before.min()) if len(before) and before.min() > 0 else 1.0
    return {"nan_at": at / len(loss), "before_nan": ratio}


def _running(values: np.ndarray, width: int = 5) -> np.ndarray:
    """The running median, over windows that shrink at the ends."""
    half = width // 2
    if len(values) < width:
        return np.array([np.median(values[max(0, at - half) : at + half + 1]) for at in range(len(values))])
    inner = np.median(np.lib.stride_tricks.sliding_window_view(values, width), axis=1)
    ends = [np.median(values[: at + half + 1]) for at in range(half)]
    return np.r_[ends, inner, [np.median(values[-half - at :]) for at in range(half, 0, -1)]]


def _around(values: np.ndarray, reach: int = 3) -> np.ndarray:
    """For each value the median of its neighbours, itself left out."""
    count = len(values)
    padded = np.pad(values, reach, constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1)
    return np.nanmedian(np.delete(windows, reach, axis=1), axis=1) if count > 1 else values


def _course(loss: np.ndarray, place: np.ndarray) -> dict:
    """The course of the training loss: its ends, its fall, lasting rises, spikes, scatter."""
    if len(loss) < 5:
        return {"first": float(loss[0]), "last": float(loss[-1])} if len(loss) else {}
    count = len(loss)
    smooth = _running(loss)
    first, last = float(loss[0]), float(loss[-max(1, count // 5) :].mean())
    found: dict = {"first": first, "last": last}
    fall = first - min(last, float(smooth.min()))
    if fall > 0.02 * first:
        below = np.flatnonzero(smooth <= first - fall / 2)
        found["half"] = float(place[below[0] if len(below) else -1])  # only the last losses may be as low
    lowest = np.minimum.accumulate(smooth)
    rises = smooth / np.maximum(lowest, 1e-9)
    at = int(rises.argmax())
    found["climb"] = float(_running(loss[1:], 3).max() / first) if first > 0 else None
    found |= {"rise": float(rises[at]) - 1, "rise_at": float(place[at])}
    gained = first - lowest[at]
    found["rise_of_fall"] = float((smooth[at] - lowest[at]) / gained) if gained > 0 else 0.0
    around = np.maximum(_around(loss), 1e-9)
    scatter = 1.4826 * np.median(np.abs(loss / around - 1)[count // 3 :]) + 1e-6
    beside = np.sqrt(np.r_[loss[0], loss[:-1]] * np.r_[loss[1:], loss[-1]])  # on a steep fall most neighbours are later
    above = loss / np.maximum(around, beside) - 1
    above[: max(2, count // 8)] = 0
    found["spike"] = float(above.max())
    found["spikes"] = int(((above > 0.25) & (above > 6 * scatter)).sum())
    half = slice(count // 2, None)
    found["noise"] = float(np.std(loss[half] / np.maximum(smooth[half], 1e-9) - 1))
    return found


def _held_out(step: np.ndarray, loss: np.ndarray, columns: Mapping[str, np.ndarray]) -> dict:
    held, at = columns["validation_loss"], columns["validation_step"]
    kept = np.isfinite(held) & (held > 0)
    held, at = held[kept], at[kept]
    if not len(held):
        return {}
    found: dict = {"start": float(held[0])} if at[0] == 0 else {}
    if "base_loss" in columns and at[0] == 0 and columns["base_loss"][0] > 0:
        found["start_ratio"] = float(held[0] / columns["base_loss"][0])
    if "entropy" in columns and at[0] == 0 and columns["entropy"][0] > 0:
        found["surprise"] = float(held[0] / columns["entropy"][0])
    finite = np.isfinite(loss)
    if finite.sum() < 3:
        return found
    near = [float(np.mean(loss[finite][np.argsort(np.abs(step[finite] - when))[:3]])) for when in at]
    later = np.array(near)[len(held) // 3 :] / held[len(held) // 3 :]
    found["multiple"] = float(np.median(later))
    first = float(loss[finite][0] / held[0])
    steady = found["multiple"] != 0 and 0.4 < first / found["multiple"] < 2.2
    found["multiple_steady"] = bool(steady and later.max() < 2 * later.min())
    found["gap"] = float(held[-1] / near[-1]) if near[-1] > 0 else None
    if len(held) > 1:
        found["frozen"] = bool(np.all(held == held[0]))
        found["validation_rise"] = float(held[-1] / held.min()) - 1
        found["validation_gain"] = float(held[0] / held[-1]) if held[-1] > 0 else None
        found["validation_jump"] = float((held[1:] / np.maximum(held[:-1], 1e-9)).max()) - 1
    return found


def _tokens(tokens: np.ndarray) -> dict:
    """Whether the batches' sizes in counted tokens are random, or in an order."""
    if not np.isfinite(tokens).any():
        return {}
    found: dict = {"counted": float(np.nanmean(tokens))}
    tokens = tokens[np.isfinite(tokens)]
    if len(tokens) < 8 or not np.ptp(tokens) > 1e-6 * np.abs(tokens).max():
        return found
    left = tokens - tokens.mean()
    found["tokens_spread"] = float(tokens.std() / abs(tokens.mean())) if tokens.mean() else None
    found["tokens_run"] = float((left[1:] * left[:-1]).mean() / left.var())
    steps = np.diff(tokens)
    found["tokens_skew"] = float(((steps - steps.mean()) ** 3).mean() / max(steps.std(), 1e-9) ** 3)
    power = np.abs(np.fft.rfft(left)[1:]) ** 2
    both = power + np.array([power[2 * k + 1] if 2 * k + 1 < len(power) else 0.0 for k in range(len(power))])
    found["tokens_peak"] = float(both.max() / power.sum())
    found["tokens_periods"] = float(both.argmax() + 1)
    return found


def _rates(lr: np.ndarray, step: np.ndarray, columns: Mapping[str, np.ndarray]) -> dict:
    found: dict = {}
    if not np.isfinite(lr).all():
        return found
    over = np.flatnonzero(lr > 1e-6 * lr.max())
    if len(over) and over[-1] + 1 < len(lr):
        found["rate_zero_from"] = float((over[-1] + 1) / len(lr))
    if "distance" in columns:
        distance = columns["distance"][np.isfinite(columns["distance"])]
        widths = np.diff(np.r_[0, step])
        if len(distance) and (lr * widths).sum() > 0:
            at = columns["validation_step"][len(distance) - 1]  # the last look at which the weights were numbers
            spent, chance = (float(np.interp(at, step, np.cumsum(each * widths))) for each in (lr, lr**2))
            if spent > 0:
                found["straight"] = float(distance[-1] / spent)
                found["walk"] = float(distance[-1] / math.sqrt(chance))
            found["distance_fell"] = bool((distance[1:] < 0.85 * distance[:-1]).any())
    return found
