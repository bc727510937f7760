"""The S-curve of locality-sensitive hashing: which pairs become candidates, as bands and rows are turned."""

from __future__ import annotations

import io

from labkit import plots
from labkit.dedup import candidate_probability
from labkit.live import OWN_KEYS, in_notebook, show_widget

PLACES = [place / 100 for place in range(101)]
TOLD = (0.5, 0.6, 0.7, 0.8, 0.9)


def s_curve(bands: int = 18, rows: int = 7, permutations: int = 128, threshold: float = 0.8) -> None:
    """Show the curve of `bands` and `rows`; in a running notebook also two sliders that redraw it.

    `threshold` is drawn as a line, `permutations` is the most that bands × rows may use.
    """
    drawn, alt = draw(bands, rows, threshold)
    plots.show(drawn, alt)
    if in_notebook():
        show_widget(controls(bands, rows, permutations, threshold))


def draw(bands: int, rows: int, threshold: float):
    """(figure, its text alternative)."""
    title = f"{bands} bands of {rows} rows: half of the pairs at {half(bands, rows):.2f} are candidates"
    drawn, axes = plots.figure(title, "Jaccard similarity of a pair", "probability of being a candidate")
    axes.plot(PLACES, [candidate_probability(s, bands, rows) for s in PLACES], color=plots.COLOURS[0], linewidth=2)
    axes.axvline(threshold, color="black", linewidth=1, linestyle="--")
    axes.annotate(f"threshold {threshold:g}", (threshold, 0.03), (-4, 0), textcoords="offset points", ha="right")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    said = ", ".join(f"{s}: {candidate_probability(s, bands, rows):.3f}" for s in TOLD)
    return drawn, f"{title}. Probability of being a candidate, by Jaccard similarity: {said}."


def half(bands: int, rows: int) -> float:
    """The similarity at which half of the pairs become candidates."""
    return (1 - 0.5 ** (1 / bands)) ** (1 / rows)


def controls(bands: int, rows: int, permutations: int, threshold: float):
    """Two sliders, the picture, and what it says in words."""
    import ipywidgets as widgets

    def slider(name: str, value: int, most: int):
        return widgets.IntSlider(
            value=value, min=1, max=most, description=name, continuous_update=False, layout={"width": "28em"}
        )

    of_bands, of_rows = slider("bands", bands, permutations), slider("rows", rows, 32)
    picture, words = widgets.Image(format="png", layout={"max_width": "672px"}), widgets.HTML()
    keys = widgets.HTML(OWN_KEYS)

    def redraw(_=None) -> None:
        used = of_bands.value * of_rows.value
        drawn, alt = draw(of_bands.value, of_rows.value, threshold)
        png = io.BytesIO()
        drawn.savefig(png, format="png", dpi=96)
        picture.value = png.getvalue()
        over = f" That is more than the {permutations} there are." if used > permutations else ""
        words.value = f"<p>{alt} {used} hashes for each text.{over}</p>"

    for control in (of_bands, of_rows):
        control.observe(redraw, "value")
    redraw()
    return widgets.VBox([of_bands, of_rows, picture, words, keys])
