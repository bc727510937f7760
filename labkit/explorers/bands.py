"""The S-curve of locality-sensitive hashing: which pairs become candidates as bands and rows change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit import plots
from labkit.dedup import candidate_probability
from labkit.explorers.frame import Explorer, Slider

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PLACES = [place / 100 for place in range(101)]
TOLD = (0.5, 0.6, 0.7, 0.8, 0.9)


def s_curve(bands: int = 18, rows: int = 7, permutations: int = 128, threshold: float = 0.8) -> None:
    """Show the curve of `bands` and `rows`; in a running notebook also two sliders that redraw it.

    `threshold` is drawn as a line, `permutations` is the most that bands × rows may use.
    """
    SCurve(permutations, threshold).starting(bands=bands, rows=rows).show()


class SCurve(Explorer):
    """Two sliders, bands and rows of a signature of `permutations` hashes."""

    def __init__(self, permutations: int, threshold: float) -> None:
        self.permutations, self.threshold = permutations, threshold
        self.traits = {"bands": Slider("bands", 18, permutations), "rows": Slider("rows", 7, 32)}

    def draw(self, bands: int, rows: int) -> tuple[Figure, str]:
        title = f"{bands} bands of {rows} rows: half of the pairs at {half(bands, rows):.2f} are candidates"
        drawn, axes = plots.figure(title, "Jaccard similarity of a pair", "probability of being a candidate")
        axes.plot(PLACES, [candidate_probability(s, bands, rows) for s in PLACES], color=plots.COLOURS[0], linewidth=2)
        axes.axvline(self.threshold, color="black", linewidth=1, linestyle="--")
        said = f"threshold {self.threshold:g}"
        axes.annotate(said, (self.threshold, 0.03), (-4, 0), textcoords="offset points", ha="right")
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.02)
        said = ", ".join(f"{s}: {candidate_probability(s, bands, rows):.3f}" for s in TOLD)
        return drawn, f"{title}. Probability of being a candidate, by Jaccard similarity: {said}."

    def remark(self, bands: int, rows: int) -> str:
        used = bands * rows
        over = f" That is more than the {self.permutations} that there are." if used > self.permutations else ""
        return f"{used} hashes for each text.{over}"


def half(bands: int, rows: int) -> float:
    """The similarity at which half of the pairs become candidates."""
    return (1 - 0.5 ** (1 / bands)) ** (1 / rows)
