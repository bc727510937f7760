"""The frame that every explorer fills: controls with labels, a picture, and the same in words.

An explorer says which controls it has and how a figure is drawn from their values. What it shows without a kernel (a
still figure with its text alternative), the widgets, redrawing, and the keys that JupyterLab would take away are here.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from labkit import plots
from labkit.common import InputError
from labkit.live import OWN_KEYS, in_notebook, show_widget

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Slider:
    """An integer that can be changed, with the name that a learner reads."""

    name: str
    value: int
    most: int
    least: int = 1

    def widget(self) -> Any:
        import ipywidgets as widgets

        return widgets.IntSlider(
            value=self.value,
            min=self.least,
            max=self.most,
            description=self.name,
            continuous_update=False,
            layout={"width": "28em"},
        )


class Explorer:
    """A picture that a learner changes with controls. Subclasses give `traits` and `draw`."""

    traits: Mapping[str, Slider]  # by the name of `draw`'s argument

    def draw(self, *_: Any, **values: Any) -> tuple[Figure, str]:
        """(figure, its text alternative, which carries the numbers) for the values of all controls."""
        raise NotImplementedError

    def remark(self, *_: Any, **values: Any) -> str:
        """What to say beside the alternative when a control was changed; empty if there is nothing to say."""
        return ""

    def starting(self, **values: Any) -> Explorer:
        """The same explorer with other first values. Raises `InputError` for a value that a control does not have."""
        for name, value in values.items():
            trait = self.traits[name]
            if not isinstance(value, int) or isinstance(value, bool) or not trait.least <= value <= trait.most:
                raise InputError(f"{name} is {value!r}: give an integer from {trait.least} to {trait.most}")
        self.traits = {name: replace(trait, value=values.get(name, trait.value)) for name, trait in self.traits.items()}
        return self

    def show(self) -> None:
        """The still figure; in a running notebook also the controls, which no notebook stores."""
        plots.show(*self.draw(**{name: trait.value for name, trait in self.traits.items()}))
        if in_notebook():
            show_widget(self.controls())

    def controls(self) -> Any:
        """The controls, the picture, and what it says in words, as one widget."""
        import ipywidgets as widgets

        knobs = {name: trait.widget() for name, trait in self.traits.items()}
        picture, words = widgets.Image(format="png", layout={"max_width": "672px"}), widgets.HTML()
        picture.add_class("lk-figure")

        def redraw(_: object = None) -> None:
            values = {name: knob.value for name, knob in knobs.items()}
            drawn, alt = self.draw(**values)
            png = io.BytesIO()
            drawn.savefig(png, format="png", dpi=96)
            picture.value = png.getvalue()
            words.value = f"<p>{' '.join(filter(None, (alt, self.remark(**values))))}</p>"

        for knob in knobs.values():
            knob.observe(redraw, "value")
        redraw()
        return widgets.VBox([*knobs.values(), picture, words, widgets.HTML(OWN_KEYS)])
