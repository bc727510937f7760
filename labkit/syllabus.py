"""The one table of labs: number, topic, title, question, minutes, objective and segments of each.

A topic's name is the same in every place: `exercises/TOPIC.py`, `runs/recipes/TOPIC.py`, the bank
`quizzes/NN_TOPIC.yaml`, the lab `labs/source/NN_TOPIC.py`. The parts of a lab are in those places and are found by that
name; only the row is here. Of the kit, only `common` is imported, so that every module can import this one.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from labkit.common import html_table, text_table


@dataclass(frozen=True)
class Lab:
    """One row. `minutes` is how long the core takes a learner; None if there is no limit."""

    number: str  # two digits
    topic: str
    title: str
    question: str
    minutes: int | None
    objective: str
    segments: tuple[str, ...]  # in the order of the lab; a question of the bank belongs to one
    slug: str = ""  # how its file goes on after the number; empty: the topic

    @property
    def file(self) -> str:
        """The stem of its notebook, its source and its bank: `03_cross_entropy`."""
        return f"{self.number}_{self.slug or self.topic}"


OBJECTIVES = {
    "FRI-2.1": "prepare training data: split, deduplicate, tokenize; say why quality dominates",
    "FRI-2.2": "calculate the cross-entropy loss and its gradient; explain loss masking and teacher forcing",
    "FRI-2.3": "select learning rate, schedule, batch size and epochs; diagnose a run from its loss curve",
    "FRI-2.4": "apply LoRA and QLoRA, and justify them against full fine-tuning",
}

# number, topic, title, question, minutes, objective, segments
ROWS = (
    Lab("00", "start", "start here", "What does the base know, and what can it do? What does fine-tuning draw out of it?",
        30, "FRI-2.1", ("base", "few_shots", "fine_tuning", "limits"), slug="start_here"),
    Lab("01", "data", "data", "What is my data worth?",
        60, "FRI-2.1", ("pairs", "quality", "duplicates", "threshold", "splits")),
    Lab("02", "tokenization", "tokenization", "What does my model see?",
        60, "FRI-2.1", ("vectors", "training", "encoding", "cost", "padding", "mismatch")),
    Lab("03", "cross_entropy", "cross-entropy", "What does the loss want from my model?",
        60, "FRI-2.2", ("surprise", "logits", "gradient", "sequence", "accumulation")),
    Lab("04", "masking", "masking", "What does a bad mask cost?",
        60, "FRI-2.2", ("labels", "share", "partial", "failures", "teacher_forcing")),
    Lab("05", "hyperparameters", "hyperparameters", "Which rate, and what does my curve say?",
        60, "FRI-2.3", ("rate", "schedule", "batch", "curves", "seeds")),
    Lab("06", "lora", "LoRA", "How little must change?",
        60, "FRI-2.4", ("update", "rank", "targets", "merging", "forgetting")),
    Lab("07", "qlora", "QLoRA", "What do four bits save, and what do they cost?",
        60, "FRI-2.4", ("nf4", "memory", "choice", "adapters")),
    Lab("08", "capstone", "capstone", "Defend a number.",
        None, "FRI-2.3", ("plan", "report")),
)  # fmt: skip

LABS: dict[str, Lab] = {lab.topic: lab for lab in ROWS}


class Table(list):
    """Rows of (lab, its question, minutes), the headings first; a table in a notebook, in text, in Markdown."""

    def __repr__(self) -> str:
        return text_table(self)

    def _repr_html_(self) -> str:
        return html_table(self[0], self[1:])

    def markdown(self) -> str:
        head, *rows = (f"| {' | '.join(row)} |" for row in self)
        return "\n".join([head, "|" + "---|" * len(self[0]), *rows])


def table(built: Collection[str] | None = None) -> Table:
    """All labs; those that are not built yet are marked. `built`: the stems of the notebooks that exist; None marks
    none.
    """
    rows = [("lab", "what it asks", "minutes")]
    for lab in ROWS:
        mark = "" if built is None or lab.file in built else " (to come)"
        rows.append((f"{lab.number} {lab.title}{mark}", lab.question, str(lab.minutes or "open")))
    return Table(rows)
