"""Figures in one style, each with a text alternative that carries its numbers.

Lines differ by dash and marker, bars by hatching, so colour is never needed. A title states the message. A figure is
drawn on white; where the page is dark it is shown inverted, with its hues kept. matplotlib is loaded when a figure is
drawn, and its global settings are left alone. Diagrams that explain, and show nothing measured, are in `pictures`.
"""

from __future__ import annotations

import base64
import html
import io
import logging
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from labkit.common import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from labkit.models import Score
    from labkit.runs import Interval
    from labkit.training import History

COLOURS = ("#0b5394", "#c05000", "#3a3a3a", "#7a3e9d")  # each at least 4.5 : 1 on white
DASHES = ("-", "--", ":", "-.")
MARKERS = ("o", "s", "^", "D")
HATCHES = ("", "///", "...", "xx")
MARKED = 20  # a line of more points has no markers, and not all of them are told

# Where the page is dark (JupyterLab and Colab say it in these ways), figures are inverted; a page without styles leaves
# them white. JupyterLab gives this class to images whose metadata says that they need a light background.
DARK = (
    '[data-jp-theme-light="false"] img.jp-needs-light-background',
    '[data-jp-theme-light="false"] .lk-figure',
    "html[theme=dark] .output_png img",
)
STYLE = f"<style>{', '.join(DARK)} {{ filter: invert(0.93) hue-rotate(180deg); }}</style>"


def figure(title: str, x: str, y: str, size: tuple[float, float] = (7.0, 3.6)) -> tuple[Figure, Any]:
    """An empty (figure, axes) in the kit's style: a title that is the message, and axes named with their units."""
    drawn, [axes] = panels(title, x, [y], size)
    return drawn, axes


def panels(title: str, x: str, ys: Sequence[str], size: tuple[float, float] | None = None) -> tuple[Figure, list]:
    """An empty (figure, one axes for each name in `ys`) in the same style: under each other, over one x, the first
    the tallest.
    """
    logging.getLogger("matplotlib.font_manager").setLevel(
        logging.ERROR
    )  # on its first use it reports its font cache on stderr
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn = Figure(figsize=size or (7.0, 2.2 + 1.4 * len(ys)), facecolor="white", layout="constrained")
    FigureCanvasAgg(drawn)
    heights = {"height_ratios": [2.2, *[1] * (len(ys) - 1)]}
    found = list(drawn.subplots(len(ys), 1, sharex=True, squeeze=False, gridspec_kw=heights)[:, 0])
    found[0].set_title(title, loc="left", fontsize=12)
    found[-1].set_xlabel(x)
    for axes, y in zip(found, ys):
        axes.set_ylabel(y)
        axes.grid(color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    return drawn, found


def show(figure: Figure, alt: str) -> None:
    """Display a figure with a text alternative, which must carry what the figure shows.

    The picture is an image/png whose plain text form (and `alt` in its metadata, which nbconvert takes) is the
    alternative: that text is what nbval compares and a terminal prints. JupyterLab gives its images no alternative, so
    the text is also below, folded.
    """
    if not alt.strip():
        raise InputError("the figure has no text alternative; say in words what it shows, including the numbers")
    from IPython.display import display

    alt = " ".join(alt.split())
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=144, metadata={"Software": None})
    pixels = [round(inches * 96) for inches in figure.get_size_inches()]
    display(
        {"image/png": base64.b64encode(png.getvalue()).decode("ascii"), "text/plain": alt},
        metadata={"image/png": {"alt": alt, "width": pixels[0], "height": pixels[1]}, "needs_background": "light"},
        raw=True,
    )
    folded = f"{STYLE}<details><summary>The figure in words</summary><p>{html.escape(alt)}</p></details>"
    display({"text/html": folded}, raw=True)


