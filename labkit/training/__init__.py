"""Training: one loop for full fine-tuning and adapters (`loop`), many adapters at once over one frozen base
(`together`), sweeps over settings, kept on disk as they finish (`sweeps`), a batch in parts (`accumulation`), and the folder
of a long run (`saved`).

Rows come from `masking`, models from `models`; plots and recipes are elsewhere.
"""

from labkit.training.accumulation import Accumulated, accumulated
from labkit.training.loop import (
    IGNORED,
    PARTS,
    SCHEDULES,
    History,
    Hooks,
    Settings,
    batches,
    evaluate,
    fit,
    number_format,
    parts,
    schedule,
    seed_everything,
)
from labkit.training.sweeps import sweep
from labkit.training.together import AT_ONCE, Trained, Trial, fit_alone, fit_together, groups

__all__ = [
    "AT_ONCE",
    "IGNORED",
    "PARTS",
    "SCHEDULES",
    "Accumulated",
    "History",
    "Hooks",
    "Settings",
    "Trained",
    "Trial",
    "accumulated",
    "batches",
    "evaluate",
    "fit",
    "fit_alone",
    "fit_together",
    "groups",
    "number_format",
    "parts",
    "schedule",
    "seed_everything",
    "sweep",
]
