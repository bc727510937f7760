"""The clinic of lab 05: a recorded run with one fault, which a learner diagnoses from its curves, tests and runs again.

Here is how a patient is shown: curves, questions, what the tests gave, what was planted, and the run with a knob turned.
Who the patients are stands in `labkit.diagnosis.patients`, what a learner may change in `knobs`. Where no kernel runs,
and in a stored notebook, it is a still picture and the questions with their answers folded, all from the record.
"""

from __future__ import annotations

import html
import io
import math
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from labkit import plots
from labkit.common import InputError
from labkit.diagnosis import patients
from labkit.diagnosis.causes import CAUSES
from labkit.diagnosis.knobs import KNOBS
from labkit.diagnosis.measures import MEASURES
from labkit.diagnosis.patients import Patient
from labkit.live import in_notebook, show_widget
from labkit.progress import store
from labkit.quizzes.markup import to_html
from labkit.quizzes.printed import wrapped

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Log = dict[str, list]

KEY = "clinic:"
NONE = "none"
ITEM = "– "  # begins a line of a list
TESTS = {
    "first loss": "the loss before the first step, beside ln V and the base's own",
    "counted tokens": "how many tokens carry loss, batch by batch",
    "same batch twice": "the loss on one batch, before and after eight steps on it",
    "distance": "how far the trained weights went, and which share of them changed at all",
    "step or sample": "with half the batch, does the event keep its step or its sample?",
    "rate of nearly 0": "the same run at a millionth of the rate: what is still there?",
    NONE: "the curves say enough",
}
AXES = {"step": "step", "samples": "rows seen", "tokens": "tokens seen"}
EXTRAS = {
    "validation_loss": "held-out loss",
    "grad_norm": "gradient norm",
    "lr": "learning rate",
    "unmasked_tokens": "counted tokens",
    "entropy": "entropy",
    "epochs": "epochs",
}
UNITS = {
    "grad_norm": "gradient norm",
    "lr": "learning rate",
    "unmasked_tokens": "counted tokens\na step",
    "entropy": "entropy\n(nats)",
}
CAUSE_ASKED = "What is the cause?"
TEST_ASKED = "Which test would tell it from causes whose curve looks the same?"
CHANGE_ASKED = "Does that change your diagnosis? You may change it once."
KNOB_ASKED = "Which knob would you turn?"
WINDOWS = 16  # in which a curve is told in words
BETTER = 0.95  # of a measure: below this share of what it was, a run is better


def clinic(number: int) -> None:
    """Show a patient: a run of the base with one fault, to be diagnosed from its curves.

    In a running notebook it is a dialogue, and what a learner commits to is kept. What a notebook stores is the picture
    of the loss and the questions, their answers folded. Raises `InputError` if there is no such patient.
    """
    chart = Chart(patients.patient(number))
    figure, alt = chart.figure()
    if not in_notebook():
        print("\n".join([*wrapped("", alt), "", as_text(chart)]))
        return
    plots.show(figure, alt)
    bundle = {"text/html": as_html(chart), "text/plain": as_text(chart)}
    try:
        import ipywidgets  # noqa: F401
    except ImportError:  # without it the questions are all
        from IPython.display import display

        display(bundle, raw=True)
        return
    show_widget(Visit(chart).box, bundle)


# What is known of a patient, and its curves


