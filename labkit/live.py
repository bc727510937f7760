"""What is seen while code runs and never stored: a progress line, an exact number beside a verdict.

In a notebook it is a widget's view and nothing else: it has no text and no HTML of its own, so nbval has nothing to
compare, and the stored notebook (from which `notebooks` strips the views) shows nothing. In a terminal it is a line on
stderr; elsewhere nothing is shown.
"""

from __future__ import annotations

import html
import sys
from collections.abc import Mapping
from typing import Any

VIEW = "application/vnd.jupyter.widget-view+json"

# HTML for a widget with buttons, lists or radios: in JupyterLab it stops JupyterLab from taking the keys pressed there as
# the notebook's (x would cut the cell, an arrow leave it). An image that fails to load is what runs a script in a widget.
OWN_KEYS = """<img hidden alt="" src="data:," onerror="
  let tries = 0; const timer = setInterval(() => {
    const output = this.closest('.jp-OutputArea-output');
    if (output) output.addEventListener('focusin', event => event.target.setAttribute('data-lm-suppress-shortcuts', ''));
    if (output || ++tries > 100) clearInterval(timer);
  }, 20)">"""


class Line:
    """One line whose text can change. Where it cannot be shown, it does nothing."""

    def __init__(self) -> None:
        self._widget = _widget()
        self._terminal = self._widget is None and sys.stderr.isatty()

    def show(self, text: str, share: float | None = None) -> None:
        """Show `text`, after a bar that is filled to `share` if `share` is given."""
        if self._widget is not None:
            bar = "" if share is None else f'<progress max="1" value="{share:.3f}" aria-label="progress"></progress> '
            self._widget.value = f"<div>{bar}{html.escape(text)}</div>"
        elif self._terminal:
            bar = "" if share is None else f"[{'#' * round(20 * share):<20}] "
            print(f"\r{bar}{text}\033[K", end="", file=sys.stderr, flush=True)

    def show_html(self, text: str) -> None:
        """Replace the line with HTML, escaped by the caller; a terminal keeps what it shows."""
        if self._widget is not None:
            self._widget.value = text

    def close(self) -> None:
        """Remove the line."""
        if self._widget is not None:
            self._widget.close()
        elif self._terminal:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def in_notebook() -> bool:
    """Whether this runs in a kernel, where a widget can be shown."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return hasattr(shell, "kernel")


def show_widget(widget: Any, printed: Mapping[str, str] | None = None) -> None:
    """Display a widget's view, which no notebook stores, and what is `printed` (by MIME type) where it cannot be shown:
    that is what a notebook stores.
    """
    from IPython.display import display

    view = {"version_major": 2, "version_minor": 0, "model_id": widget.model_id}
    display({VIEW: view, **(printed or {})}, raw=True)


def _widget() -> Any:
    """A widget for HTML whose view is shown, or None where there is no notebook."""
    if not in_notebook():
        return None
    try:
        import ipywidgets
    except ImportError:
        return None
    widget = ipywidgets.HTML()
    show_widget(widget)
    return widget