def loss_curve(histories: History | Mapping[str, History], title: str, y_top: float | None = None) -> None:
    """Show how the loss falls: one line for each named history, with its validation losses as markers.

    One history alone is called "training". Losses that are NaN or infinite are left out, and the alternative says so.
    """
    if not isinstance(histories, Mapping):
        histories = {"training": histories}
    drawn, axes = figure(title, "step", "loss (nats per unmasked token)")
    said = []
    for number, (name, history) in enumerate(histories.items()):
        colour = COLOURS[number % len(COLOURS)]
        axes.plot(history.step, history.loss, DASHES[number % len(DASHES)], color=colour, linewidth=1.6, label=name)
        said.append(f"{name}: {_course(history.step, history.loss)}")
        if history.validation_step:
            label = "validation" if len(histories) == 1 else f"{name}, validation"
            marker = MARKERS[number % len(MARKERS)]
            axes.plot(
                history.validation_step,
                history.validation_loss,
                marker,
                color=colour,
                markersize=6,
                markerfacecolor="white",
                label=label,
            )
            said.append(f"{label}: {_course(history.validation_step, history.validation_loss)}")
    axes.set_ylim(bottom=0, top=y_top)
    if len(axes.lines) > 1:
        axes.legend(frameon=False)
    show(drawn, f"{title}. Loss in nats per unmasked token. {'. '.join(said)}.")


def loss_panels(histories: Mapping[str, History], title: str, level: float, level_name: str) -> None:
    """Show named histories side by side, each on axes of its own, with the same `level` drawn as a line in both."""
    from matplotlib.ticker import MaxNLocator

    drawn, first = figure("", "step", "loss (nats per unmasked token)", size=(7.0, 3.4))
    first.remove()
    drawn.suptitle(title, x=0.01, ha="left", fontsize=12)
    said = []
    for number, (name, history) in enumerate(histories.items()):
        axes = drawn.add_subplot(1, len(histories), number + 1)
        axes.plot(history.step, history.loss, color=COLOURS[number % len(COLOURS)], linewidth=1.6)
        axes.axhline(level, color="black", linewidth=1, linestyle="--")
        axes.annotate(level_name, (history.step[-1], level), (0, 3), textcoords="offset points", ha="right", fontsize=9)
        axes.set_ylim(0, 1.1 * max(level, *history.loss))
        axes.set_title(name, loc="left", fontsize=10)
        axes.set_xlabel("step")
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.spines[["top", "right"]].set_visible(False)
        if not number:
            axes.set_ylabel("loss (nats per unmasked token)")
        said.append(f"{name}: {_course(history.step, history.loss)}")
    show(drawn, f"{title}. {level_name} is {level:.2f} nats. Loss in nats per unmasked token. {'. '.join(said)}.")


def scores(by_name: Mapping[str, Score], title: str) -> None:
    """Show the share of right answers, overall and by task, with 95% intervals: one bar for each named score.

    For before and after: `scores({"before": before, "after": after}, "…")`.
    """
    if not by_name:
        raise InputError("there are no scores to show")
    groups = list(dict.fromkeys(["all", *(task for score in by_name.values() for task in score.by_task)]))
    drawn, axes = figure(
        title, "right answers (%), with 95% interval", "", size=(7.0, 0.9 + 0.24 * len(groups) * (len(by_name) + 0.6))
    )
    height = 0.8 / len(by_name)
    said = []
    for number, (name, score) in enumerate(by_name.items()):
        parts = {"all": score, **score.by_task}
        told: list[str] = []
        for place, group in enumerate(groups):
            if group not in parts:
                continue
            part = parts[group]
            y = place + (number - (len(by_name) - 1) / 2) * height
            axes.barh(
                y,
                100 * part.share,
                height * 0.9,
                color=COLOURS[number % len(COLOURS)],
                edgecolor="white",
                hatch=HATCHES[number % len(HATCHES)],
                label=name if not told else None,
            )
            axes.errorbar(
                100 * part.share,
                y,
                xerr=[[100 * (part.share - part.low)], [100 * (part.high - part.share)]],
                color="black",
                capsize=2.5,
                linewidth=1,
            )
            told.append(f"{group} {part.share:.1%} ({part.low:.1%} to {part.high:.1%})")
        said.append(f"{name}: {', '.join(told)}")
    axes.set_yticks(range(len(groups)), [group.replace("_", " ") for group in groups])
    axes.set_xlim(0, 100.5)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    if len(by_name) > 1:
        drawn.legend(frameon=False, loc="outside lower center", ncols=len(by_name))
    show(drawn, f"{title}. Share of right answers with 95% interval. {'. '.join(said)}.")


