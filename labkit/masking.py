"""From a conversation to token ids and labels: which positions carry loss, and how rows become a batch.

A label is the token id itself where loss is taken and -100 where none is, unshifted: the model shifts. Nothing here
trains.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from labkit.data import Example, InputError

if TYPE_CHECKING:
    import torch

IGNORED = -100  # the label that torch's cross-entropy leaves out


@dataclass(frozen=True)
class Rendered:
    """One conversation as a row: ids and labels are equally long; the first `prompt_length` labels are -100."""

    input_ids: list[int]
    labels: list[int]
    prompt_length: int
    truncated: bool = False  # the start of the prompt was cut off to fit


def completion_labels(prompt_ids: Sequence[int], completion_ids: Sequence[int]) -> list[int]:
    """Labels for prompt and completion: no loss on the prompt, all of the completion (its end token is part of it)."""
    return [IGNORED] * len(prompt_ids) + list(completion_ids)


def prompt_ids(example: Example | Sequence[Mapping], tokenizer) -> list[int]:
    """The ids a model is given before it answers: the conversation up to and with the assistant's role token."""
    return _encode(tokenizer, _prompt_text(tokenizer, _messages(example)[0]))


def render(example: Example | Sequence[Mapping], tokenizer, max_length: int | None = None) -> Rendered:
    """Turn an example, or messages that end with the assistant's, into a row whose completion and end token carry
    loss.

    Prompt and completion are tokenized apart, so that no token straddles the seam and generation sees the same prompt
    ids. A row over `max_length` loses the start of its prompt, never its completion. Raises `InputError`, which names
    the example, if the completion alone does not fit, or if no token would carry loss.
    """
    before, all_messages = _messages(example)
    name = f'example "{example.id}"' if isinstance(example, Example) else "the conversation"
    start = _prompt_text(tokenizer, before)
    text = _template(tokenizer, all_messages, add_generation_prompt=False)
    if not text.startswith(start):
        raise InputError(f"{name}: the chat template rewrites the prompt once it is answered; use another template")
    prompt, completion = _encode(tokenizer, start), _encode(tokenizer, text[len(start) :])
    if not completion:
        raise InputError(f"{name}: no token carries loss; the chat template writes nothing for the assistant")
    if max_length is not None and len(completion) >= max_length:
        raise InputError(
            f"{name}: the completion has {len(completion)} tokens and must leave room for a prompt in {max_length}; "
            "shorten the completion, or take the example out"
        )
    excess = 0 if max_length is None else max(len(prompt) + len(completion) - max_length, 0)
    prompt = prompt[excess:]
    return Rendered(prompt + completion, completion_labels(prompt, completion), len(prompt), truncated=excess > 0)


def sampled_labels(
    prompt_ids: Sequence[int], completion_ids: Sequence[int], weight: float, draw: random.Random
) -> list[int]:
    """Labels that take loss on the completion, and on each of the prompt's tokens with the chance `weight`.

    On average the gradient is that of weighting the prompt's tokens by `weight`, and every trainer takes it.
    """
    kept = [id if draw.random() < weight else IGNORED for id in prompt_ids]
    return kept + list(completion_ids)


FAULTS = {  # what can be planted in a row, each a thing that people do
    "all_masked": "no label at all: the marker that the mask looks for is not in the text",
    "template": "the mask ends at another data set's marker, `Answer:`, and hides all that stands before it",
    "truncated": "the row is cut on the right to 48 tokens, completion and all",
    "late": "the mask is one token too long: the completion's first token carries no loss",
    "shifted": "the labels stand one place too late: the library's shift then asks for the token just read",
    "no_end_token": "the end token carries no loss: it doubles as padding, and padding was masked by value",
}
CUT = 48  # tokens; half of the short mix's rows are longer


def plant(fault: str, row: Rendered, tokenizer) -> tuple[list[int], list[int]]:
    """(ids, labels) of a sound row with one of `FAULTS` in it, for trying out what it costs and what catches it.

    Raises `InputError` for a fault that there is not.
    """
    ids, labels, start = list(row.input_ids), list(row.labels), row.prompt_length
    if fault not in FAULTS:
        raise InputError(f"there is no fault {fault!r}; choose one of {', '.join(FAULTS)}")
    if fault == "truncated":
        return ids[:CUT], labels[:CUT]
    if fault == "shifted":
        return ids, [IGNORED, *labels[:-1]]
    if fault == "all_masked":
        hidden = range(len(ids))
    elif fault == "template":
        marker = _encode(tokenizer, " Answer")
        places = (place for place in range(start, len(ids)) if ids[place : place + len(marker)] == marker)
        hidden = range(start, next(places, len(ids)))
    else:
        hidden = range(start, start + 1) if fault == "late" else range(len(ids) - 1, len(ids))
    for place in hidden:
        labels[place] = IGNORED
    return ids, labels


def collate(rows: Sequence[Mapping | Rendered], pad: int) -> dict[str, torch.Tensor]:
    """Rows to a batch: `input_ids`, `attention_mask`, `labels`, each int64 of shape (rows, longest row), padded on
    the right.

    The mask goes by position, not by value: a real token that equals `pad` counts. Labels are padded with -100.
    """
    import torch

    rows = [row if isinstance(row, Mapping) else vars(row) for row in rows]
    if not rows:
        raise ValueError("there are no rows to make a batch of")
    longest = max(len(row["input_ids"]) for row in rows)

    def padded(lists: list[Sequence[int]], value: int) -> torch.Tensor:
        return torch.tensor([list(ids) + [value] * (longest - len(ids)) for ids in lists], dtype=torch.int64)

    return {
        "input_ids": padded([row["input_ids"] for row in rows], pad),
        "attention_mask": padded([[1] * len(row["input_ids"]) for row in rows], 0),
        "labels": padded([row["labels"] for row in rows], IGNORED),
    }


def _messages(example: Example | Sequence[Mapping]) -> tuple[list[dict], list[dict]]:
    """(messages before the completion, all messages)."""
    if isinstance(example, Example):
        return example.messages(completion=False), example.messages()
    messages = [dict(message) for message in example]
    if not messages or messages[-1].get("role") != "assistant":
        raise InputError("the conversation does not end with the assistant's message; add the completion to learn")
    return messages[:-1], messages


def _prompt_text(tokenizer, messages: list[dict]) -> str:
    return _template(tokenizer, messages, add_generation_prompt=True)


def _template(tokenizer, messages: list[dict], add_generation_prompt: bool) -> str:
    if not tokenizer.chat_template:
        raise InputError(
            "the tokenizer has no chat template; take an instruction-tuned model's, or set tokenizer.chat_template"
        )
    return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=add_generation_prompt)


def _encode(tokenizer, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]  # what is too long is told elsewhere
