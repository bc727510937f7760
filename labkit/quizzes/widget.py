"""Questions as plain ipywidgets, within what version 7.7.1 (Colab) and 8 (JupyterLab) have in common.

Everything is reached with Tab, the arrows, Space and Enter; each field has a label; right and wrong are stated in
words. A question's first answer is kept; after a wrong answer learners may try again, or see the answer.
"""

from __future__ import annotations

import asyncio
import html
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import ipywidgets as widgets

from labkit.live import OWN_KEYS
from labkit.progress import store
from labkit.quizzes.answers import EASY, HARD, KNEW, MISSED, Put, check
from labkit.quizzes.markup import has_formula, to_html, to_label
from labkit.quizzes.printed import answer_lines

STYLE = """<style>
.labkit-quiz { max-width: 60em; overflow: visible; }
.labkit-quiz .widget-html-content, .labkit-quiz .widget-htmlmath-content { line-height: 1.45; font-size: 14px; }
.labkit-quiz .widget-inline-hbox { height: auto; flex-wrap: wrap; width: auto; max-width: 100%; overflow: visible; }
.labkit-quiz .widget-inline-hbox > .widget-label { width: auto; height: auto; max-width: 100%; text-align: left;
  white-space: normal; overflow: visible; line-height: 1.45; margin-right: 8px; }
.labkit-quiz .widget-radio-box label { height: auto; white-space: normal; line-height: 1.45; margin: 3px 0;
  width: auto; font-size: 14px; display: flex; flex-direction: row-reverse; justify-content: flex-end; }
.labkit-quiz .widget-radio-box input { flex: none; float: none; margin: 0 8px 0 3px; }
.labkit-quiz .widget-radio, .labkit-quiz .widget-radio-box { width: auto; height: auto; overflow: visible; }
.labkit-quiz .widget-dropdown > select { height: 28px; flex: 1 1 20em; width: auto; max-width: 100%;
  appearance: auto; background-image: none; }
.labkit-quiz .widget-text > input { flex: 0 1 16em; }
.labkit-quiz .widget-textarea > textarea { flex: 1 1 30em; }
.labkit-quiz :focus-visible { outline: 2px solid currentColor; outline-offset: 2px; }
.labkit-quiz .labkit-question { padding: 10px 0 6px; border-top: 1px solid #88888855; overflow: visible; }
.labkit-quiz .labkit-reply { border-left: 4px solid; padding: 2px 0 2px 10px; margin: 4px 0; }
</style>"""
RATINGS = {MISSED: "Missed it", HARD: "Hard", KNEW: "Knew it", EASY: "Easy"}
GUESSED = "A guess: it comes back soon."
ARRIVAL = 0.15  # seconds
NOTHING = -1  # chosen yet
COMPLEX = ("\\frac", "\\sum", "\\sqrt", "_{", "^{")  # a formula of this kind cannot be the label of a button


class Maker:
    """Makes widgets that share one layout, and one style for each kind, because every layout and style is one more
    message to the browser, and one more thing for it to build.
    """

    def __init__(self) -> None:
        self.layout = widgets.Layout(width="auto")
        self.styles: dict[type, widgets.Widget] = {}

    def __call__(self, kind: type[widgets.Widget], *given: Any, **options: Any) -> Any:
        if kind in self.styles:
            options["style"] = self.styles[kind]
        made = kind(*given, layout=self.layout, **options)
        if hasattr(made, "style"):
            self.styles[kind] = made.style
        return made


