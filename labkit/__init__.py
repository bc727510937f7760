"""Labs on supervised fine-tuning and LoRA. In a notebook everything comes with `import labkit as lk`.

Names are loaded when they are first used, so that this import takes neither torch nor transformers, matplotlib or
ipywidgets with it.
"""

import logging
import os
from importlib import import_module
from typing import Any

# Threads that wait for one another spin for a moment only: as torch comes, a busy neighbour on the cores makes a training
# step forty times as long (`labkit bench demo`). GNU OpenMP reads this when torch is loaded; what is set stays.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

from labkit.doctor import (
    doctor,
)  # not lazy: it has its module's name, and a later import of the module would replace it

# On processors with AVX512-BF16 bitsandbytes says, when it is loaded, that a faster kernel is not installed. None is needed.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)

__version__ = "0.1.0"

_NAMES = {  # name: the module that holds it
    "claim": "labkit.claims",
    "clinic": "labkit.explorers.clinic",
    "device": "labkit.models",
    "exam": "labkit.quizzes.exam",
    "exercise": "labkit.exercises",
    "measured": "labkit.claims",
    "my_runs": "labkit.runs",
    "predict": "labkit.predictions",
    "quiz": "labkit.quizzes",
    "review": "labkit.quizzes.review",
    "run": "labkit.runs",
    "use": "labkit.exercises",
}
_MODULES = {  # name: its module
    **{
        name: f"labkit.{name}"
        for name in (
            "adapters",
            "almanac",
            "architectures",
            "best_of",
            "claims",
            "cluster",
            "cross_entropy",
            "data",
            "dedup",
            "diagnosis",
            "explorers",
            "forcing",
            "hyperparameters",
            "lint",
            "lora",
            "lora_model",
            "masking",
            "measurements",
            "memory",
            "models",
            "pictures",
            "plots",
            "progress",
            "quantization",
            "run_card",
            "runs",
            "scoring",
            "syllabus",
            "tokenization",
            "trace",
            "training",
            "updates",
        )
    },
    "pretraining": "labkit.workshop.pretraining",
}


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(import_module(_NAMES[name]), name)
    if name in _MODULES:
        return import_module(_MODULES[name])
    raise AttributeError(f"module 'labkit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(["__version__", "doctor", *_NAMES, *_MODULES])
