"""Figures: each has a text alternative that carries its numbers, axes with units, and leaves matplotlib's settings
alone.
"""

import base64
import io
import math
from types import SimpleNamespace

import numpy as np
import pytest

from labkit import plots
from labkit.common import InputError
from labkit.models import Score
from labkit.runs import Interval


@pytest.fixture
def shown(monkeypatch):
    """What is displayed: (data, metadata) of each output."""
    import IPython.display

    outputs = []
    monkeypatch.setattr(
        IPython.display, "display", lambda data, raw, metadata=None: outputs.append((data, metadata or {}))
    )
    return outputs


def history(loss, validation=()):
    steps = list(range(1, len(loss) + 1))
    return SimpleNamespace(
        step=steps, loss=list(loss), validation_step=steps[: len(validation)], validation_loss=list(validation)
    )


def pixels(data):
    import matplotlib.image

    return matplotlib.image.imread(io.BytesIO(base64.b64decode(data["image/png"])), format="png")


def test_a_figure_carries_its_text_where_every_viewer_finds_it(shown):
    figure, axes = plots.figure("It rises", "x (m)", "y (s)")
    plots.show(figure, "  It rises,\n from 1 to <2> & so on. ")
    (picture, metadata), (folded, _) = shown
    text = "It rises, from 1 to <2> & so on."
    assert picture["text/plain"] == metadata["image/png"]["alt"] == text
    assert "from 1 to &lt;2&gt; &amp; so on" in folded["text/html"] and "text/plain" not in folded
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_title(loc="left")) == ("x (m)", "y (s)", "It rises")
    corner = pixels(picture)[0, 0]
    assert np.allclose(corner, 1)  # white and opaque: the same on a dark page


def test_the_same_figure_gives_the_same_bytes(shown):
    for _ in range(2):
        plots.loss_curve(history([4.0, 2.0]), "It falls")
    assert shown[0] == shown[2]


def test_a_figure_without_an_alternative_is_refused(shown):
    with pytest.raises(InputError, match="no text alternative"):
        plots.show(plots.figure("t", "x", "y")[0], "  ")
    assert shown == []


def test_a_loss_curve_says_its_ends_its_dip_and_what_is_missing(shown):
    plots.loss_curve(history([4.0, 0.5, math.nan, 1.25], validation=[3.5, 2.25]), "Up again")
    text = shown[0][0]["text/plain"]
    assert text.startswith("Up again. Loss in nats")
    assert "training: from 4.00 at step 1 to 1.25 at step 4, lowest 0.50 at step 2, 1 of 4 not a number" in text
    assert "validation: from 3.50 at step 1 to 2.25 at step 2" in text


def test_several_curves_are_named_and_told_apart_without_colour(shown, monkeypatch):
    drawn = []
    make = plots.figure
    monkeypatch.setattr(plots, "figure", lambda *arguments, **more: drawn.append(make(*arguments, **more)) or drawn[-1])
    plots.loss_curve({"masked": history([4, 1]), "unmasked": history([4, 2])}, "Both fall")
    lines = drawn[0][1].lines
    assert [line.get_label() for line in lines] == ["masked", "unmasked"]
    assert len({line.get_linestyle() for line in lines}) == 2
    assert "masked: from 4.00 at step 1 to 1.00 at step 2" in shown[0][0]["text/plain"]


@pytest.mark.parametrize(
    "loss, words",
    [([math.nan], "not a number at any step"), ([3.0], "3.00 at step 1"), ([], "not a number at any step")],
)
def test_odd_curves_are_drawn_too(shown, loss, words):
    plots.loss_curve(history(loss), "Odd")
    assert words in shown[0][0]["text/plain"]


def test_scores_say_every_share_with_its_interval(shown):
    before = Score(100, 3, 0.03, 0.01, 0.085, by_task={"sums": Score(50, 1, 0.02, 0.0, 0.105)})
    after = Score(
        100,
        96,
        0.96,
        0.9,
        0.985,
        by_task={"sums": Score(50, 49, 0.98, 0.9, 1.0), "mayor_of": Score(50, 47, 0.94, 0.84, 0.98)},
    )
    plots.scores({"before": before, "after": after}, "It answers")
    text = shown[0][0]["text/plain"]
    assert "before: all 3.0% (1.0% to 8.5%), sums 2.0% (0.0% to 10.5%)" in text
    assert "after: all 96.0% (90.0% to 98.5%), sums 98.0% (90.0% to 100.0%), mayor_of 94.0% (84.0% to 98.0%)" in text
    with pytest.raises(InputError, match="no scores"):
        plots.scores({}, "None")


def test_differences_say_each_with_its_interval_and_the_seeds(shown):
    up, down = Interval(0.25, 0.1, 0.4, (0.2, 0.3)), Interval(-0.1, -0.3, 0.1, (0, -0.2))
    plots.differences({"all": up, "sums": down}, "Leaks")
    text = shown[0][0]["text/plain"]
    assert "percentage points, mean of 2 seeds" in text
    assert "all: +25.0 (+10.0 to +40.0). sums: -10.0 (-30.0 to +10.0)." in text
    with pytest.raises(InputError, match="no differences"):
        plots.differences({}, "None")


