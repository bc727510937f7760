"""Eight adapters at once beside eight separate runs: the same trials, rows and steps, in one process each time.

8 rows a step for each adapter, different rates, ranks and seeds. `ratio` is separate over together, above 1 is better.
A third way, each run on a core of its own with one thread, is what a sweep would do otherwise. Beside the times, how far
the losses of the two ways lie apart. Then the live sweep of lab 05: eight rates, 50 steps of 16.

On a CUDA device (`--device cuda`) there are no cores to divide and no live sweep: eight adapters, and then 32.
"""

from __future__ import annotations

import dataclasses
import time

from labkit import models, runs, training
from labkit.masking import render
from labkit.training import Settings, Trial

STEPS, ROWS = 40, 8
RATES = (2e-4, 5e-4, 1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2, 3.2e-2)
RANKS = (4, 8, 16, 16, 16, 16, 32, 32)
RATIO, LIVE_SECONDS = 1 / 0.7, 60
RATIO_ON_CUDA = 1 / 0.25  # for eight


def main(args) -> dict:
    """Figures for `labkit bench sweep`."""
    device = models.device(args.device if args else "cpu")
    model, tokenizer = models.load(device=str(device))
    train, test = runs.mix(runs.named("rate-lora-0.008"))
    rows = [render(example, tokenizer) for example in train[:800]]
    pad = tokenizer.pad_token_id
    settings = Settings(steps=STEPS, batch_size=ROWS, number_format="float32")
    trials = [
        Trial(dataclasses.replace(settings, lr=lr, seed=seed), rank, 2 * rank)
        for seed, (lr, rank) in enumerate(zip(RATES, RANKS))
    ]
    if device.type == "cuda":
        return on_cuda(model, trials, rows, pad)
    short = [dataclasses.replace(trial, settings=dataclasses.replace(trial.settings, steps=2)) for trial in trials]
    training.fit_together(model, short, [rows] * 8, pad=pad)  # so that neither pays for what is done once

    started = time.perf_counter()
    together = training.fit_together(model, trials, [rows] * 8, pad=pad)
    at_once = time.perf_counter() - started
    started = time.perf_counter()
    alone = [training.fit_alone(model, trial, rows, pad=pad) for trial in trials]
    separate = time.perf_counter() - started
    started = time.perf_counter()
    training.sweep(model, rows, trials, pad=pad, at_once=1)
    on_cores = time.perf_counter() - started
    apart = max(
        abs(a - b)
        for one, other, lr in zip(together, alone, RATES)
        if lr <= 8e-3  # beyond it the losses jump, and rounding with them
        for a, b in zip(one.history.loss, other.history.loss)
    )

    held_out = [render(example, tokenizer) for example in test[:64]]
    live = [Trial(Settings(steps=50, batch_size=16, lr=lr, number_format="float32")) for lr in RATES]
    started = time.perf_counter()
    training.sweep(model, rows, live, pad=pad, validation=held_out)
    seconds = time.perf_counter() - started
    figures = {
        "ratio": separate / at_once,
        "together_seconds": at_once,
        "separate_seconds": separate,
        "separate_on_all_cores_seconds": on_cores,
        "greatest_difference_of_a_loss": apart,
        "live_sweep_seconds": seconds,
        "machine": runs.machine(),
        "ok": separate / at_once >= RATIO and seconds <= LIVE_SECONDS,
    }
    print(
        f"8 adapters, {STEPS} steps of {ROWS} rows each: together {at_once:.1f} s, one after the other {separate:.1f} s "
        f"(together takes {at_once / separate:.2f} of it), each on a core {on_cores:.1f} s with their start-up; "
        f"losses differ by at most {apart:.1g}; the live sweep of lab 05 takes {seconds:.1f} s"
    )
    return figures


def on_cuda(model, trials, rows, pad) -> dict:
    """Eight adapters and 32, at once and one after the other."""
    import torch

    figures: dict = {"card": torch.cuda.get_device_name(), "machine": runs.machine()}
    for count in (8, 32):
        chosen = [
            dataclasses.replace(
                trials[number % 8], settings=dataclasses.replace(trials[number % 8].settings, seed=number)
            )
            for number in range(count)
        ]
        short = [dataclasses.replace(trial, settings=dataclasses.replace(trial.settings, steps=2)) for trial in chosen]
        training.fit_together(model, short, [rows] * count, pad=pad)
        training.fit_alone(model, short[0], rows, pad=pad)
        started = time.perf_counter()
        training.fit_together(model, chosen, [rows] * count, pad=pad)  # reads losses at each step: nothing is left open
        at_once = time.perf_counter() - started
        started = time.perf_counter()
        for trial in chosen:
            training.fit_alone(model, trial, rows, pad=pad)
        separate = time.perf_counter() - started
        figures[f"{count} adapters"] = {
            "ratio": separate / at_once,
            "together_seconds": at_once,
            "separate_seconds": separate,
            "ok": separate / at_once >= (RATIO_ON_CUDA if count == 8 else 1),
        }
        print(f"{count} adapters: together {at_once:.1f} s, one after the other {separate:.1f} s")
    return figures
