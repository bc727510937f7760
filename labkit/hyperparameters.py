"""Hyperparameters: the learning rate at each step, how many rows an update sees, and what several seeds say together.

What a learner writes in lab 05. Each function is self-contained: its source runs with nothing but math. Invalid input
raises `ValueError`. The schedule that the kit itself trains with is `training.schedule`; how a run is read is in
`diagnosis`.
"""

from __future__ import annotations

import math


def lr_at(step: int, steps: int, lr: float, warmup_steps: int) -> float:
    """The learning rate of update `step`, counted from 0: a straight rise over `warmup_steps`, then a cosine to 0.

    Update 0 of a warmup has rate 0; the update after its last has the full `lr`; `step == steps`, where the run is
    over, has 0. Like transformers' `get_cosine_schedule_with_warmup`, except that the latter rises again after the end:
    here a step before the start or after the end raises ValueError, and so do fewer than one step and a negative
    warmup.
    """
    if steps < 1 or warmup_steps < 0 or not 0 <= step <= steps:
        raise ValueError(
            f"step {step} of {steps}, {warmup_steps} of warmup: give 0 <= step <= steps and a warmup from 0"
        )
    if step < warmup_steps:
        return lr * step / warmup_steps
    done = (step - warmup_steps) / max(steps - warmup_steps, 1)  # the share of the decay that is done
    return lr * (1 + math.cos(math.pi * done)) / 2


def effective_batch(per_device: int, devices: int, accumulation: int) -> int:
    """How many rows one update sees: rows a device takes at once × devices × parts that are accumulated.

    Raises ValueError where one of them is below 1.
    """
    if min(per_device, devices, accumulation) < 1:
        raise ValueError(f"{per_device} × {devices} × {accumulation}: each must be an integer of at least 1")
    return per_device * devices * accumulation


def mean_and_interval(values: list[float]) -> tuple[float, float]:
    """(mean, half-width of its 95% interval) of independent values, such as the scores of several seeds.

    The half-width is t · s / √n: s the standard deviation with n − 1 below it, t the 97.5% quantile of Student's t with
    n − 1 degrees of freedom, correct to five digits. Raises ValueError for fewer than two values, which have no spread,
    and for one that is not finite.
    """
    n = len(values)
    if n < 2 or not all(math.isfinite(value) for value in values):
        raise ValueError(f"{n} values: an interval needs at least two, and finite ones; run more seeds")
    mean = math.fsum(values) / n
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    table = (12.7062, 4.30265, 3.18245, 2.77645, 2.57058, 2.44691, 2.36462, 2.30600, 2.26216)
    if n <= 10:
        t = table[n - 2]
    else:  # by its distance from the normal quantile: Abramowitz and Stegun 1964, 26.7.5
        t = 1.959964
        for power, weight in enumerate((2.372271, 2.822499, 2.555850, 1.589534), start=1):
            t += weight / (n - 1) ** power
    return mean, t * spread / math.sqrt(n)