def test_courses_say_every_point_with_its_interval(shown):
    up, down = [Interval(1, 0.5, 1.5, (1, 1)), Interval(2, 1, 3, (2, 2))], [Interval(0, -1, 1, (0, 0))] * 2
    plots.courses([1, 16], {"A": up, "B": down}, "A rises", "best of n", "reward", x_log=True)
    text = shown[0][0]["text/plain"]
    assert "reward, with 95% interval, by best of n. A: 1: 1 (0.5 to 1.5), 16: 2 (1 to 3). B: 1: 0 (-1 to 1)" in text
    plots.courses({"A": [1, 16], "B": [2]}, {"A": up, "B": down[:1]}, "Each at its own", "rate", "loss", y_log=True)
    assert "A: 1: 1 (0.5 to 1.5), 16: 2 (1 to 3). B: 2: 0 (-1 to 1)." in shown[2][0]["text/plain"]


def test_matplotlib_settings_stay_as_they_were(shown):
    import matplotlib

    before = dict(matplotlib.rcParams)
    plots.loss_curve(history([2, 1]), "It falls")
    assert dict(matplotlib.rcParams) == before


def test_tokens_are_told_by_their_values_and_not_by_colour_alone(shown):
    plots.tokens([" the", "<b>", "\n"], [0.25, None, 2.0], "What surprises", notes=["user", "", "assistant"])
    ((data, _),) = shown
    assert data["text/plain"].splitlines() == [
        "What surprises (nats under each token)",
        "' the'             0.25 user",
        "'<b>'                 –",
        "'\\n'               2.00 assistant",
    ]
    cells = data["text/html"].split("<div style")[1:]
    assert ["0.06" in cells[0], "0.00" in cells[1], "0.50" in cells[2]] == [True] * 3
    assert "·the" in cells[0] and "&lt;b&gt;" in cells[1] and "↵" in cells[2]
    assert all(said in cells[0] for said in ("0.25", "user")) and "–" in cells[1] and "nowrap" in cells[2]


def test_tokens_of_unequal_number_are_refused(shown):
    for pieces, values, notes in (([], [], None), (["a"], [1.0, 2.0], None), (["a"], [1.0], ["x", "y"])):
        with pytest.raises(InputError, match="as many of each"):
            plots.tokens(pieces, values, "t", notes=notes)


def test_tokens_take_infinite_and_missing_values(shown):
    plots.tokens(["a", "b", "c"], [math.inf, None, -1e-9], "t")
    assert "-0.00" not in shown[0][0]["text/plain"]
    assert "inf" in shown[0][0]["text/plain"] and "0.50" in shown[0][0]["text/html"]


BARS = {"forward": {"weights": 2e9, "logits": 1e9}, "step": {"weights": 2e9, "states": 4e9}}


def test_memory_bars_carry_each_term_and_the_card(shown):
    plots.memory_bars(BARS, 8e9, "It fits")
    text = shown[0][0]["text/plain"]
    assert "GB. The card holds 8.0." in text
    assert "forward: 3.00, of it weights 2.00, logits 1.00" in text and "step: 6.00, of it weights 2.00" in text
    plots.memory_bars(BARS, None, "No card", unit=2.0**30)
    assert "GiB" in shown[2][0]["text/plain"] and "1.86" in shown[2][0]["text/plain"]
    with pytest.raises(InputError, match="no bars"):
        plots.memory_bars({}, 1.0, "None")


def test_the_course_of_a_step_shows_what_is_alive_and_what_was_planned(shown):
    plots.memory_course([1, 3, 2, 4, 2, 2, 5], (2, 5), {"end of forward": 3, "optimizer step": 5}, "Late", unit=1)
    text = shown[0][0]["text/plain"]
    assert "forward: from 1.00 to 3.00, at most 3.00" in text and "backward: from 2.00 to 2.00, at most 4.00" in text
    assert "planned, optimizer step: 5.00" in text
    with pytest.raises(InputError, match="must follow one another"):
        plots.memory_course([1, 2], (1, 1), {}, "Bad")


def test_lines_tell_their_points_and_bars_their_groups(shown):
    plots.lines([1, 10, 100], {"a": [0.5, 1, 2], "b": [2, 1, 0.25]}, "They cross", "x", "y (nats)", x_log=10)
    assert "y (nats), by x. a: 1: 0.5, 10: 1, 100: 2. b: 1: 2, 10: 1, 100: 0.25." in shown[0][0]["text/plain"]
    plots.lines(range(100), {"long": range(100)}, "Long", "x", "y")
    assert shown[2][0]["text/plain"].count(",") < 15  # not all hundred
    plots.bars({"before": {"low": 3, "high": 1}, "after": {"low": 0, "high": 4}}, "It moves", "p", "share (%)")
    assert "share (%), by p. before: low: 3, high: 1. after: low: 0, high: 4." in shown[4][0]["text/plain"]
    with pytest.raises(InputError, match="no bars"):
        plots.bars({}, "None", "x", "y")


def test_panels_side_by_side_draw_the_same_level(shown):
    plots.loss_panels({"own": history([0.5, 0.1]), "foreign": history([15.0, 6.0])}, "Where they begin", 7.6, "ln V")
    text = shown[0][0]["text/plain"]
    assert "ln V is 7.60 nats" in text and "foreign: from 15.00 at step 1 to 6.00 at step 2" in text


def test_a_dark_page_inverts_figures_and_nothing_else(shown):
    plots.show(plots.figure("t", "x", "y")[0], "alt")
    style = shown[1][0]["text/html"].split("</style>")[0]
    assert '[data-jp-theme-light="false"] img.jp-needs-light-background' in style and "invert" in style
    assert shown[0][1]["needs_background"] == "light"  # what gives the image that class
