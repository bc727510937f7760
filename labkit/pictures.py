"""Diagrams that explain how something works. Nothing in them is measured; figures of what was measured are in `plots`.

Each draws the small numbers it is given, and says the same in words.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from labkit import plots
from labkit.common import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, PALE = plots.COLOURS[0], "#d5e1ee"


def bands(one: Sequence[int], other: Sequence[int], rows: int) -> None:
    """Two signatures, one above the other, cut into bands of `rows` places; bands that agree throughout are marked."""
    if len(one) != len(other) or len(one) % rows:
        raise InputError(f"signatures of {len(one)} and {len(other)} places cannot be cut into bands of {rows}")
    agree = [one[at : at + rows] == other[at : at + rows] for at in range(0, len(one), rows)]
    title = "A band that agrees in all its rows makes the pair a candidate" if any(agree) else "No band agrees"
    drawn, axes = _canvas(title, (7.0, 1.9), (-0.9, len(one) + 0.4 * len(agree)), (-1.15, 2.3))
    for place, (upper, lower) in enumerate(zip(one, other)):
        x, same = place + 0.4 * (place // rows), agree[place // rows]
        for y, value in ((1, upper), (0, lower)):
            _box(axes, x, y, str(value), PALE if same else "white", upper == lower)
    for number, same in enumerate(agree):
        middle = number * (rows + 0.4) + rows / 2
        axes.text(middle, 2.1, f"band {number + 1}", ha="center", va="center", fontsize=9)
        axes.text(middle, -0.4, "one bucket" if same else "two buckets", ha="center", va="center", fontsize=9)
    for height, name in ((1.5, "A"), (0.5, "B")):
        axes.text(-0.4, height, name, ha="center", va="center", fontsize=11, fontweight="bold")
    said = [
        f"band {number + 1}: {', '.join(map(str, one[at : at + rows]))} and {', '.join(map(str, other[at : at + rows]))}, "
        + ("one bucket" if agree[number] else "two buckets")
        for number, at in enumerate(range(0, len(one), rows))
    ]
    plots.show(drawn, f"{title}. Signatures A and B in bands of {rows} rows. {'; '.join(said)}.")


def cut_in_time(clusters: Sequence[Sequence[int]], cut: float) -> None:
    """Clusters as rows of dots, each dot a day; the vertical line cuts by time. Clusters that it divides are marked."""
    divided = [min(days) < cut <= max(days) for days in clusters]
    title = f"A cut by time alone divides {sum(divided)} of {len(clusters)} clusters"
    drawn, axes = plots.figure(title, "day", "cluster", size=(7.0, 0.9 + 0.32 * len(clusters)))
    for row, (days, both) in enumerate(zip(clusters, divided)):
        axes.plot(days, [row] * len(days), "s-" if both else "o-", color=plots.COLOURS[1 if both else 0], markersize=6)
    axes.axvline(cut, color="black", linewidth=1.6, linestyle="--")
    axes.text(cut, -0.75, " training | test ", ha="center", va="center", fontsize=9)
    axes.set_yticks(
        range(len(clusters)), [f"{row + 1}{' (both sides)' if both else ''}" for row, both in enumerate(divided)]
    )
    axes.set_ylim(len(clusters) - 0.5, -1.1)
    said = "; ".join(
        f"cluster {row + 1}, days {', '.join(map(str, days))}: {'on both sides' if both else 'on one side'}"
        for row, (days, both) in enumerate(zip(clusters, divided))
    )
    plots.show(drawn, f"{title}. The cut is at day {cut:g}. {said}.")


def shift(tokens: Sequence[str], counted: Sequence[bool]) -> None:
    """Tokens, the logits at each place, and an arrow from each to the token that it has to predict.

    `counted` says for each token whether its label is the token itself (True) or −100.
    """
    title = "The logits at each place are compared with the next token's label"
    drawn, axes = _canvas(title, (7.0, 2.6), (-1.6, len(tokens) + 0.1), (-0.2, 3.3))
    for place, (token, counts) in enumerate(zip(tokens, counted, strict=True)):
        _box(axes, place, 2.2, token, "white")
        _box(axes, place, 1.1, f"logits {place}", PALE if place + 1 < len(tokens) and counted[place + 1] else "white")
        _box(axes, place, 0, token if counts else "−100", PALE if counts else "white")
        axes.annotate("", (place + 0.5, 2.0), (place + 0.5, 2.2), arrowprops={"arrowstyle": "->"})
        if place + 1 < len(tokens):
            arrow = {"arrowstyle": "->", "color": INK if counted[place + 1] else "#999999", "linewidth": 1.6}
            axes.annotate("", (place + 1.35, 0.9), (place + 0.6, 1.1), arrowprops=arrow)
    for y, name in ((2.65, "input"), (1.55, "output"), (0.45, "labels")):
        axes.text(-0.15, y, name, ha="right", va="center", fontsize=10)
    said = [
        f"logits {place} predict {after!r}" + ("" if counts else ", which is not counted")
        for place, (after, counts) in enumerate(zip(tokens[1:], counted[1:]))
    ]
    last = f"logits {len(tokens) - 1} predict nothing, and {tokens[0]!r} is predicted by nothing"
    plots.show(drawn, f"{title}. {'; '.join([*said, last])}.")


def vectors(prompt: float, completion: float, cosine: float) -> None:
    """Two parts of a gradient, of the lengths `prompt` and `completion` and with this cosine between them, and their sum."""
    angle = math.acos(max(-1.0, min(1.0, cosine)))
    ends = {
        "$g_p$, the prompt's": (prompt, 0.0),
        "$g_c$, the completion's": (completion * math.cos(angle), completion * math.sin(angle)),
    }
    total = (sum(x for x, _ in ends.values()), sum(y for _, y in ends.values()))
    ends["$g = g_p + g_c$"] = total
    title = "The sum goes mostly where the longer part goes"
    drawn, axes = plots.figure(title, "", "", size=(7.0, 2.8))
    for number, (name, (x, y)) in enumerate(ends.items()):
        arrow = {"arrowstyle": "-|>", "color": plots.COLOURS[number], "linestyle": plots.DASHES[number], "linewidth": 2}
        axes.annotate("", (x, y), (0, 0), arrowprops={**arrow, "shrinkA": 0, "shrinkB": 0})
        above = y > 0
        axes.annotate(name, (x, y), (4, 4 if above else -14), textcoords="offset points", fontsize=10)
    reach = max(prompt, total[0], completion)
    axes.set_xlim(-0.15 * reach, 1.35 * reach)
    axes.set_ylim(-0.22 * reach, 0.3 * reach + max(y for _, y in ends.values()))
    axes.set_aspect("equal")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    length = math.hypot(*total)
    along = (total[0] * prompt) / length**2
    plots.show(
        drawn,
        f"{title}. Lengths: the prompt's part {prompt:.3g}, the completion's {completion:.3g}, the sum {length:.3g}; "
        f"{math.degrees(angle):.0f}° between the two parts. Along the sum, the prompt's part is {along:.0%} of it.",
    )


def passes(tokens: int) -> None:
    """Which positions each pass of the model computes: all at once in training, one after the other in writing."""
    title = f"{tokens} tokens: training takes one pass, writing takes {tokens}"
    drawn, axes = _canvas(title, (7.0, 0.9 + 0.3 * tokens), (-0.6, 2 * tokens + 4), (-1.0, tokens + 0.6))
    for row in range(tokens):
        y = tokens - 1 - row
        for column in range(row + 1):
            axes.add_patch(_square(column, y, INK))
            now = column == row
            axes.add_patch(_square(tokens + 3 + column, y, INK if now else PALE))
        axes.text(tokens + 2.7, y + 0.45, f"pass {row + 1}", ha="right", va="center", fontsize=8)
    axes.text(
        tokens / 2, -0.5, "training: every place reads those before it, in pass 1", ha="center", va="center", fontsize=9
    )
    axes.text(1.5 * tokens + 3, -0.5, "writing: dark now, pale from the cache", ha="center", va="center", fontsize=9)
    plots.show(
        drawn,
        f"{title}. In training the beginnings are known, so all {tokens} places are computed at once, each reading only "
        f"those before it. In writing, place n waits for token n − 1; with a cache, what was computed before is kept, and "
        f"pass n computes one place.",
    )


def merge_tree(letters: Sequence[str], merges: Sequence[str]) -> None:
    """How the letters of a word are joined by merges, given as the joined text, in rank order."""
    parts: list[tuple[str, float, int]] = [(letter, place + 0.5, 0) for place, letter in enumerate(letters)]
    drawn, axes = _canvas("", (7.0, 2.6), (-0.2, len(letters) + 0.2), (-0.3, 3.6))
    for text, x, y in parts:
        _box(axes, x - 0.4, y, text, "white", width=0.8)
    said = []
    for rank, joined in enumerate(merges, start=1):
        place = 0
        while place + 1 < len(parts):
            (left, x1, y1), (right, x2, y2) = parts[place : place + 2]
            if left + right == joined:
                x, y = (x1 + x2) / 2, max(y1, y2) + 1
                for below_x, below_y in ((x1, y1), (x2, y2)):
                    axes.plot([below_x, x], [below_y + 0.62, y + 0.05], color=INK, linewidth=1.4)
                _box(axes, x - 0.4, y, f"{joined}  ({rank})", PALE, width=0.8)
                parts[place : place + 2] = [(joined, x, y)]
                said.append(f"merge {rank} joins {left!r} and {right!r}")
            place += 1
    title = f"{''.join(letters)} becomes {' + '.join(text for text, _, _ in parts)}"
    axes.set_title(title, loc="left", fontsize=12)
    axes.set_ylim(-0.3, max(y for _, _, y in parts) + 1.2)
    plots.show(drawn, f"{title}. In brackets, each merge's rank. {'; '.join(said) or 'No merge applies'}.")


def _canvas(
    title: str, size: tuple[float, float], x: tuple[float, float], y: tuple[float, float]
) -> tuple[Figure, Any]:
    """(figure, axes) without axes: a sheet from `x` to `y`, its boxes of size 1."""
    drawn, axes = plots.figure(title, "", "", size=size)
    axes.set_xlim(*x)
    axes.set_ylim(*y)
    axes.axis("off")
    return drawn, axes


def _square(x: float, y: float, colour: str) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((x, y), 0.9, 0.9, facecolor=colour, edgecolor="none")


def _box(axes: Any, x: float, y: float, text: str, colour: str, strong: bool = False, width: float = 0.95) -> None:
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle((x, y), width, 0.9 if width > 0.9 else 0.62, facecolor=colour, edgecolor="#666666"))
    height = 0.45 if width > 0.9 else 0.31
    axes.text(
        x + width / 2, y + height, text, ha="center", va="center", fontsize=9, fontweight="bold" if strong else "normal"
    )
