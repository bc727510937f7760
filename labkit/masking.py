"""From a conversation to token ids and labels: which positions carry loss, how rows become a batch, and what ruins a
batch.

A label is the token id itself where loss is taken and -100 where it is not, unshifted: the model shifts. `render` and
`to_batch` refuse rows that would silently train on the wrong tokens; `as_trl` gives the rows that TRL would make.
Nothing here trains; the report on a whole file is in `lint`.
"""

from __future__ import annotations

import contextlib
import json
import random
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from labkit.common import InputError
from labkit.data import Example, check_roles, plain_message

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

IGNORED = -100  # the label that torch's cross-entropy leaves out


@dataclass(frozen=True)
class Rendered:
    """One conversation as a row: ids and labels are equally long; the first `prompt_length` labels are -100."""

    input_ids: list[int]
    labels: list[int]
    prompt_length: int
    truncated: bool = False  # whether something was cut off to fit
    name: str = field(default="", compare=False)  # whose row it is, for messages


def completion_labels(prompt_ids: list[int], completion_ids: list[int]) -> list[int]:
    """Labels for prompt and completion: no loss on the prompt, all of the completion (its end token is part of it)."""
    return [-100] * len(prompt_ids) + list(completion_ids)


def partial_labels(segments: list[tuple[str, list[int]]], train_on: set[str]) -> list[int]:
    """Labels for a row made of (role, ids) segments: the roles in `train_on` carry loss, the others none.

    No library has a flag for this; every trainer takes the labels.
    """
    labels = []
    for role, ids in segments:
        labels += list(ids) if role in train_on else [-100] * len(ids)
    return labels


# Where a turn ends


def end_ids(tokenizer: PreTrainedTokenizerBase, generation_config: object = None) -> tuple[int, ...]:
    """The tokens at which a turn ends: the tokenizer's end token, then those of the model's `generation_config`.

    Generation stops at any of them, as in transformers and in servers, so a row teaches the model to stop where it has
    one. A token that a template writes at a turn's end but at which nothing stops, such as `<|im_end|>` with a base's
    tokenizer, is not an end.
    """
    more = getattr(generation_config, "eos_token_id", None)
    found = [tokenizer.eos_token_id, *(more if isinstance(more, (list, tuple)) else [more])]
    return tuple(dict.fromkeys(id for id in found if id is not None))


def turn_end(ids: Sequence[int], ends: Collection[int], start: int = 0) -> int | None:
    """The place of the token that ends the turn begun at `start`: the first of `ends`; None if there is none.

    Whatever follows it, such as the line break of ChatML, comes from the template and is never written by a model.
    """
    return next((place for place in range(start, len(ids)) if ids[place] in ends), None)