class Fields:
    """The fields for the answer to one question: `box` is shown, `given()` returns their contents."""

    def __init__(self, put: Put, make: Maker, on_enter: Callable[[], None]):
        self.put, self.make = put, make
        self.fields = getattr(self, f"_{put.question.kind}")()
        for field in self.fields:
            if isinstance(field, widgets.Text):
                field.on_msg(lambda _, content, __: soon(on_enter) if content.get("event") == "submit" else None)
        self.box: list[widgets.Widget] = [*self._listed(), *self.fields]

    def given(self) -> Any:
        """The answer as `answers.check` takes it."""
        kind, values = self.put.question.kind, [field.value for field in self.fields]
        if kind == "blanks":
            return dict(zip(self.put.asked, values))
        if kind in ("match", "order"):
            return [None if value == NOTHING else self.put.offered[value] for value in values]
        if kind == "choice":
            return None if values[0] is None else self.put.offered[values[0]]
        return values[0]

    def fill(self, given: Any) -> None:
        """Enter an answer as `given()` returns it; what does not fit stays empty."""
        parts = list(given.values()) if isinstance(given, dict) else given if isinstance(given, list) else [given]
        for field, part in zip(self.fields, parts):
            if not self.put.offered:
                field.value = str(part or "")
            elif part in self.put.offered:
                field.value = self.put.offered.index(part)

    def close(self) -> None:
        """No further answer is accepted."""
        for field in self.fields:
            field.disabled = True

    def _listed(self) -> list[widgets.Widget]:
        """The options in full, if one of them has a formula that cannot be a label."""
        if not self.lettered:
            return []
        items = "".join(f"<li>{to_html(option)}</li>" for option in self.put.offered)
        return [self.make(widgets.HTMLMath, f'<ol type="A" style="margin: 0">{items}</ol>')]

    @property
    def lettered(self) -> bool:
        """Whether the options are shown in a list, and picked by their letters."""
        return any(has_formula(text) and any(sign in text for sign in COMPLEX) for text in self.put.offered)

    def _labels(self) -> list[tuple[str, int]]:
        if self.lettered:
            return [(letter, place) for place, letter in zip(range(len(self.put.offered)), "ABCDEF")]
        return [(to_label(option), place) for place, option in enumerate(self.put.offered)]

    def _choice(self) -> list[widgets.Widget]:
        labels = self._labels()
        return [self.make(widgets.RadioButtons, options=labels, value=None, description="Choose one:")]

    def _pick(self, label: str) -> widgets.Widget:
        options = [("choose …", NOTHING), *self._labels()]
        return self.make(widgets.Dropdown, options=options, value=NOTHING, description=label)

    def _match(self) -> list[widgets.Widget]:
        return [self._pick(described(to_label(left))) for left in self.put.asked]

    def _order(self) -> list[widgets.Widget]:
        return [self._pick(place) for place in self.put.asked]

    def _blanks(self) -> list[widgets.Widget]:
        answer = self.put.question.answer if self.put.question.kind == "blanks" else {}
        return [self._line(f"Blank ({number})", getattr(answer[name], "unit", ""))
                for number, name in enumerate(self.put.asked, start=1)]  # fmt: skip

    def _number(self) -> list[widgets.Widget]:
        return [self._line("Your answer", getattr(self.put.question, "unit", ""), "a number")]

    def _recall(self) -> list[widgets.Widget]:
        asked = {"description": "Your answer", "placeholder": "from memory", "rows": 3}
        return [self.make(widgets.Textarea, **asked, continuous_update=False)]

    def _line(self, label: str, unit: str = "", hint: str = "") -> widgets.Widget:
        label = f"{label}, in {unit}" if unit else label
        return self.make(widgets.Text, description=label, placeholder=hint, continuous_update=False)


