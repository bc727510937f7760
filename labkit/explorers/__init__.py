"""Pictures that a learner changes with controls: one module each, which fills the frame (frame.py). A still figure says
the same if no kernel runs.

An explorer is called like a function, `lk.explorers.s_curve()`. It is made of plain ipywidgets (the interface of
7.7.1), every control has a label and works from the keyboard, and no notebook stores it.
"""

from importlib import import_module
from typing import Any

_NAMES = {"s_curve": "labkit.explorers.bands", "drill": "labkit.quizzes.drill"}  # name: the module that holds it


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(import_module(_NAMES[name]), name)
    raise AttributeError(f"module 'labkit.explorers' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(_NAMES)