def differences(by_name: Mapping[str, Interval], title: str, of: str = "right answers") -> None:
    """Show paired differences, in percentage points, with 95% intervals; the line at 0 is no difference.

    An interval is what `labkit.runs.paired_difference` gives.
    """
    if not by_name:
        raise InputError("there are no differences to show")
    seeds = sorted({difference.n for difference in by_name.values()})
    drawn, axes = figure("", f"{of}: difference in points, 95% interval", "", size=(7.0, 1.2 + 0.42 * len(by_name)))
    drawn.suptitle(title, x=0.01, ha="left", fontsize=12)  # over the names as well, which may be long
    axes.axvline(0, color="black", linewidth=1)
    said = []
    for place, (name, difference) in enumerate(by_name.items()):
        middle, low, high = (100 * value for value in (difference.mean, difference.low, difference.high))
        axes.errorbar(
            middle, place, xerr=[[middle - low], [high - middle]], fmt="o", color=COLOURS[0], capsize=4, linewidth=1.6
        )
        said.append(f"{name}: {middle:+.1f} ({low:+.1f} to {high:+.1f})")
    axes.set_yticks(range(len(by_name)), list(by_name))
    axes.set_ylim(len(by_name) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    told = f"Paired differences in {of}, percentage points, mean of {' or '.join(map(str, seeds))} seeds"
    show(drawn, f"{title}. {told}, with 95% interval. {'. '.join(said)}.")


def tokens(
    pieces: Sequence[str],
    values: Sequence[float | None],
    title: str,
    notes: Sequence[str] | None = None,
    unit: str = "nats",
    top: float | None = None,
) -> None:
    """Show the tokens of a text, each with its value under it and, if given, a note: a role, a label.

    The larger a value, the darker its token, up to `top` (left out: the largest); None is a token without a value.
    Nothing is shown by colour alone, and the text form, a line for each token, contains everything that is seen.
    """
    others = [values] if notes is None else [values, notes]
    if not pieces or any(len(other) != len(pieces) for other in others):
        lengths = ", ".join(str(len(other)) for other in (pieces, *others))
        raise InputError(f"the tokens, their values and notes are {lengths} long: give as many of each, at least one")
    known = [value for value in values if value is not None and math.isfinite(value)]
    full = top or max(known, default=0) or 1
    cells, lines = [], [f"{title} ({unit} under each token)"]
    for piece, value, note in zip(pieces, values, notes or [""] * len(pieces)):
        written = "–" if value is None else f"{round(value, 2) + 0.0:.2f}"  # never -0.00
        share = 0.0 if value is None else 1.0 if not math.isfinite(value) else min(max(value / full, 0), 1)
        shade = f"rgba(11, 83, 148, {0.5 * share:.2f})"  # black on it, or white in a dark theme: at least 8 : 1
        seen = html.escape(piece.replace(" ", "·").replace("\n", "↵") or "∅")
        below = f"<br><small>{html.escape(note)}</small>" if note else ""
        cells.append(  # the theme's own ink and paper; JupyterLab takes no gradient
            '<div style="display: inline-block; margin: 2px 1px; vertical-align: top; border: 1px solid #888888; '
            'text-align: center; line-height: 1.3; white-space: nowrap">'
            f'<span style="display: block; padding: 1px 4px; background-color: {shade}">'
            f"<tt>{seen}</tt><br><small>{written}</small>{below}</span></div>"
        )
        lines.append(f"{piece!r:<16} {written:>6} {note}".rstrip())
    from IPython.display import display

    heading = f"<p><strong>{html.escape(title)}</strong> ({html.escape(unit)} under each token; darker is more)</p>"
    display({"text/html": f"{heading}<div>{' '.join(cells)}</div>", "text/plain": "\n".join(lines)}, raw=True)


def courses(
    x: Sequence[float] | Mapping[str, Sequence[float]],
    by_name: Mapping[str, Sequence[Interval]],
    title: str,
    x_name: str,
    y_name: str,
    x_log: bool = False,
    y_log: bool = False,
) -> None:
    """Show a line for each name, through the middle of its interval at each x; the band is the 95% interval.

    `x` is one row for all names, or a row for each. An interval is what `labkit.runs.interval` gives.
    """
    own = x if isinstance(x, Mapping) else dict.fromkeys(by_name, x)
    drawn, axes = figure(title, x_name, y_name)
    said = []
    for number, (name, intervals) in enumerate(by_name.items()):
        style = f"{MARKERS[number % len(MARKERS)]}{DASHES[number % len(DASHES)]}"
        colour = COLOURS[number % len(COLOURS)]
        lows, highs = [each.low for each in intervals], [each.high for each in intervals]
        axes.plot(own[name], [each.mean for each in intervals], style, color=colour, label=name)
        axes.fill_between(own[name], lows, highs, color=colour, alpha=0.15)
        points = zip(own[name], intervals, strict=True)
        told = ", ".join(f"{at:g}: {each.mean:.3g} ({each.low:.3g} to {each.high:.3g})" for at, each in points)
        said.append(f"{name}: {told}")
    if x_log:
        places = sorted({at for row in own.values() for at in row})
        axes.set_xscale("log", base=2)
        axes.set_xticks(places, [f"{at:g}" for at in places])
    if y_log:
        axes.set_yscale("log")
    axes.legend(frameon=False)
    show(drawn, f"{title}. {y_name}, with 95% interval, by {x_name}. {'. '.join(said)}.")


def _short(at: float | str) -> str:
    return at if isinstance(at, str) else f"{at:.3g}"


def lines(
    x: Sequence[float | str] | Mapping[str, Sequence[float | str]],
    by_name: Mapping[str, Sequence[float]],
    title: str,
    x_name: str,
    y_name: str,
    x_log: int | None = None,
    y_log: bool = False,
    y_top: float | None = None,
) -> None:
    """Show a line for each name, through its values at `x`: one row for all names, or a row for each. Words in place of
    numbers stand evenly spaced.

    `x_log` is the base of a logarithmic axis. Without `y_log` the y axis begins at 0, or below it where values are.
    """
    own = x if isinstance(x, Mapping) else dict.fromkeys(by_name, x)
    drawn, axes = figure(title, x_name, y_name)
    said = []
    for number, (name, values) in enumerate(by_name.items()):
        points = list(zip(own[name], values, strict=True))
        marker = MARKERS[number % len(MARKERS)] if len(points) <= MARKED else ""
        style = f"{marker}{DASHES[number % len(DASHES)]}"
        axes.plot(*zip(*points), style, color=COLOURS[number % len(COLOURS)], label=name, markersize=4)
        told = points if len(points) <= MARKED else points[:: len(points) // 8]
        said.append(f"{name}: " + ", ".join(f"{_short(at)}: {value:.3g}" for at, value in told))
    if x_log:
        axes.set_xscale("log", base=x_log)
    if y_log:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=min(0, *(value for values in by_name.values() for value in values)), top=y_top)
    if len(by_name) > 1:
        axes.legend(frameon=False)
    show(drawn, f"{title}. {y_name}, by {x_name}. {'. '.join(said)}.")


def bars(by_name: Mapping[str, Mapping[str, float]], title: str, x_name: str, y_name: str) -> None:
    """Show groups of bars: `{series: {group: value}}`, every series with the same groups."""
    if not by_name:
        raise InputError("there are no bars to show")
    drawn, axes = figure(title, x_name, y_name)
    groups = list(next(iter(by_name.values())))
    width = 0.8 / len(by_name)
    said = []
    for number, (name, values) in enumerate(by_name.items()):
        places = [place + (number - (len(by_name) - 1) / 2) * width for place in range(len(groups))]
        style = {"color": COLOURS[number % len(COLOURS)], "hatch": HATCHES[number % len(HATCHES)], "edgecolor": "white"}
        axes.bar(places, [values[group] for group in groups], 0.95 * width, label=name, **style)
        said.append(f"{name}: " + ", ".join(f"{group}: {values[group]:.3g}" for group in groups))
    axes.set_xticks(range(len(groups)), groups)
    if len(by_name) > 1:
        axes.legend(frameon=False)
    show(drawn, f"{title}. {y_name}, by {x_name}. {'. '.join(said)}.")


def memory_picture(
    bars: Mapping[str, Mapping[str, float]], card: float | None, title: str, unit: float = 1e9
) -> tuple[Figure, str]:
    """(figure, text alternative): bytes by term, stacked, one bar for each name, and the card's size as a line.

    For one set-up, its `moments` (`memory.plan`); for several, the moment of each one's peak. `unit` is 10⁹ or 2³⁰.
    """
    if not bars:
        raise InputError("there are no bars to show")
    name_of_unit = {1e9: "GB", 2.0**30: "GiB"}.get(unit, "bytes")
    terms = [term for term in next(iter(bars.values())) if any(bar.get(term) for bar in bars.values())]
    drawn, axes = figure(title, f"memory ({name_of_unit})", "", size=(7.0, 1.6 + 0.42 * len(bars)))
    ends = [0.0] * len(bars)
    shades = ("#0b5394", "#f0b27a", "#3a3a3a", "#b39ddb", "#c05000", "#9ecae1", "#7a3e9d")
    hatches = ("", "///", "...", "xx", "\\\\\\", "", "++")
    for number, term in enumerate(terms):
        sizes = [bar.get(term, 0) / unit for bar in bars.values()]
        axes.barh(
            range(len(bars)),
            sizes,
            0.7,
            left=ends,
            color=shades[number % len(shades)],
            hatch=hatches[number % len(hatches)],
            edgecolor="white",
            label=term,
        )
        ends = [end + size for end, size in zip(ends, sizes)]
    said = ""
    if card is not None:
        axes.axvline(card / unit, color="black", linewidth=1.6, linestyle="--", label="the card")
        said = f" The card holds {card / unit:.1f}."
    axes.set_yticks(range(len(bars)), list(bars))
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    drawn.legend(frameon=False, loc="outside lower center", ncols=4, fontsize=8)
    told = [
        f"{name}: {sum(bar.values()) / unit:.2f}, of it "
        + ", ".join(f"{term} {bar[term] / unit:.2f}" for term in terms if bar.get(term))
        for name, bar in bars.items()
    ]
    return drawn, f"{title}. {name_of_unit}.{said} {'. '.join(told)}."


def memory_bars(bars: Mapping[str, Mapping[str, float]], card: float | None, title: str, unit: float = 1e9) -> None:
    """Show `memory_picture`."""
    show(*memory_picture(bars, card, title, unit))


def memory_course(
    course: Sequence[int], parts: tuple[int, int], totals: Mapping[str, float], title: str, unit: float = 1e9
) -> None:
    """Show what is alive during a step: bytes after each operation (`trace`), and the planner's moments as levels.

    `parts` are the places where backward and the optimizer's step begin; `totals` are a plan's, by moment. The figure's
    x is the share of each of the three parts, so that all three can be seen.
    """
    backward, step = parts
    if not 0 < backward < step < len(course):
        raise InputError(f"{len(course)} operations, parts at {backward} and {step}: they must follow one another")
    name_of_unit = {1e9: "GB", 2.0**30: "GiB"}.get(unit, "bytes")
    drawn, axes = figure(title, "a step: forward, backward, optimizer", f"alive ({name_of_unit})")
    pieces = (("forward", course[:backward]), ("backward", course[backward:step]), ("optimizer", course[step:]))
    said = []
    for place, (name, piece) in enumerate(pieces):
        x = [place + number / len(piece) for number in range(len(piece))]
        axes.plot(x, [alive / unit for alive in piece], DASHES[0], color=COLOURS[0], linewidth=1.2)
        said.append(f"{name}: from {piece[0] / unit:.2f} to {piece[-1] / unit:.2f}, at most {max(piece) / unit:.2f}")
    axes.set_xticks([0.5, 1.5, 2.5], [name for name, _ in pieces])
    for edge in (1, 2):
        axes.axvline(edge, color="#888888", linewidth=0.8, linestyle=DASHES[2])
    where = dict(zip(totals, ((0.98,), (1.02,), (1.08,), (1.95,), (2.5,))))
    for number, (name, total) in enumerate(totals.items()):
        axes.plot(
            where.get(name, (0.5,)),
            [total / unit],
            (*MARKERS, "v")[number % 5],
            color=COLOURS[number % len(COLOURS)],
            markerfacecolor="white",
            markersize=7,
            label=f"planned: {name}",
        )
        said.append(f"planned, {name}: {total / unit:.2f}")
    axes.set_ylim(bottom=0)
    drawn.legend(frameon=False, loc="outside lower center", ncols=3, fontsize=8)
    show(drawn, f"{title}. Alive after each operation, in {name_of_unit}. {'. '.join(said)}.")


def _course(steps: Sequence[int], losses: Sequence[float]) -> str:
    """The course of a curve in words: its ends, and its lowest point if that is not one of them."""
    points = [(step, loss) for step, loss in zip(steps, losses, strict=True) if math.isfinite(loss)]
    missing = len(losses) - len(points)
    left_out = f", {missing} of {len(losses)} not a number" if missing else ""
    if not points:
        return f"not a number at any step{left_out}"
    (first, start), (last, end) = points[0], points[-1]
    if first == last:
        return f"{start:.2f} at step {first}{left_out}"
    lowest = min(points, key=lambda point: point[1])
    dip = f", lowest {lowest[1]:.2f} at step {lowest[0]}" if lowest[0] not in (first, last) else ""
    return f"from {start:.2f} at step {first} to {end:.2f} at step {last}{dip}{left_out}"