class QuestionView:
    """One question with its fields, its buttons, and the reply. `on_first` is called after the first answer, which is
    kept.
    """

    def __init__(self, put: Put, label: str, place: str, make: Maker, on_first: Callable[[], None]):
        self.put, self.place, self.make, self.on_first = put, place, make, on_first
        self.correct: bool | None = None  # of the first answer
        self.started = time.monotonic()
        self.fields = Fields(put, make, self.check)
        recall = put.question.kind == "recall"
        self.reply: widgets.HTMLMath | None = None
        buttons = [self._button("Reveal the answer" if recall else "Check", self.check)]
        if place == "review" and not recall:
            buttons.append(self._button("Check; I guessed", partial(self.check, guessed=True)))
        self.always = tuple(buttons)
        self.buttons = make(widgets.HBox, buttons)
        text = make(widgets.HTMLMath, f"<div><strong>{label}</strong> {to_html(put.text)}</div>")
        self.box = make(widgets.VBox, [text, *self.fields.box, self.buttons])
        self.box.add_class("labkit-question")

    def check(self, guessed: bool = False) -> None:
        """Reply to the contents of the fields; a right guess comes back as if it had been missed."""
        if self.put.question.kind == "recall":
            self._reveal()
            return
        given = self.fields.given()
        verdict = check(self.put, given)
        if verdict.problem:
            self.say("…", verdict.problem)
            return
        self._count(verdict.right, MISSED if guessed else verdict.rating, given, guessed)
        if verdict.right:
            self.say("✓ Right.", self.put.rationale, GUESSED * guessed)
            self._offer({})
        else:
            parts = [f"{sum(verdict.parts)} of {len(verdict.parts)} are right."] if len(verdict.parts) > 1 else []
            self.say("✗ Not right.", *parts, *verdict.reasons)
            self._offer({"Show the answer": lambda: self.say("The answer:", *self._answer())})

    def _reveal(self) -> None:
        written = str(self.fields.given()).strip()
        if not written:
            self.say("…", "First write what you remember, even if it is only a word.")
            return
        if self.correct is not None:
            self.say("The answer:", *self._answer())
            return
        self.say("The answer:", *self._answer(), "How well did you know it?")
        self._offer({name: partial(self._rate, rating, written) for rating, name in RATINGS.items()})

    def _rate(self, rating: int, written: str) -> None:
        self._count(rating != MISSED, rating, written)
        self.say(f"Rated “{RATINGS[rating]}”. The answer:", *self._answer())

    def _answer(self) -> list[str]:
        return list(answer_lines(self.put, letters=self.fields.lettered))

    def _offer(self, acts: dict[str, Callable[[], None]]) -> None:
        """Put these buttons beside those that stay."""
        others = self.buttons.children[len(self.always) :]
        if [button.description for button in others] != list(acts):
            self.buttons.children = (*self.always, *(self._button(label, act) for label, act in acts.items()))

    def _count(self, correct: bool, rating: int, given: Any, guessed: bool = False) -> None:
        if self.correct is not None:
            return
        self.correct = correct
        store().add_answer(
            self.put.question.id,
            place=self.place,
            correct=correct,
            rating=rating,
            seconds=time.monotonic() - self.started,
            details={"given": given, "drawn": self.put.drawn} | ({"guessed": True} if guessed else {}),
        )
        self.on_first()

    def say(self, headline: str, *lines: str) -> None:
        """Put a reply under the fields, where a screen reader reads it out."""
        told = "".join(f"<div>{to_html(line)}</div>" for line in lines if line)
        value = f'<div class="labkit-reply" role="alert"><strong>{headline}</strong>{told}</div>'
        if self.reply is None:
            self.reply = self.make(widgets.HTMLMath, value)
            self.box.children += (self.reply,)
        else:
            self.reply.value = value

    def _button(self, label: str, act: Callable[[], None]) -> widgets.Button:
        button = self.make(widgets.Button, description=label)
        button.on_click(lambda _: soon(act))
        return button


class Quiz:
    """A few questions under a title, and at the end how many were right at once."""

    def __init__(self, puts: Sequence[Put], title: str, place: str | None = None):
        make = Maker()
        self.views = [
            QuestionView(put, f"{number} of {len(puts)}.", place or put.question.when, make, self._after)
            for number, put in enumerate(puts, start=1)
        ]
        self.end = widgets.HTML()
        self.box = widgets.VBox([heading(title), *(view.box for view in self.views), self.end])
        self.box.add_class("labkit-quiz")

    def _after(self) -> None:
        answered = [view.correct for view in self.views if view.correct is not None]
        note = "" if store().lasting else " Progress is not kept: its file cannot be written."
        if len(answered) == len(self.views):
            note = " What you missed comes back: <code>labkit review</code>, or <code>lk.review()</code>." + note
            self.end.value = f"<p>{sum(answered)} of {len(answered)} right at once.{note}</p>"
        elif note:
            self.end.value = f"<p>{note}</p>"


def heading(title: str) -> widgets.HTML:
    """A title, with the style of what is below it; the notebook does not get its keys."""
    return widgets.HTML(STYLE + OWN_KEYS + f"<strong>{to_html(title)}</strong>")


def described(text: str) -> str:
    """A text as a field's description: version 7 treats it as HTML, version 8 does not."""
    return html.escape(text, quote=False) if int(widgets.__version__.split(".")[0]) < 8 else text


def soon(act: Callable[[], None]) -> None:
    """Act when the typed text has arrived: a browser may send the key that ends an input before the input."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:  # no kernel waits for messages here
        act()
    else:
        loop.call_later(ARRIVAL, act)
