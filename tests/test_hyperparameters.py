"""Hyperparameters: transformers' schedule, scipy's interval, and a clear word for what cannot be."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from transformers import get_cosine_schedule_with_warmup

from labkit import training
from labkit.hyperparameters import effective_batch, lr_at, mean_and_interval


def transformers_rate(step, steps, lr, warmup_steps):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    return get_cosine_schedule_with_warmup(optimizer, warmup_steps, steps).lr_lambdas[0](step) * lr


@given(st.integers(1, 400), st.integers(0, 450), st.floats(1e-6, 1.0), st.data())
def test_the_schedule_is_transformers(steps, warmup, lr, data):
    step = data.draw(st.integers(0, steps))
    assert math.isclose(
        lr_at(step, steps, lr, warmup), transformers_rate(step, steps, lr, warmup), rel_tol=1e-12, abs_tol=1e-18
    )


@given(st.integers(2, 400), st.data())
def test_it_rises_to_the_full_rate_right_after_the_warmup_and_falls_to_zero(steps, data):
    warmup = data.draw(st.integers(0, steps - 1))
    rates = [lr_at(step, steps, 0.1, warmup) for step in range(steps + 1)]
    assert rates[warmup] == max(rates) == 0.1 and rates[steps] == 0
    assert rates == sorted(rates[:warmup]) + sorted(rates[warmup:], reverse=True)


@given(st.integers(1, 300), st.data())
def test_the_kits_own_schedule_is_the_same_one_warmup_step_on(steps, data):
    """`training.schedule` wastes no update at rate 0: its warmup is one step ahead, its cosine the same."""
    warmup, step = data.draw(st.integers(0, steps - 1)), data.draw(st.integers(0, steps - 1))
    kits = training.schedule(step, steps, 1.0, warmup / steps, "cosine")
    assert math.isclose(kits, lr_at(step + (step < warmup), steps, 1.0, warmup), rel_tol=1e-9)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=80))
def test_the_interval_is_scipys(values):
    mean, half = mean_and_interval(values)
    assert math.isclose(mean, np.mean(values), rel_tol=1e-12, abs_tol=1e-9)
    expected = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    assert math.isclose(half, expected, rel_tol=1e-5, abs_tol=1e-6)


def test_the_widths_that_the_chapter_names():
    """In standard deviations: 2.48 at n = 3, 1.24 at n = 5."""
    widths = [mean_and_interval(values)[1] / np.std(values, ddof=1) for values in ([1, 2, 4], [1, 2, 4, 3, 7])]
    assert [round(width, 2) for width in widths] == [2.48, 1.24]


@given(st.integers(1, 64), st.integers(1, 8), st.integers(1, 64))
def test_a_batch_is_what_one_update_sees(per_device, devices, accumulation):
    rows = [None for _ in range(accumulation) for _ in range(devices) for _ in range(per_device)]
    assert effective_batch(per_device, devices, accumulation) == len(rows)


BAD = [
    (lr_at, (-1, 10, 1.0, 2)),
    (lr_at, (11, 10, 1.0, 2)),
    (lr_at, (0, 0, 1.0, 0)),
    (lr_at, (0, 10, 1.0, -1)),
    (effective_batch, (0, 1, 1)),
    (effective_batch, (1, 0, 1)),
    (effective_batch, (1, 1, -2)),
    (mean_and_interval, ([],)),
    (mean_and_interval, ([0.4],)),
    (mean_and_interval, ([0.4, math.nan],)),
    (mean_and_interval, ([0.4, math.inf],)),
]


@pytest.mark.parametrize("function, args", BAD)
def test_what_cannot_be_is_one_line(function, args):
    with pytest.raises(ValueError) as caught:
        function(*args)
    assert "\n" not in str(caught.value) and len(str(caught.value)) > 20