class Chart:
    """A patient with its record. Raises `InputError` if it was not recorded."""

    def __init__(self, who: Patient):
        record = patients.recorded(who.number)
        if record is None:
            raise InputError(
                f"patient {who.number} is not recorded; run `python -m labkit.diagnosis.patients {who.number}`"
            )
        self.who, self.record = who, record
        self.log: Log = record["log"]
        self.cause: str = record["cause"]
        self.title = f"Patient {who.number}"

    @property
    def intro(self) -> str:
        weights = "all its weights" if self.who.setup.get("trained") == "all" else "LoRA"
        return (
            f"One recorded run of the base, {self.log['step'][-1]} steps with {weights}. It is to learn {self.who.learns}. "
            "At most one thing is wrong with it."
        )

    def figure(
        self, axis: str = "step", extras: Sequence[str] = (), again: Log | None = None, knob: str = ""
    ) -> tuple[Figure, str]:
        """(figure, its text alternative): the training loss over `AXES[axis]`, what else was asked for of `EXTRAS`,
        and over it the run made `again` with a `knob` turned.
        """
        drawn, title, said = self.curves(axis, extras, again, knob)
        return drawn, f"{title}. {' '.join(said)}"

    def curves(
        self, axis: str = "step", extras: Sequence[str] = (), again: Log | None = None, knob: str = ""
    ) -> tuple[Figure, str, list[str]]:
        """(figure, its title, a sentence for each curve), as in `figure`."""
        below = [name for name in UNITS if name in extras]
        title = f"{self.title}: training loss" + (f", and with {knob}" if again else "")
        drawn, panels = plots.panels(title, AXES[axis], ["loss (nats a token)", *(UNITS[name] for name in below)])
        said, logs = [], [self.log] if again is None else [self.log, again]
        for place, log in enumerate(logs):
            style = {"color": plots.COLOURS[place], "linestyle": plots.DASHES[place], "linewidth": 1.4}
            looks_style = style | {"marker": plots.MARKERS[place], "markerfacecolor": "white", "linewidth": 0.7}
            x, looks = positions(log, axis)
            lines = [("training loss", panels[0], x, log["loss"])]
            if "validation_loss" in extras:
                lines.append(("held-out loss", panels[0], looks, log["validation_loss"]))
            for column, panel in zip(below, panels[1:]):
                lines.append((EXTRAS[column], panel, looks if column == "entropy" else x, log[column]))
            for what, panel, at, values in lines:
                name = f"{what} with {knob}" if place else what
                panel.plot(at, values, **(looks_style if at is looks else style), markersize=5, label=name)
                said.append(f"{name[0].upper()}{name[1:]}, by {AXES[axis]}: {in_words(at, values)}.")
        if len(panels[0].lines) > 1:
            drawn.legend(*panels[0].get_legend_handles_labels(), frameon=False, loc="outside lower center", ncols=2)
        self._limit(panels, below, logs)
        if "epochs" in extras:
            said.append(self._mark_epochs(panels, axis))
        return drawn, title, said

    def _limit(self, panels: list, below: list[str], logs: list[Log]) -> None:
        """Set what the panels show of each axis, and say in them what they cannot show."""
        top, cut = height(logs)
        panels[0].set_ylim(0, top)
        if cut is not None:
            note(panels[0], f"begins at {number(cut)}")
        for column, panel in zip(below, panels[1:]):
            values = self.log[column]
            known = [value for value in values if math.isfinite(value)]
            if len(known) < len(values):
                note(panel, f"no number in {len(values) - len(known)} of {len(values)}")
            if column == "grad_norm" and known and min(known) > 0 and max(known) > 20 * min(known):
                panel.set_yscale("log")
            else:
                panel.set_ylim(bottom=0)

    def _mark_epochs(self, panels: list, axis: str) -> str:
        """Draw where epochs begin; the same in words."""
        starts = [positions(self.log, axis)[0][place] for place in epoch_starts(self.log)]
        if not starts:
            note(panels[0], "each row is seen at most once", low=True)  # so there is nothing to mark
            return "Each row is seen at most once."
        for panel in panels:
            for start in starts:
                panel.axvline(start, color="black", linewidth=0.7, linestyle=":")
        return f"The second epoch and those after it begin at {AXES[axis]} {', '.join(map(str, starts))}."


def positions(log: Log, axis: str) -> tuple[list, list]:
    """Where on an axis each line of a log stands, and each look at the held-out rows."""
    x = log[axis]
    return x, [0 if step == 0 else x[log["step"].index(step)] for step in log["validation_step"]]


def epoch_starts(log: Log) -> list[int]:
    """The places of the first line of each epoch but the first."""
    done = [0.0, *log["epoch"]]  # before each line
    return [
        place
        for place in range(1, len(log["epoch"]))
        if math.floor(done[place] + 1e-3) > math.floor(done[place - 1] + 1e-3)
    ]


