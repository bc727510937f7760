"""Problems about one token, as many as you want: each with new numbers, and known mistakes are named."""

from __future__ import annotations

from itertools import count, cycle
from typing import Any

from labkit.live import in_notebook, show_widget
from labkit.quizzes import today
from labkit.quizzes.answers import put
from labkit.quizzes.printed import as_html, as_text
from labkit.quizzes.schema import Number

TITLE = "One token: loss and gradient"
COMMON = {"lab": "cross_entropy", "objective": "FRI-2.2", "kind": "number", "when": "during", "level": "apply"}
DRAWN = {"from": [p / 200 for p in range(4, 165) if abs(p - 100) > 4]}  # near 0.5, p and 1 − p are the same
PROBLEMS = [
    {
        "id": "cross_entropy.drill_loss",
        "segment": "surprise",
        "text": "The right token has probability {{p}}. What is its loss, in nats?",
        "draws": {"p": DRAWN},
        "answer": "-log(p)",
        "tolerance": 0.01,
        "unit": "nats",
        "mistakes": [
            {"answer": "1 - p", "name": "1 − p", "why": "That is the size of the gradient; the loss is −ln p."},
            {"answer": "-log(1 - p)", "name": "the wrong tokens", "why": "That is the surprise at all the others."},
        ],
        "rationale": "−ln {{p}} = {{-log(p):.2f}} nats.",
    },
    {
        "id": "cross_entropy.drill_gradient",
        "segment": "gradient",
        "text": "The right token has probability {{p}}. What is the gradient of its loss on its own logit?",
        "draws": {"p": DRAWN},
        "answer": "p - 1",
        "tolerance": 0.01,
        "mistakes": [
            {"answer": "1 - p", "name": "turned sign", "why": "It is p − 1, which is below 0."},
            {
                "answer": "p",
                "name": "target forgotten",
                "why": "That is for a wrong token; for the right one subtract 1.",
            },
            {"answer": "-1 / p", "name": "gradient on p", "why": "The logit acts on p through softmax: it is p − 1."},
            {"answer": "log(p)", "name": "the loss", "why": "The loss is −ln p; its gradient on the logit is p − 1."},
        ],
        "rationale": "{{p}} − 1 = {{p - 1:.3f}}. The other logits share the opposite, {{1 - p:.3f}}, between them.",
    },
    {
        "id": "cross_entropy.drill_saved",
        "segment": "surprise",
        "text": "Training moves the right token from {{p}} to {{q}}. How many nats does it save?",
        "draws": {"p": {"from": 0.02, "to": 0.3, "step": 0.01}, "q": {"from": 0.76, "to": 0.95, "step": 0.01}},
        "answer": "log(q / p)",
        "tolerance": 0.01,
        "unit": "nats",
        "mistakes": [
            {"answer": "q - p", "name": "difference of p", "why": "It is the difference of the logarithms."},
            {"answer": "-log(q - p)", "name": "logarithm of the difference", "why": "Subtract the losses."},
            {"answer": "-log(q)", "name": "what is left", "why": "That is the loss afterwards."},
        ],
        "rationale": "{{-log(p):.2f}} − {{-log(q):.2f}} = ln({{q}} / {{p}}) = {{log(q / p):.2f}} nats.",
    },
]


def questions() -> list[Number]:
    """The problems, with the numbers drawn for each."""
    return [Number.model_validate(COMMON | problem) for problem in PROBLEMS]


def drill() -> None:
    """Show one problem of each kind with its answer folded; in a running notebook one at a time.

    Answers here are not kept: it is practice.
    """
    printed = [put(question) for question in questions()]
    if not in_notebook():
        print(as_text(printed, TITLE))
        return

    show_widget(box(), {"text/html": as_html(printed, TITLE), "text/plain": as_text(printed, TITLE)})


def box() -> Any:
    """The widget: a problem, its field, and a button for the next problem."""
    import ipywidgets as widgets

    from labkit.quizzes.widget import Maker, QuestionView, heading, soon

    class Practice(QuestionView):
        def _count(self, correct: bool, rating: int, given: Any, guessed: bool = False) -> None:
            """Keep nothing."""

    drawn = zip(count(1), cycle(questions()))
    make = Maker()
    place, another = widgets.VBox([]), make(widgets.Button, description="Another one")

    def draw() -> None:
        number, question = next(drawn)
        problem = put(question, f"{today()} {number}")
        place.children = (Practice(problem, f"Problem {number}.", "drill", make, lambda: None).box,)

    another.on_click(lambda _: soon(draw))
    draw()
    whole = widgets.VBox([heading(TITLE), place, another])
    whole.add_class("labkit-quiz")
    return whole
