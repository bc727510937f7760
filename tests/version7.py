"""Whether widgets keep to what ipywidgets 7.7.1 has, which is Colab's."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ipywidgets
import pytest

TRAITS = json.loads((Path(__file__).parent / "quizzes" / "ipywidgets-7.7.1.json").read_text())
OWN_MACHINERY = {"comm", "equals", "notify_change"}  # what the version that runs sets by itself


@contextmanager
def kept_to(made_by_itself: set[str]) -> Iterator[set[tuple[str, str]]]:
    """Every keyword and attribute that a widget is given within is one of 7.7.1's.

    Gives what was used, {(kind of widget, name)}. `made_by_itself`: kinds that ipywidgets 8 gives its widgets.
    """
    used: set[tuple[str, str]] = set()
    start, assign = ipywidgets.Widget.__init__, ipywidgets.Widget.__setattr__

    def noting_start(self, *args, **options):
        used.update((type(self).__name__, name) for name in options)
        start(self, *args, **options)

    def noting(self, name, value):
        used.add((type(self).__name__, name))
        assign(self, name, value)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ipywidgets.Widget, "__init__", noting_start)
        patch.setattr(ipywidgets.Widget, "__setattr__", noting)
        yield used
    ours = {(kind, name) for kind, name in used if kind in TRAITS and not name.startswith("_")}
    assert {kind for kind, _ in used} - set(TRAITS) <= made_by_itself
    assert sorted((kind, name) for kind, name in ours if name not in (*TRAITS[kind], *OWN_MACHINERY)) == []
