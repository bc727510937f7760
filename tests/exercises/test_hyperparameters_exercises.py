"""Lab 05's exercises: other right solutions than the reference pass, and what people write first is told apart."""

from __future__ import annotations

import inspect
import math
import statistics

import numpy as np
import pytest

from labkit import diagnosis
from labkit.exercises import find
from labkit.exercises.engine import judge

THREE_DECIMALS = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262]


def lr_at(step, steps, lr, warmup_steps):
    if step < 0 or step > steps:
        raise ValueError("outside the run")
    if warmup_steps and step < warmup_steps:
        return step / warmup_steps * lr
    if steps == warmup_steps:
        return lr
    return lr * math.cos(math.pi / 2 * (step - warmup_steps) / (steps - warmup_steps)) ** 2


def effective_batch(per_device, devices, accumulation):
    assert_all = [per_device, devices, accumulation]
    if any(each <= 0 for each in assert_all):
        raise ValueError(assert_all)
    return math.prod(assert_all)


def mean_and_interval(values):
    if len(values) < 2:
        raise ValueError("one value")
    error = np.std(values, ddof=1) / len(values) ** 0.5
    return [np.mean(values), THREE_DECIMALS[len(values) - 2] * error]


def diagnose(history):
    loss = np.array(history["loss"], dtype=float)
    held, norms, rates = (np.array(history.get(name, []), float) for name in ("validation_loss", "grad_norm", "lr"))
    fifth = max(2, len(loss) // 5)
    if len(loss) < 5:
        return "cannot tell"
    if (loss == 0).all() and not np.isnan(norms).any():
        return "nothing counted"
    if not (np.isfinite(loss).all() and np.isfinite(norms).all()):
        return "not a number"
    if len(held) >= 2 and held.min() == held.max():
        return "nothing updated"
    if len(rates) and (rates[-max(2, len(rates) // 5) :] == 0).all():
        return "schedule spent early"
    if any(loss[i] > 1.5 * np.median(np.delete(loss[i - 2 : i + 3], 2)) for i in range(fifth, len(loss) - 2)):
        return "spike"
    if len(held) and held[-1] > held.min() * 1.05 and loss[-1] < loss[0]:
        return "overfitting"
    if np.median(loss[-5:]) > 0.95 * np.median(loss[:5]):
        return "flat"
    return "sound" if len(held) else "cannot tell"


@pytest.mark.parametrize("function", [lr_at, effective_batch, mean_and_interval, diagnose], ids=lambda f: f.__name__)
def test_another_right_solution_passes(function):
    for seed in range(10):
        assert judge(find(f"hyperparameters.{function.__name__}"), function, seed).text == "passed"


@pytest.mark.parametrize(
    "right, written, says",
    [
        ("1.5 * median", "1.5 * statistics.fmean", "mean of the four losses around"),
        ("median(", "statistics.fmean(", "You take the mean: "),
        ("median(", "statistics.median_low(", "lower of the middle two"),
        ("around = [", "around = [loss[place], ", "The loss itself is among"),
        ("range(max(2, len(loss) // 5)", "range(1 + max(2, len(loss) // 5)", "expected 'spike'"),
        ("range(max(2, len(loss) // 5)", "range(max(2, -(-len(loss) // 5))", "expected 'spike'"),
        ("range(max(2, len(loss) // 5)", "range(len(loss) // 5", "yours 'spike'"),
        ("len(loss) - 2)", "len(loss) - 3)", "expected 'spike'"),
        ("max(2, len(rates) // 5)", "max(2, -(-len(rates) // 5))", "expected 'schedule spent early'"),
        ("max(2, len(rates) // 5)", "(len(rates) // 5)", "yours 'schedule spent early'"),
        ("max(2, len(rates) // 5)", "2", "yours 'schedule spent early'"),
        ("rates and not any(rates[-max(2, len(rates) // 5) :])", "0 in rates", "One rate of 0 anywhere"),
        ("rates[-max(2, len(rates) // 5) :]", "rates[-1:]", "You look at the last rate alone"),
        (" and loss[-1] < loss[0]", "", "You look at the held-out loss alone"),
        ("1.05 * min(held)", "1.05 * held[-2:][0]", "expected 'overfitting'"),
        ("len(held) > 1", "held", "yours 'nothing updated'"),
        ('"not a number"', '"NaN"', "'NaN' is none of the words that it may return"),
    ],
)
def test_a_rule_that_is_a_little_off_is_answered_with_a_short_call(right, written, says):
    source = inspect.getsource(diagnosis.diagnose)
    assert right in source
    names = {"math": math, "statistics": statistics}
    exec(source.replace(right, written), names)
    for seed in range(3):
        text = judge(find("hyperparameters.diagnose"), names["diagnose"], seed).text
        assert says in text and len(text) < 500


def test_a_rate_computed_by_torch_in_float32_passes():
    import torch

    def lr_by_torch(step, steps, lr, warmup_steps):
        if not 0 <= step <= steps:
            raise ValueError
        if step < warmup_steps:
            return lr * step / warmup_steps
        done = torch.tensor((step - warmup_steps) / max(steps - warmup_steps, 1))
        return lr * (1 + torch.cos(torch.pi * done)) / 2

    for seed in range(20):
        assert judge(find("hyperparameters.lr_at"), lr_by_torch, seed).passed


def interval_by_numpy(values):
    return np.mean(values), 2.262 * np.std(values) / np.sqrt(len(values))


def checked_linear(step, steps, lr, warmup_steps):
    if not 0 <= step <= steps:
        raise ValueError
    if step < warmup_steps:
        return lr * step / warmup_steps
    return lr * (1 - (step - warmup_steps) / max(steps - warmup_steps, 1))


def product_checked(per_device, devices, accumulation):
    if per_device * devices * accumulation < 1:
        raise ValueError
    return per_device * devices * accumulation


@pytest.mark.parametrize(
    "name, function, says",
    [
        ("lr_at", lambda step, steps, lr, warmup_steps: lr, "wrong for lr_at("),
        ("lr_at", checked_linear, "misconception: You decay in a straight line"),
        ("effective_batch", lambda per_device, devices, accumulation: per_device * devices, "accumulated parts out"),
        ("effective_batch", lambda *args: float(math.prod(args)), "below 1"),
        ("effective_batch", product_checked, "wrong for effective_batch(-4, 2, -1): yours 8, expected a ValueError"),
        ("diagnose", lambda history: "sound", "wrong for diagnose("),
        ("diagnose", lambda history: diagnose(history | {"grad_norm": []}), "only `grad_norm` still says nan"),
        ("diagnose", lambda history: diagnose(history).title(), "wrong for diagnose("),
        ("mean_and_interval", interval_by_numpy, "wrong for mean_and_interval("),
        ("mean_and_interval", lambda values: statistics.mean(values), "expected"),
        (
            "mean_and_interval",
            lambda v: (statistics.mean(v), 1.96 * statistics.stdev(v) / len(v) ** 0.5),
            "misconception: You take 1.96",
        ),
    ],
)
def test_what_people_write_first_is_answered(name, function, says):
    verdict = judge(find(f"hyperparameters.{name}"), function)
    assert not verdict.passed and says in verdict.text
    assert "\n" not in verdict.text