def height(logs: Sequence[Log]) -> tuple[float | None, float | None]:
    """(the top of the loss axis, the first loss if it lies above): the first steps of a run would flatten the rest."""
    later = [loss for log in logs for loss in log["loss"][len(log["loss"]) // 10 :] if math.isfinite(loss)]
    first = max((loss for log in logs for loss in log["loss"][:3] if math.isfinite(loss)), default=0.0)
    top = 1.15 * max(later, default=0.0)
    if top <= 0:
        return 1.0, None
    return (top, first) if first > 1.6 * top else (max(top, 1.05 * first), None)


def note(axes: Any, text: str, low: bool = False) -> None:
    """A remark in a corner of a panel."""
    axes.annotate(
        text, (0.13, 0.04 if low else 0.95), xycoords="axes fraction", va="bottom" if low else "top", fontsize=9
    )


def in_words(x: Sequence[float], values: Sequence[float]) -> str:
    """A curve in at most `WINDOWS` pieces: for each its mean, lowest and highest; for few points, each point."""
    if len(values) <= 2 * WINDOWS:
        return ", ".join(f"{at}: {number(value)}" for at, value in zip(x, values))
    size = math.ceil(len(values) / WINDOWS)
    told = []
    for start in range(0, len(values), size):
        piece = values[start : start + size]
        known = [value for value in piece if math.isfinite(value)]
        where = f"{x[start]} to {x[start + len(piece) - 1]}"
        if not known:
            told.append(f"{where}: no number")
            continue
        mean, low, high = (number(value) for value in (sum(known) / len(known), min(known), max(known)))
        lost = f", {len(piece) - len(known)} no number" if len(known) < len(piece) else ""
        told.append(f"{where}: {mean}" + ("" if low == high else f" ({low} to {high})") + lost)
    return "; ".join(told)


def number(value: float) -> str:
    return "no number" if not math.isfinite(value) else f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


# What is said, in the quizzes' markup


def label(cause: str) -> str:
    """A cause as a learner reads it."""
    return {"beta2": "β₂ too small"}.get(cause, cause)


def test_line(chart: Chart, test: str) -> str:
    if test == NONE:
        return "No test was run."
    line = chart.record["tests"][test]["line"]
    if line.startswith(test):
        return f"*{test}*{line.removeprefix(test)}."
    return f"*{test}*: {line.removeprefix('the same batch: ')}."


def said_of_diagnosis(chart: Chart, named: str, first: str | None = None) -> Iterator[str]:
    """Whether the diagnosis is right and, if not, what that cause would have shown."""
    if named == chart.cause:
        yield f"✓ Right: {label(named)}." + (f" At first you said: {label(first)}." if first else "")
        return
    yield f"✗ You said: {label(named)}. It is: *{label(chart.cause)}*."
    if first == chart.cause:
        yield "Your first diagnosis was right. What in the tests made you change it?"
    yield f"{label(named)[0].upper()}{label(named)[1:]} would have shown {patients.shows(named)}"


def said_of_test(chart: Chart, named: str, seen: Sequence[str]) -> Iterator[str]:
    """Whether the test that was named first tells this cause from its neighbours, and which does; what it gave, unless
    it is among those `seen`.
    """
    tells = chart.who.tells
    if named in tells:
        yield f"✓ *{named}* tells: {tells[named]}" if named != NONE else f"✓ No test is needed: {tells[named]}"
        return
    best = next(iter(tells))
    wrong = (
        f"*{named}* does not tell it from causes whose curve looks the same."
        if named != NONE
        else "The curves alone do not tell it."
    )
    yield f"✗ {wrong}"
    yield f"*{best}* does: {tells[best]}" if best != NONE else f"No test is needed: {tells[best]}"
    if best != NONE and best not in seen:
        yield test_line(chart, best)


def said_of_case(chart: Chart) -> Iterator[str]:
    """What was planted, why the curve looks so, and what else would look so."""
    yield f"Planted: {chart.who.planted}"
    yield f"Why the curve looks so: {chart.who.why}"
    yield "Much the same curve comes from:"
    yield from (f"{ITEM}*{label(cause)}*. {told}" for cause, told in chart.who.neighbours.items())


def said_of_run(chart: Chart, knob: str, again: Log) -> Iterator[str]:
    """What turning a knob did, by the patient's measure."""
    measure = MEASURES[chart.who.measure]
    before, after = measure.of(chart.log), measure.of(again)
    helped = math.isfinite(after) and (not math.isfinite(before) or after < BETTER * before)
    change = f"{measure.text[0].upper()}{measure.text[1:]}: {measure.written(chart.log)} before, {measure.written(again)} with {KNOBS[knob].text}."
    right = knob in chart.who.knobs
    if chart.cause == "sound":
        yield (
            "Nothing was wrong, so no knob had to be turned."
            if right
            else "Nothing was wrong: there was nothing to cure."
        )
    elif right:
        yield "✓ It helps." if helped else "It is the right knob, but this time the measure does not show it."
    else:
        yield "It is better by this measure, but the fault is still there." if helped else "✗ It does not help."
    yield change


# Where no kernel runs


def blocks(chart: Chart) -> Iterator[tuple[str, list[str]]]:
    """(heading of a folded part, or empty; its lines)."""
    tests = "; ".join(f"*{test}* ({text})" for test, text in TESTS.items())
    yield (
        "",
        [
            chart.intro,
            f"1. {CAUSE_ASKED} One of: {', '.join(map(label, CAUSES))}.",
            f"2. {TEST_ASKED} One of: {tests}.",
            f"3. {KNOB_ASKED} One of: {'; '.join(knob.text for knob in KNOBS.values())}.",
        ],
    )
    yield "The other curves, in words", chart.curves(extras=list(EXTRAS))[2][1:]
    yield "What the six tests gave", [test_line(chart, test) for test in TESTS if test != NONE]
    best, tells = next(iter(chart.who.tells.items()))
    told = f"No test is needed: {tells}" if best == NONE else f"The test that tells is *{best}*: {tells}"
    yield "What was planted", [f"It is: *{label(chart.cause)}*.", *said_of_case(chart), told]
    right, again = chart.who.knobs[0], chart.record["rerun"]
    curve = next(line for line in chart.curves(again=again, knob=KNOBS[right].text)[2][1:])
    yield "The run with the right knob turned", [*said_of_run(chart, right, again), curve]


def as_html(chart: Chart) -> str:
    """The questions as plain HTML, with the answers folded."""
    parts = [f"<p><strong>{chart.title}</strong></p>"]
    for heading, lines in blocks(chart):
        told = paragraphs(lines)
        parts.append(f"<details><summary>{heading}</summary>{told}</details>" if heading else told)
    return "\n".join(parts)


def as_text(chart: Chart) -> str:
    """The questions as text, the answers below."""
    told = [chart.title]
    for heading, lines in blocks(chart):
        told += ["", *([heading] if heading else []), *(line for text in lines for line in wrapped("", text))]
    return "\n".join(told)


def paragraphs(lines: Sequence[str]) -> str:
    """The lines as HTML: paragraphs, and a list of those that begin as an item."""
    parts = []
    for items, group in groupby(lines, key=lambda line: line.startswith(ITEM)):
        told = [to_html(line.removeprefix(ITEM)) for line in group]
        if items:
            parts.append(f"<ul style='margin: 4px 0'>{''.join(f'<li>{line}</li>' for line in told)}</ul>")
        else:
            parts += [f"<p style='margin: 4px 0'>{line}</p>" for line in told]
    return "".join(parts)


# In a running notebook


def kept(number: int) -> dict[str, Any]:
    """What the learner has committed to with a patient, as far as it still names what there is."""
    found = store().kept(KEY + str(number))
    found = found if isinstance(found, dict) else {}
    diagnosis, changed = (found.get(name) if found.get(name) in CAUSES else None for name in ("diagnosis", "changed"))
    tests = [test for test in found.get("tests", []) if test in TESTS] if diagnosis else []
    return {
        "diagnosis": diagnosis,
        "tests": tests,
        "changed": changed if tests else None,
        "revealed": bool(found.get("revealed") and tests),
        "knobs": [knob for knob in found.get("knobs", []) if knob in KNOBS],
    }


class Visit:
    """A learner with one patient: each commitment opens what comes next, and is kept."""

    def __init__(self, chart: Chart):
        import ipywidgets as widgets

        from labkit.quizzes.widget import Maker, heading

        self.chart, self.number, self.widgets, self.make = chart, chart.who.number, widgets, Maker()
        self.again: tuple[str, Log] | None = None  # the last run with a knob turned
        self.picture, self.words = self._picture()
        self.new_picture, self.new_words = self._picture()  # with that run's curves over the old ones
        self.box = widgets.VBox([heading(chart.title), self._text(paragraphs([chart.intro])), *self._curves()])
        self.box.add_class("labkit-quiz")
        self.cause = self._pick("Diagnosis", [(label(cause), cause) for cause in CAUSES])
        self.test = self._pick("Test", [(test if test != NONE else "none of them", test) for test in TESTS])
        self.other = self._pick("Diagnosis", [(label(cause), cause) for cause in CAUSES])
        self.knob = self._pick("Knob", [(knob.text, name) for name, knob in KNOBS.items()])
        self.said = {name: self._reply() for name in ("cause", "test", "case", "knob")}
        self.commit = self._button("Commit to it", self._diagnose)
        self.see = self._button("See this test", self._test)
        self.change = self._button("Change to this", self._change)
        self.reveal = self._button("What was planted?", self._reveal)
        self.run = self._button("Run it again", self._run)
        self.recorded = self._button("Show the recorded cure", self._show_recorded)
        causes = "".join(f"<li>{to_html(f'*{label(name)}*: {cause.text}')}</li>" for name, cause in CAUSES.items())
        tests = "".join(f"<li>{to_html(f'*{test}*: {text}')}</li>" for test, text in TESTS.items())
        self.parts = {
            "cause": self._part(CAUSE_ASKED, causes, self.cause, self._row(self.commit), self.said["cause"]),
            "test": self._part(TEST_ASKED, tests, self.test, self._row(self.see), self.said["test"]),
            "case": self._part(CHANGE_ASKED, "", self.other, self._row(self.change, self.reveal), self.said["case"]),
            "knob": self._part(KNOB_ASKED, "", self.knob, self._row(self.run, self.recorded), self.said["knob"]),
        }
        self.parts["knob"].children += (self.new_picture, self.new_words)
        self._open("cause")
        self._resume()

    # What it is made of

    def _text(self, value: str) -> Any:
        return self.make(self.widgets.HTMLMath, value)

    def _reply(self) -> Any:
        return self.widgets.HTML()

    def _row(self, *children: Any) -> Any:
        return self.widgets.HBox(list(children), layout={"flex_flow": "row wrap"})

    def _pick(self, name: str, options: list[tuple[str, str]]) -> Any:
        options = [("choose …", ""), *options]
        return self.make(self.widgets.Dropdown, options=options, value="", description=name)

    def _button(self, name: str, act: Callable[[], None]) -> Any:
        button = self.make(self.widgets.Button, description=name)
        button.on_click(lambda _: act())
        return button

    def _part(self, asked: str, meanings: str, *children: Any) -> Any:
        folded = f"<details><summary>What these mean</summary><ul>{meanings}</ul></details>" if meanings else ""
        part = self.make(self.widgets.VBox, [self._text(f"<p><strong>{asked}</strong></p>{folded}"), *children])
        part.add_class("labkit-question")
        return part

    def _open(self, name: str) -> None:
        if self.parts[name] not in self.box.children:
            self.box.children += (self.parts[name],)

    def _say(self, name: str, lines: Sequence[str]) -> None:
        """Put lines under a question, where a screen reader reads them out."""
        self.said[name].value = f'<div class="labkit-reply" role="alert">{paragraphs(lines)}</div>'

    # The curves

    def _curves(self) -> list:
        widgets = self.widgets
        self.axis = self.make(
            widgets.Dropdown, options=[(text, name) for name, text in AXES.items()], description="Axis"
        )
        self.extras = {
            name: widgets.Checkbox(value=False, description=text, indent=False, layout={"width": "auto"})
            for name, text in EXTRAS.items()
        }
        for control in (self.axis, *self.extras.values()):
            control.observe(self._draw, "value")
        asked = self._text("<p>The training loss is above. What else would you see?</p>")
        return [asked, self.axis, self._row(*self.extras.values()), self.picture, self.words]

    def _picture(self) -> tuple:
        """An image that is not shown yet, and what it says in words."""
        image = self.widgets.Image(format="png", layout={"max_width": "672px", "display": "none"})
        image.add_class("lk-figure")
        return image, self.widgets.HTML()

    def _draw(self, _: object = None) -> None:
        self._draw_on(self.picture, self.words)
        self._draw_again()

    def _draw_again(self) -> None:
        if self.again is not None:
            knob, log = self.again
            self._draw_on(self.new_picture, self.new_words, log, KNOBS[knob].text)

    def _draw_on(self, picture: Any, words: Any, again: Log | None = None, knob: str = "") -> None:
        extras = [name for name, box in self.extras.items() if box.value]
        figure, alt = self.chart.figure(self.axis.value, extras, again, knob)
        png = io.BytesIO()
        figure.savefig(png, format="png", dpi=96)
        picture.value = png.getvalue()
        picture.layout.display = ""
        words.value = f"<details><summary>The figure in words</summary><p>{html.escape(alt)}</p></details>"

    # The dialogue

    def _keep(self, **values: Any) -> dict[str, Any]:
        """Keep what was committed to; what was kept before, in another view of the patient, counts."""
        now = kept(self.number)
        for name, value in values.items():
            if name in ("tests", "knobs"):
                now[name] = [*now[name], *(one for one in value if one not in now[name])]
            else:
                now[name] = now[name] or value
        store().keep(KEY + str(self.number), now)
        return now

    def _resume(self) -> None:
        """Show what was committed to before."""
        now = kept(self.number)
        if now["diagnosis"]:
            self._diagnosed(now)
        if now["tests"]:
            self._tested(now)
        if now["changed"]:
            self._changed(now)
        if now["revealed"]:
            self._revealed(now)

    def _diagnose(self) -> None:
        if not self.cause.value:
            self._say("cause", ["… Choose one first."])
            return
        self._diagnosed(self._keep(diagnosis=self.cause.value))

    def _diagnosed(self, now: dict[str, Any]) -> None:
        self.cause.value = now["diagnosis"]
        self.cause.disabled = self.commit.disabled = True
        self._say("cause", [f"Your diagnosis: *{label(now['diagnosis'])}*."])
        self._open("test")

    def _test(self) -> None:
        if not self.test.value:
            self._say("test", ["… Choose one first."])
            return
        self._tested(self._keep(tests=[self.test.value]))

    def _tested(self, now: dict[str, Any]) -> None:
        self._say("test", [*(test_line(self.chart, test) for test in now["tests"]), "You may ask for others."])
        self._open("case")

    def _change(self) -> None:
        if not self.other.value:
            self._say("case", ["… Choose another diagnosis first, or see what was planted."])
            return
        if self.other.value == kept(self.number)["diagnosis"]:
            self._say("case", ["… That is your diagnosis already."])
            return
        self._changed(self._keep(changed=self.other.value))

    def _changed(self, now: dict[str, Any]) -> None:
        self.other.value = now["changed"]
        self.other.disabled = self.change.disabled = True
        self._say("case", [f"Your diagnosis is now: *{label(now['changed'])}*."])

    def _reveal(self) -> None:
        self._revealed(self._keep(revealed=True))

    def _revealed(self, now: dict[str, Any]) -> None:
        self.other.disabled = self.change.disabled = self.reveal.disabled = True
        first = now["diagnosis"] if now["changed"] else None
        told = [*said_of_diagnosis(self.chart, now["changed"] or now["diagnosis"], first)]
        told += [*said_of_test(self.chart, now["tests"][0], now["tests"]), *said_of_case(self.chart)]
        self._say("case", told if store().lasting else [*told, "This is not kept: its file cannot be written."])
        self._open("knob")

    def _run(self) -> None:
        name = self.knob.value
        if not name:
            self._say("knob", ["… Choose one first."])
            return
        self._keep(knobs=[name])
        self.run.disabled = self.recorded.disabled = True
        try:
            self._progress(0, 1)
            made = self.chart.who.plan(KNOBS[name])
            if patients.digest(made) == self.chart.record["hash"]:
                self._show(name, self.chart.log, ["That was as it should be already: it is the same run."])
            else:
                self._show(name, patients.run(made, self._progress))
        except KeyboardInterrupt:
            self._say("knob", ["Stopped."])
        except InputError as error:
            self._say("knob", [str(error)])
        finally:
            self.run.disabled = self.recorded.disabled = False

    def _progress(self, step: int, steps: int) -> None:
        text = f"step {step} of {steps}" if step else "making the run ready"
        bar = f'<progress max="1" value="{step / steps:.3f}" aria-label="progress"></progress>'
        self.said["knob"].value = f"<div>{bar} {text}</div>"

    def _show_recorded(self) -> None:
        right = self.chart.who.knobs[0]
        self._show(right, self.chart.record["rerun"], [f"Recorded, with {KNOBS[right].text}."])

    def _show(self, knob: str, again: Log, before: Sequence[str] = ()) -> None:
        self.again = (knob, again)
        self._draw_again()
        self._say("knob", [*before, *said_of_run(self.chart, knob, again)])
