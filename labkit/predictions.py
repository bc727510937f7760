"""Predictions: the learner commits to a number or a choice before a run, and sees it beside the outcome afterwards.

`predict(id, question, …)` asks, `predict(id, outcome=…)` compares. A notebook stores only the question, in words, and the
outcome; the guess itself is shown live, and kept in the learner's own store. *Run All* does not stop: nothing waits for a guess.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Sequence
from typing import Any

from labkit import progress
from labkit.common import InputError
from labkit.live import OWN_KEYS, Line, in_notebook, show_widget

KEY = "prediction:"
_asked: dict[str, dict] = {}  # in this kernel: how each question was asked, for its outcome


def predict(
    id: str,
    question: str | None = None,
    *,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    choices: Sequence[str] | None = None,
    outcome: Any = None,
) -> None:
    """Ask for a guess (`question`), or show how it came out (`outcome`).

    A guess is a number from `low` to `high` in `unit`, or one of `choices`. The first one that is locked in counts.
    Raises `InputError` for a call that does neither, or for an outcome that could not have been guessed.
    """
    if (question is None) == (outcome is None):
        raise InputError(f"{id}: give either a question to ask or the outcome to show")
    if question is not None:
        if choices is not None and len(choices) < 2:
            raise InputError(f"{id}: a choice needs at least two options")
        _asked[id] = {"unit": unit, "choices": None if choices is None else list(choices)}
        _ask(id, question, low, high)
    else:
        _show_outcome(id, outcome)


def guess(id: str) -> Any:
    """What the learner locked in, or None."""
    return progress.store().kept(KEY + id)


def _ask(id: str, question: str, low: float | None, high: float | None) -> None:
    put = _asked[id]
    text = "\n".join([f"Predict: {question}", *(f"  ○ {option}" for option in put["choices"] or ())])
    if not in_notebook():
        print(text)
        return
    try:
        import ipywidgets as widgets
    except ImportError:  # without it there is only the question
        from IPython.display import display

        display({"text/plain": text}, raw=True)
        return
    asked = widgets.HTML(f"<p><b>Predict:</b> {html.escape(question)}</p>")
    if put["choices"]:
        field = widgets.RadioButtons(options=put["choices"], value=None, description="", layout={"width": "auto"})
    else:
        field = widgets.Text(placeholder="a number", description=put["unit"] or "number", layout={"width": "16em"})
    button = widgets.Button(description="Lock in", disabled=False)
    said = widgets.HTML(OWN_KEYS)

    def lock(_: Any = None) -> None:
        value, problem = _read(field.value, put, low, high)
        if problem:
            said.value = f"<p>{html.escape(problem)}</p>"
            return
        if (first := _fitting(id, put)) is None:  # the question may be shown twice
            progress.store().keep(KEY + id, value)
        locked(value if first is None else first)

    def locked(value: Any) -> None:
        field.disabled = button.disabled = True
        said.value = f"<p>Locked in: <b>{html.escape(_written(value, put))}</b></p>"

    button.on_click(lock)
    if (kept := _fitting(id, put)) is not None:
        locked(kept)
    show_widget(widgets.VBox([asked, field, button, said]), {"text/plain": text})


def _fitting(id: str, put: dict) -> Any:
    """What was locked in, if it still answers the question in its present form; otherwise None."""
    kept = guess(id)
    if put["choices"] is not None:
        return kept if kept in put["choices"] else None
    return kept if isinstance(kept, (int, float)) and not isinstance(kept, bool) else None


def _show_outcome(id: str, outcome: Any) -> None:
    put = _asked.get(id, {"unit": "", "choices": None})
    if put["choices"] is not None and outcome not in put["choices"]:
        raise InputError(f"{id}: the outcome {outcome!r} is not among the choices")
    if isinstance(outcome, (int, float)) and not isinstance(outcome, bool) and not math.isfinite(outcome):
        raise InputError(f"{id}: the outcome is {outcome}; check what was measured")
    print(f"Outcome: {_written(outcome, put)}")
    guessed = _fitting(id, put)
    if guessed is None or not in_notebook():
        return
    Line().show(f"You said {_written(guessed, put)}. {_comment(guessed, outcome, put)}")


def _comment(guessed: Any, outcome: Any, put: dict) -> str:
    if put["choices"] is not None or isinstance(outcome, str):
        return (
            "That is how it turned out." if guessed == outcome else "It turned out differently: what made you think so?"
        )
    off = guessed - outcome
    if abs(off) <= 0.1 * abs(outcome):
        return "Within a tenth of it."
    unit = "points" if put["unit"] == "%" else put["unit"]  # two shares differ by points
    return f"That is {_written(abs(off), {**put, 'unit': unit})} too {'high' if off > 0 else 'low'}."


def _read(typed: Any, put: dict, low: float | None, high: float | None) -> tuple[Any, str | None]:
    """(the guess, None), or (None, what is wrong with it). `35%` is 0.35 where there is no unit."""
    if put["choices"] is not None:
        return (typed, None) if typed in put["choices"] else (None, "Choose one of them first.")
    text = str(typed).strip().replace("−", "-")
    text = text.replace(",", "" if re.fullmatch(r"-?\d{1,3}(,\d{3})+", text) else ".")
    if text.endswith("%") and put["unit"] not in ("", "%"):
        return None, f"Type a number of {put['unit']}, without %."
    percent = text.endswith("%") and not put["unit"]
    try:
        value = float(text.rstrip("% ")) / (100 if percent else 1)
    except ValueError:
        return None, "Type a number, such as 12 or 0.5."
    if not math.isfinite(value) or (low is not None and value < low) or (high is not None and value > high):
        return None, f"Type a number from {_number(low)} to {_number(high)}."
    return value, None


def _written(value: Any, put: dict) -> str:
    text = value if isinstance(value, str) else _number(value)
    if put["choices"] is not None or not put["unit"]:
        return text
    return f"{text}%" if put["unit"] == "%" else f"{text} {put['unit']}"


def _number(value: float | None) -> str:
    return "…" if value is None else f"{value:.3g}" if abs(value) < 999.5 else f"{value:,.0f}"