def closing_token(row: Rendered, tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The last of the tokenizer's special tokens in a row's completion, whether or not generation stops at it."""
    special = {id for id, token in tokenizer.added_tokens_decoder.items() if token.special} | {
        *tokenizer.all_special_ids
    }
    return next((id for id in reversed(row.input_ids[row.prompt_length :]) if id in special), None)


def prompt_ids(example: Example | Sequence[Mapping], tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The ids that a model gets before it answers: the conversation up to and including the assistant's role token."""
    return _encode(tokenizer, _prompt_text(tokenizer, _messages(example)[0], getattr(example, "tools", ())))


def render(
    example: Example | Sequence[Mapping], tokenizer: PreTrainedTokenizerBase, max_length: int | None = None
) -> Rendered:
    """Turn an example, or messages that end with the assistant's, into a row whose completion and end token carry
    loss.

    Prompt and completion are tokenized separately, so that no token straddles them and generation sees the same prompt
    ids. A row over `max_length` loses the start of its prompt, never its completion. Raises `InputError`, which names
    the example, if the completion alone does not fit, or if no token would carry loss.
    """
    before, all_messages = _messages(example)
    name = f'example "{example.id}"' if isinstance(example, Example) else "the conversation"
    tools = getattr(example, "tools", ())
    start = _prompt_text(tokenizer, before, tools)
    text = _template(tokenizer, all_messages, False, tools)
    if not text.startswith(start):
        raise InputError(f"{name}: the chat template rewrites the prompt once it is answered; use another template")
    prompt, completion = _encode(tokenizer, start), _encode(tokenizer, text[len(start) :])
    if not completion:
        raise InputError(f"{name}: no token carries loss; the chat template writes nothing for the assistant")
    if max_length is not None and len(completion) >= max_length:
        raise InputError(
            f"{name}: the completion has {len(completion)} tokens and must leave room for a prompt in {max_length}; "
            "shorten the completion, or remove the example"
        )
    excess = 0 if max_length is None else max(len(prompt) + len(completion) - max_length, 0)
    prompt = prompt[excess:]
    labels = completion_labels(prompt, completion)
    return Rendered(prompt + completion, labels, len(prompt), truncated=excess > 0, name=name)


def segments(example: Example, tokenizer: PreTrainedTokenizerBase) -> list[tuple[str, list[int]]]:
    """An example's row as (role, ids) segments: system, shot question, shot answer, question, answer.

    The text is tokenized as a whole, and each token goes to the part that it begins in; an empty line between shots
    belongs to the question after it, the end token to its answer. Needs a fast tokenizer, because of its offsets.
    """
    before, all_messages = _messages(example)
    start = _prompt_text(tokenizer, before)
    text = _template(tokenizer, all_messages, False)
    place = start.rindex(example.prompt)
    borders = [(0, "system"), (place, "question")]
    for question, answer in example.shots:
        borders[-1] = (borders[-1][0], "shot question")
        place += len(question) + 1
        borders.append((place, "shot answer"))
        place += len(answer)
        borders.append((place, "question"))  # from the empty line on
        place += 2
    borders.append((len(start), "answer"))
    made: list[tuple[str, list[int]]] = []
    written = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    for id, (first, last) in zip(written["input_ids"], written["offset_mapping"]):
        role = next(role for border, role in reversed(borders) if border <= max(first, min(first + 1, last - 1)))
        if not made or made[-1][0] != role:
            made.append((role, []))
        made[-1][1].append(id)
    return made


def as_trl(
    record: Mapping,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int | None = None,
    assistant_only: bool = False,
    text: str = "text",
) -> Rendered:
    """The row that TRL 1.16 makes of a record in one of its forms, with `completion_only_loss` left as it is.

    `prompt` and `completion`, as strings or messages, are tokenized together, and loss begins at the first token where
    that differs from the prompt alone: so it may begin within the prompt. `messages` and `text` carry loss everywhere;
    only messages can use `assistant_only`, which needs a template with generation marks, and removes the loss from
    whatever the assistant did not write. What is longer than `max_length` is cut on the right, completion and all (TRL
    then drops rows without a label, and says nothing). Raises `InputError` for a record in none of these forms.
    """
    keys = {"prompt", "completion"} if "prompt" in record else {"messages"} if "messages" in record else {text}
    if missing := sorted(keys - record.keys()):
        raise InputError(f'the record has no "{missing[0]}"; give "prompt" and "completion", "messages" or "{text}"')
    if assistant_only and (text in keys or isinstance(record.get("prompt"), str)):
        raise InputError("plain text has no assistant, so assistant_only has no effect on it; give messages")
    tools = record.get("tools") or ()
    if "prompt" in record and isinstance(record["prompt"], str):
        whole = record["prompt"] + _ended(record["completion"], tokenizer)
        start, ids = (tokenizer(part, verbose=False)["input_ids"] for part in (record["prompt"], whole))
    elif "prompt" in record:
        start = _encode(tokenizer, _prompt_text(tokenizer, record["prompt"], tools))
        ids = _encode(tokenizer, _template(tokenizer, [*record["prompt"], *record["completion"]], False, tools))
    elif "messages" in record:
        ids, start = _encode(tokenizer, _template(tokenizer, record["messages"], False, tools)), []
    else:
        ids, start = tokenizer(_ended(record[text], tokenizer), verbose=False)["input_ids"], []
    length = next((place for place, (a, b) in enumerate(zip(start, ids)) if a != b), min(len(start), len(ids)))
    labels = completion_labels(ids[:length], ids[length:])
    if assistant_only:
        own = _assistant_mask(tokenizer, record)
        labels = [label if mine else IGNORED for label, mine in zip(labels, own, strict=True)]
    return Rendered(ids[:max_length], labels[:max_length], length, max_length is not None and len(ids) > max_length)


def chat_text(example: Example, tokenizer: PreTrainedTokenizerBase) -> str:
    """The whole conversation as the chat template writes it."""
    return _template(tokenizer, example.messages(), False, example.tools)


def left_out(messages: Sequence[Mapping], text: str) -> tuple[list[str], list[str]]:
    """(what is in the messages but not in the template's text, what lost white space at its ends).

    Named with the message's number: "the system message", "the thinking in message 4", "a tool call in message 2".
    White space inside is not compared, so a template may put thinking on lines of its own.
    """
    flat, lost, trimmed = _flat(text), [], []
    wanted: Counter[str] = Counter()
    for number, message in enumerate(messages, start=1):
        role = message["role"]
        name = "the system message" if role in ("system", "developer") else f"the {role}'s text in message {number}"
        content = message.get("content") or ""
        *thoughts, said = re.split(r"</?think>", content)
        thoughts += [message[key] for key in ("reasoning_content", "reasoning", "thinking") if message.get(key)]
        thinking = f"the thinking in message {number}"
        pieces = [(thinking, str(thought)) for thought in thoughts] + [(name, said)]
        for call in message.get("tool_calls") or []:
            pieces += [(f"a tool call in message {number}", leaf) for leaf in _leaves(call)]
        for whose, piece in pieces:
            piece = _flat(piece)
            wanted[piece] += 1  # a text that is in two messages has to be there twice
            forms = {piece, json.dumps(piece)[1:-1], json.dumps(piece, ensure_ascii=False)[1:-1]}
            if piece and max(map(flat.count, forms)) < wanted[piece] and whose not in lost:
                lost.append(whose)
        if name not in lost and content.strip() and content not in text and content != content.strip():
            trimmed += [name] if content.strip() in text else []
    return lost, trimmed


def _flat(text: str) -> str:
    return " ".join(text.split())


def _leaves(call: object) -> list[str]:
    """The name and the arguments' values of a tool call, as texts."""
    function = call.get("function", call) if isinstance(call, Mapping) else {}
    arguments, name = function.get("arguments"), function.get("name")
    with contextlib.suppress(ValueError):  # in many files they are the JSON of an object
        arguments = json.loads(arguments) if isinstance(arguments, str) else arguments
    found, open_ends = [name] if isinstance(name, str) else [], [arguments]
    while open_ends:
        value = open_ends.pop()
        if isinstance(value, (Mapping, list)):
            open_ends += value.values() if isinstance(value, Mapping) else value
        elif isinstance(value, str):
            found.append(value)
    return found


def prompt_share(batch_labels: list[list[int]], lengths: list[int]) -> float:
    """The share of a batch's real tokens that carry no loss; padding does not count, neither in the numerator nor in
    the denominator.

    `lengths` says how many of each row's tokens are real: the first ones. Raises ValueError if there are none.
    """
    real = sum(lengths)
    if not real:
        raise ValueError("there is no real token to take a share of")
    masked = sum(label == -100 for labels, length in zip(batch_labels, lengths) for label in labels[:length])
    return masked / real


def sampled_labels(
    prompt_ids: Sequence[int], completion_ids: Sequence[int], weight: float, draw: random.Random
) -> list[int]:
    """Labels that take loss on the completion, and on each of the prompt's tokens with the chance `weight`.

    On average the gradient is that of weighting the prompt's tokens by `weight`, and it works with every trainer.
    """
    kept = [id if draw.random() < weight else IGNORED for id in prompt_ids]
    return kept + list(completion_ids)


FAULTS = {  # what can be planted in a row; each happens in practice
    "all_masked": "no label at all: the marker that the mask looks for is not in the text",
    "prompt_trained": "nothing is masked: the whole prompt carries loss, as the completion does",
    "template": "the mask ends at another data set's marker, `Answer:`, and hides everything before it",
    "truncated": "the row is cut on the right to 48 tokens, completion and all",
    "late": "the mask is one token too long: the completion's first token carries no loss",
    "shifted": "the labels are one place too late: the library's shift then asks for the token just read",
    "shifted_early": "the labels were shifted by hand: the library's shift then asks for the token after next",
    "no_end_token": "the end token carries no loss: it doubles as padding, and padding was masked by value",
}
CUT = 48  # tokens; half of the short mix's rows are longer


def plant(fault: str | None, row: Rendered, tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """(ids, labels) of a sound row with one of `FAULTS` in it, or none, for trying out what it costs and what catches it.

    Raises `InputError` for an unknown fault.
    """
    ids, labels, start = list(row.input_ids), list(row.labels), row.prompt_length
    if fault is None:
        return ids, labels
    if fault not in FAULTS:
        raise InputError(f"there is no fault {fault!r}; choose one of {', '.join(FAULTS)}")
    if fault == "truncated":
        return ids[:CUT], labels[:CUT]
    if fault == "shifted":
        return ids, [IGNORED, *labels[:-1]]
    if fault == "shifted_early":
        return ids, [*labels[1:], IGNORED]
    if fault == "prompt_trained":
        return ids, list(ids)
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


def collate(rows: list, pad: int) -> dict[str, torch.Tensor]:
    """Rows to a batch: `input_ids`, `attention_mask`, `labels`, each int64 of shape (rows, longest row), padded on
    the right.

    The mask goes by position, not by value: a real token that equals `pad` counts. Labels are padded with -100.
    """
    import torch

    if not rows:
        raise ValueError("there are no rows to make a batch of")
    rows = [row if hasattr(row, "keys") else vars(row) for row in rows]
    longest = max(len(row["input_ids"]) for row in rows)

    def padded(lists: list, value: int) -> torch.Tensor:
        return torch.tensor([list(ids) + [value] * (longest - len(ids)) for ids in lists], dtype=torch.int64)

    return {
        "input_ids": padded([row["input_ids"] for row in rows], pad),
        "attention_mask": padded([[1] * len(row["input_ids"]) for row in rows], 0),
        "labels": padded([row["labels"] for row in rows], -100),
    }


def check_batch(batch: dict[str, torch.Tensor], prompt_lengths: list[int], end_id: int) -> str:
    """The first of these faults that some row of the batch has, else "ok".

    `truncated`: its last real token is not the end token. `all_masked`: none of its tokens carries loss. `shifted`:
    each label that counts is the token before its place, and not all are those at it; `shifted_early`: the token after.
    `prompt_trained`: every token of its prompt carries loss. `template`: at least the first two tokens of its
    completion carry none. `late`: the first carries none. `no_end_token`: the last carries none. The attention mask
    says which tokens are real; a completion begins after `prompt_lengths` of them.
    """
    found = set()
    rows = zip(batch["input_ids"].tolist(), batch["attention_mask"].tolist(), batch["labels"].tolist(), prompt_lengths)
    for ids, mask, labels, start in rows:
        length = sum(mask)
        ids, labels = ids[:length], labels[:length]
        counted = [label != -100 for label in labels]
        moved = {
            by: all(label in (-100, token) for label, token in zip(labels, around))
            for by, around in ((0, ids), (-1, [None, *ids]), (1, [*ids[1:], None]))
        }
        if ids[-1] != end_id:
            found.add("truncated")
        elif not any(counted):
            found.add("all_masked")
        elif moved[-1] and not moved[0]:
            found.add("shifted")
        elif moved[1] and not moved[0]:
            found.add("shifted_early")
        elif all(counted[:start]) and start:
            found.add("prompt_trained")
        elif not any(counted[start : start + 2]):
            found.add("template")
        elif not counted[start]:
            found.add("late")
        elif not counted[-1]:
            found.add("no_end_token")
    order = "truncated all_masked shifted shifted_early prompt_trained template late no_end_token"
    return next((fault for fault in order.split() if fault in found), "ok")


SAID = {
    "truncated": "the row ends without the end token, cut off; allow more tokens, or shorten the prompt",
    "all_masked": "no token carries loss; check that the template writes what the mask looks for",
    "shifted": "the labels are one place too late; leave them unshifted, because the model shifts them",
    "shifted_early": "the labels are shifted already, and the model shifts them once more; leave them unshifted",
    "prompt_trained": "the whole prompt carries loss; set its labels to -100, or allow it if that is meant",
    "template": "the mask hides the beginning of the completion; check that it ends at the template's own marker",
    "late": "the completion's first token carries no loss; begin the labels one place earlier",
    "no_end_token": "the end token carries no loss, so the model never learns to stop; mask padding by position",
}


def to_batch(
    rows: Sequence[Rendered], pad: int, end: int | Collection[int], allow: Collection[str] = ()
) -> dict[str, torch.Tensor]:
    """`collate`, after `check_batch` has passed each row up to the end of its turn; `end` is one token or `end_ids`.

    Raises `InputError`, which names the fault and the rows that have it, unless the fault is one of `allow`. A batch
    in which no token carries loss is never allowed, nor is a row without tokens, or with more or fewer labels.
    """
    names = [row.name or f"row {number}" for number, row in enumerate(rows)]
    for name, row in zip(names, rows):
        if not row.input_ids or len(row.input_ids) != len(row.labels):
            raise InputError(
                f"{name}: {len(row.input_ids)} tokens and {len(row.labels)} labels; a row has at least one token, and "
                "a label for each"
            )
    batch = collate(list(rows), pad)
    ends = {end} if isinstance(end, int) else set(end)
    found: dict[str, list[str]] = {}
    for name, row in zip(names, rows):
        found.setdefault(_fault(row, pad, ends), []).append(name)
    if not (batch["labels"] != IGNORED).any():
        raise InputError(f"{_listed(names)}: no token of the batch carries loss; its gradient is zero or NaN")
    for fault, whose in found.items():
        if fault in SAID and fault not in allow:
            raise InputError(f"{_listed(whose)}: {fault}: {SAID[fault]}")
    return batch


def _fault(row: Rendered, pad: int, ends: Collection[int]) -> str:
    """What `check_batch` says about a row; only the part up to its end token is checked."""
    place = turn_end(row.input_ids, ends, row.prompt_length)
    upto = len(row.input_ids) if place is None else place + 1
    batch = collate([{"input_ids": row.input_ids[:upto], "labels": row.labels[:upto]}], pad)
    return check_batch(batch, [row.prompt_length], -1 if place is None else row.input_ids[place])


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _ended(text: str, tokenizer: PreTrainedTokenizerBase) -> str:
    if not tokenizer.eos_token:
        raise InputError("the tokenizer has no end token, so nothing can teach the model to stop; set its eos_token")
    return text if text.endswith(tokenizer.eos_token) else text + tokenizer.eos_token


def _assistant_mask(tokenizer: PreTrainedTokenizerBase, record: Mapping) -> list[int]:
    messages = record.get("messages") or [*record["prompt"], *record["completion"]]
    tools = record.get("tools") or ()
    written = _apply(tokenizer, messages, tools, tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
    if 1 not in written["assistant_masks"]:
        raise InputError(
            "the chat template marks no assistant part; put {% generation %} and {% endgeneration %} around it"
        )
    return written["assistant_masks"]


def _messages(example: Example | Sequence[Mapping]) -> tuple[list[dict], list[dict]]:
    """(messages before the completion, all messages)."""
    if isinstance(example, Example):
        return example.messages(completion=False), example.messages()
    messages = [dict(message) if isinstance(message, Mapping) else {} for message in example]
    check_roles(messages)
    for number, message in enumerate(messages, start=1):
        try:
            messages[number - 1] = plain_message(message)
        except InputError as error:
            raise InputError(f"message {number}: {error}; or remove the conversation") from None
    return messages[:-1], messages


def _prompt_text(tokenizer: PreTrainedTokenizerBase, messages: list[dict], tools: Sequence[dict] = ()) -> str:
    return _template(tokenizer, messages, True, tools)


def _template(
    tokenizer: PreTrainedTokenizerBase, messages: list[dict], add_generation_prompt: bool, tools: Sequence[dict] = ()
) -> str:
    return _apply(tokenizer, messages, tools, tokenize=False, add_generation_prompt=add_generation_prompt)


def _apply(tokenizer: PreTrainedTokenizerBase, messages: list[dict], tools: Sequence[dict] = (), **how: Any) -> Any:
    """`apply_chat_template`; raises `InputError` for what the template refuses or cannot do."""
    from jinja2 import TemplateError

    if not tokenizer.chat_template:
        raise InputError(
            "the tokenizer has no chat template; use an instruction-tuned model's, or set tokenizer.chat_template"
        )
    if isinstance(tokenizer.chat_template, dict) and "default" not in tokenizer.chat_template:
        names = ", ".join(tokenizer.chat_template)
        raise InputError(
            f"the tokenizer has chat templates by name ({names}) and no default; set tokenizer.chat_template to the text "
            "of one, and save it"
        )
    try:
        return tokenizer.apply_chat_template(messages, tools=list(tools) or None, **how)
    except (
        TemplateError,
        TypeError,
        ValueError,
        KeyError,
        AttributeError,
    ) as error:  # jinja passes on what Python raises
        why = " ".join(str(error).split())
        raise InputError(f"the chat template does not accept the conversation: {why}; change one of the two") from None


def _encode(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False, verbose=False)[
        "input_ids"
    ]  # what is too long is reported elsewhere
