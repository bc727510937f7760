"""A sweep in a process of its own, which the tests kill in the middle: `python sweeping.py MODEL FOLDER [kill]`."""

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

from sums import number_questions

from labkit import models
from labkit.masking import render
from labkit.training import Settings, Trial, sweep

SETTINGS = Settings(steps=3, batch_size=4, number_format="float32")
TRIALS = [Trial(replace(SETTINGS, lr=lr), rank=2, target_modules="q_proj") for lr in (1e-3, 3e-3, 1e-2, 3e-2)]


def run(model_folder: str | Path, folder: str | Path, on_step=None, **more):
    model, tokenizer = models.load(model_folder, device="cpu")
    rows = [render(example, tokenizer) for example in number_questions(16)]
    return sweep(model, rows, TRIALS, pad=0, folder=folder, at_once=2, workers=1, on_step=on_step, **more)


if __name__ == "__main__":
    groups_begun = 0

    def on_step(step: int, histories: list) -> None:
        global groups_begun
        groups_begun += step == 1
        if sys.argv[3:] == ["kill"] and groups_begun == 2 and step == 2:
            os.kill(os.getpid(), signal.SIGKILL)

    run(sys.argv[1], sys.argv[2], on_step)
