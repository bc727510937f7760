"""Questions as plain ipywidgets."""

from __future__ import annotations

from collections.abc import Sequence

from labkit.quizzes.answers import put
from labkit.quizzes.printed import as_html, as_text
from labkit.quizzes.schema import Base


def show(questions: Sequence[Base], title: str) -> None:
    """Show the questions."""
    from IPython.display import display

    printed = [put(question) for question in questions]
    display({"text/html": as_html(printed, title), "text/plain": as_text(printed, title)}, raw=True)
