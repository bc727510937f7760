"""How a verdict is shown: one line, and with a kernel two buttons, for hints and for the traceback; where widgets cannot
be shown, both unfold without them.
"""

from __future__ import annotations

import html
import re

from labkit.exercises.engine import Verdict
from labkit.exercises.kinds import Exercise
from labkit.live import OWN_KEYS, in_notebook, show_widget

MARKS = {"passed": "✓", "not attempted": "○"}


def line(exercise: Exercise, verdict: Verdict) -> str:
    """The verdict as text, with what later cells will use."""
    whose = "yours" if verdict.passed else "the kit's"
    text = verdict.text if verdict.text.endswith((".", "?", "!")) else verdict.text + "."
    return f"{MARKS.get(verdict.kind, '✗')} {exercise.id}: {text} Later cells use {whose}."


def show(exercise: Exercise, verdict: Verdict) -> None:
    """Print the line; in a notebook, with a button that shows one more hint and one that opens the traceback."""
    print(line(exercise, verdict))
    if verdict.passed or not in_notebook():
        return
    try:
        _buttons(exercise, verdict)
    except ImportError:  # without ipywidgets there is only the line
        return


def _marked(text: str) -> str:
    """A hint as HTML, `code` set as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text))


def _buttons(exercise: Exercise, verdict: Verdict) -> None:
    import ipywidgets as widgets

    wide = widgets.Layout(width="auto")
    hint = widgets.Button(description=f"Hint 1 of {len(exercise.hints)}", layout=wide)
    hints, details = widgets.HTML(OWN_KEYS), widgets.HTML()
    shown = 0

    def climb(_: object) -> None:
        nonlocal shown
        shown += 1
        hints.value = f"<ol>{''.join(f'<li>{_marked(text)}</li>' for text in exercise.hints[:shown])}</ol>"
        hint.description = f"Hint {shown + 1} of {len(exercise.hints)}"
        hint.disabled = shown == len(exercise.hints)
        if hint.disabled:
            hint.description = "No more hints"

    hint.on_click(climb)
    row = [hint]
    if verdict.details:
        button = widgets.Button(description="Show the traceback", layout=wide)

        def unfold(_: object) -> None:
            details.value = "" if details.value else f"<pre>{html.escape(verdict.details)}</pre>"
            button.description = "Hide the traceback" if details.value else "Show the traceback"

        button.on_click(unfold)
        row.append(button)
    show_widget(widgets.VBox([widgets.HBox(row), hints, details]), {"text/html": _folded(exercise, verdict)})


def _folded(exercise: Exercise, verdict: Verdict) -> str:
    """Hints and traceback as HTML that needs no widget: each hint lies in the one before it."""
    inner = ""
    for number, text in reversed([*enumerate(exercise.hints, 1)]):
        title = f"Hint {number} of {len(exercise.hints)}"
        inner = f"<details><summary>{title}</summary><p>{_marked(text)}</p>{inner}</details>"
    if verdict.details:
        inner += f"<details><summary>The traceback</summary><pre>{html.escape(verdict.details)}</pre></details>"
    return inner
