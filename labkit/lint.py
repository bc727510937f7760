"""`labkit lint`: what in a file of examples a trainer would mask, cut or never teach, before you spend a run on it.

Each example is made into TRL's row for it (`masking.as_trl`), and checked for the faults that a file can have. Nothing
is changed; `masking.check_batch` finds the faults that only a batch can have.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from labkit.common import InputError
from labkit.data import Example, checked_rows, example_of, form_of
from labkit.masking import (
    IGNORED,
    Rendered,
    as_trl,
    chat_text,
    closing_token,
    end_ids,
    left_out,
    prompt_ids,
    prompt_share,
    turn_end,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FINDINGS = {
    "all_masked": "no token is left that carries loss; such rows teach nothing, or are silently dropped",
    "truncated": "longer than the limit: cut on the right, so the end of the completion and the end token are lost",
    "template": "the text contains role markers, of this template or another; remove them, because the template writes them",
    "seam": "a token straddles prompt and completion, so training sees a different prompt from generation",
    "no_end_token": "has no end token that carries loss, so the model never learns to stop",
    "left_out": "the row lacks part of what the file says, so that part is never taught",
    "doubled": "begins or ends with the same special token twice: it is in the text, or the trainer adds it, and the "
    "tokenizer adds it too",
    "conflict": "asks what another example asks but answers differently; decide which is right, or keep both if both are",
}
MARKERS = (  # what other templates write around a turn
    "<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|eot_id|>", "<start_of_turn>", "<end_of_turn>", "[INST]",
    "[/INST]", "<<SYS>>", "### Instruction:", "### Response:", "<|endoftext|>",
)  # fmt: skip
FLAGS = ("weight", "train", "training", "train_detail")  # of OpenAI's files and axolotl's
THINKING = {"<think>", "</think>"}  # special tokens that a text may contain

TRL_LENGTH = 1024  # tokens; SFTConfig.max_length, where it is left as it is
SHOWN = 20  # bad lines


@dataclass
class Report:
    """What `lint` found: counts, shares from 0 to 1, and for each finding the names of the examples that have it."""

    examples: int
    max_length: int
    prompt_share: float  # of all tokens
    mean_prompt_share: float  # of a row's tokens, averaged over the rows
    longest: int  # tokens
    findings: dict[str, list[str]]
    bad_lines: dict[int, str] = field(default_factory=dict)  # what cannot be read as an example, and why
    pad_is_end: bool = False
    where: str = ""  # "FILE, ", where a file was read
    limits: dict[str, int | None] = field(default_factory=dict)  # whose limit, in tokens; None for none
    details: dict[str, str] = field(default_factory=dict)  # more about a finding
    notes: list[str] = field(default_factory=list)  # worth knowing, but not a fault

    @property
    def clean(self) -> bool:
        return not self.bad_lines and not any(self.findings.values())

    @property
    def limit_of(self) -> str:
        """Whose limit is the smallest."""
        return min((value, place, name) for place, (name, value) in enumerate(self.limits.items()) if value)[2]

    def __str__(self) -> str:
        others = [f"{name}: {value or 'none'}" for name, value in self.limits.items() if name != self.limit_of]
        lines = [
            f"{self.examples} examples, the longest {self.longest} tokens; rows are cut at {self.max_length} tokens, "
            f"{self.limit_of} ({'; '.join(others)})",
            f"{self.prompt_share:.1%} of the tokens are prompt (a row's share, averaged: {self.mean_prompt_share:.1%})",
        ]
        for name, whose in self.findings.items():
            if whose:
                more = self.details.get(name, "")
                lines.append(f"{name}: {len(whose)} ({_some(whose)}): {FINDINGS[name]}{more and ': '}{more}")
        if self.bad_lines:
            lines.append(f"bad lines: {len(self.bad_lines)}")
            told = [f"  {self.where}line {line}: {why}" for line, why in self.bad_lines.items()]
            lines += told[:SHOWN] + ["  …"] * (len(told) > SHOWN)
        lines += [f"note: {note}" for note in self.notes]
        return "\n".join([*lines, "nothing found" if self.clean else "something to fix"])

    def as_dict(self) -> dict:
        """Plain data for JSON: counts under the findings' names, and the first five examples of each."""
        bad = [f"line {line}: {why}" for line, why in self.bad_lines.items()]
        found = self.findings | {"bad_lines": bad}
        return {
            "examples": self.examples,
            "max_length": self.max_length,
            "limit_of": self.limit_of,
            "limits": self.limits,
            "prompt_share": self.prompt_share,
            "mean_prompt_share": self.mean_prompt_share,
            "longest": self.longest,
            **{name: len(whose) for name, whose in self.findings.items()},
            "bad_lines": len(self.bad_lines),
            "pad_is_end": self.pad_is_end,
            "details": self.details,
            "notes": self.notes,
            "such_as": {name: whose[:5] for name, whose in found.items() if whose},
            "clean": self.clean,
        }


@dataclass(frozen=True)
class _Item:
    """An example, or a plain text, with the form it has in its file."""

    name: str
    form: str  # data.form_of; "examples" where no file was read
    example: Example | None = None
    text: str = ""

    @property
    def texts(self) -> list[str]:
        """What people wrote in it; a text that is a whole row may contain role markers."""
        return [message.get("content") or "" for message in self.example.messages()] if self.example else []


def lint(
    data: str | Path | Iterable[Example],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int | None = None,
    plain: bool = False,
    ends: Collection[int] | None = None,
    context: int | None = None,
) -> Report:
    """Look at a file, or at examples, as a trainer with this tokenizer would see them.

    With `plain`, prompt and completion are joined as they are, as TRL does with strings; otherwise the chat template is
    used, if the tokenizer has one. Rows are cut at the smallest of `max_length` (left out, TRL's default), the
    tokenizer's limit and the model's `context`, all in tokens. A turn ends at one of `ends` (`masking.end_ids`); left
    out, at the tokenizer's end token. Raises `InputError` if there is no usable example.
    """
    ends = end_ids(tokenizer) if ends is None else ends
    if max_length is not None and max_length < 1:
        raise InputError(f"max_length is {max_length} tokens: give at least 1")
    own = tokenizer.model_max_length
    limits: dict[str, int | None] = {
        "TRL's default" if max_length is None else "the length asked for": max_length or TRL_LENGTH,
        "the tokenizer's limit": own if own < 10**9 else None,  # one without a limit says 10 to the 30
        "the model's context": context,
    }
    max_length = min(limit for limit in limits.values() if limit)
    where = f"{data}, " if isinstance(data, (str, Path)) else ""
    bad_lines: dict[int, str] = {}
    findings: dict[str, list[str]] = {name: [] for name in FINDINGS}
    markers = {*MARKERS, *tokenizer.all_special_tokens} - THINKING
    rows, unended = [], None
    lost: Counter[str] = Counter()
    notes, asked = _Notes(), _Asked()
    for line, item in _file_items(data) if isinstance(data, (str, Path)) else _items(data):
        try:
            if isinstance(item, InputError):
                raise item
            row, start = _row(item, tokenizer, plain)
        except InputError as error:
            bad_lines[line] = str(error)
            continue
        rows.append(row)
        end = turn_end(row.input_ids, ends, row.prompt_length)
        unended = unended or (row if end is None else None)
        missing = notes.of(item, tokenizer, plain)
        lost.update(missing)
        has = {
            "all_masked": all(label == IGNORED for label in row.labels[:max_length]),
            "truncated": len(row.input_ids) > max_length,
            "template": any(marker in text for marker in markers for text in item.texts),
            "seam": row.prompt_length < len(start),
            "no_end_token": end is None or row.labels[end] == IGNORED,
            "left_out": bool(missing),
            "doubled": _doubled(row.input_ids, tokenizer),
            "conflict": asked.otherwise(item),
        }
        for name in FINDINGS:
            if has[name]:
                findings[name].append(item.name)
    if not rows:
        said = [f"{where}line {line}: {why}" for line, why in bad_lines.items()]
        raise InputError(f"{where}there is no usable example" if not said else f"no usable example; {said[0]}")
    lengths = [len(row.input_ids) for row in rows]
    shares = [prompt_share([row.labels], [length]) for row, length in zip(rows, lengths)]
    details = {"left_out": ", ".join(f"{name} ({count})" for name, count in lost.most_common())}
    details |= {"no_end_token": _ends(unended, tokenizer, ends) if unended else ""}
    pad_is_end = tokenizer.pad_token_id in (None, tokenizer.eos_token_id)
    return Report(
        examples=len(rows),
        max_length=max_length,
        prompt_share=prompt_share([row.labels for row in rows], lengths),
        mean_prompt_share=sum(shares) / len(shares),
        longest=max(lengths),
        findings=findings,
        bad_lines=bad_lines,
        where=where,
        pad_is_end=pad_is_end,
        limits=limits,
        details={name: detail for name, detail in details.items() if detail},
        notes=notes.told(tokenizer, plain) + asked.told() + [PAD_IS_END] * pad_is_end,
    )


def _items(examples: Iterable[Example]) -> Iterator[tuple[int, _Item | InputError]]:
    for number, example in enumerate(examples, start=1):
        yield number, _Item(example.id, "examples", example)


def _file_items(path: str | Path) -> Iterator[tuple[int, _Item | InputError]]:
    """(line, what it holds or what is wrong with it)."""
    for line, row in checked_rows(path):
        if isinstance(row, InputError):
            yield line, row
        elif form_of(row) == "text" and isinstance(row.get("text"), str) and row["text"].strip():
            yield line, _Item(f"line {line}", "text", text=row["text"])
        else:
            try:
                example = example_of(row, f"line {line}")
                yield line, _Item(example.id, form_of(row), example)
            except InputError as error:
                yield line, error


def _row(item: _Item, tokenizer: PreTrainedTokenizerBase, plain: bool) -> tuple[Rendered, list[int]]:
    """(the row that TRL makes of the item with its last message as the completion, the ids of its prompt alone)."""
    if item.example is None:
        row, start = as_trl({"text": item.text}, tokenizer), []
    elif plain or (not tokenizer.chat_template and item.form not in ("messages", "conversations")):
        example = item.example
        row = as_trl({"prompt": example.prompt, "completion": example.completion}, tokenizer)
        start = tokenizer(example.prompt, verbose=False)["input_ids"]
    else:
        messages = item.example.messages()
        record = {"prompt": messages[:-1], "completion": messages[-1:], "tools": item.example.tools}
        row, start = as_trl(record, tokenizer), prompt_ids(item.example, tokenizer)
    if not row.input_ids:
        raise InputError("no token is left of it; fix the chat template")
    return row, start


PAD_IS_END = "padding and end share a token; mask padding by position, or the end is never trained"


class _Notes:
    """What is counted over the examples but is not a fault: where the loss is, and what a template changes by design."""

    def __init__(self) -> None:
        self.forms: Counter[str] = Counter()
        self.earlier, self.trimmed, self.thoughts = 0, 0, 0
        self.flags: Counter[str] = Counter()

    def of(self, item: _Item, tokenizer: PreTrainedTokenizerBase, plain: bool) -> list[str]:
        """Take an item in, and return what of it the chat template leaves out, each named without its number."""
        self.forms[item.form] += 1
        if item.example is None:
            return []
        messages = item.example.messages()
        self.flags.update({key for message in messages for key in FLAGS if key in message})
        if plain or not tokenizer.chat_template:  # prompt and completion are joined, nothing else
            lost = ["the system message"] * bool(item.example.system)
            return lost + ["earlier turns and tool calls"] * (len(messages) > 2 + len(lost))
        self.earlier += sum(message["role"] == "assistant" for message in messages[:-1])
        lost, trimmed = left_out(messages, chat_text(item.example, tokenizer))
        self.trimmed += bool(trimmed)
        designed = [name for name in lost if "thinking" in name and not name.endswith(f" {len(messages)}")]
        self.thoughts += bool(designed)  # of earlier turns: in use the model does not see it either
        return list(dict.fromkeys(name.partition(" in message")[0] for name in lost if name not in designed))

    def told(self, tokenizer: PreTrainedTokenizerBase, plain: bool) -> list[str]:
        lines = []
        if talks := self.forms["messages"] + self.forms["conversations"]:
            marks = "{% generation %}" in str(tokenizer.chat_template)
            lines.append(
                f'loss: with TRL\'s defaults every token of the {talks} conversations under "messages" carries loss, '
                "questions and all; set assistant_only_loss=True ("
                + ("this chat template has" if marks else "for which the chat template needs")
                + ' {% generation %} marks), or write "prompt" and "completion". The figures above are those of the '
                "last answer as the completion, as this kit trains"
            )
        if self.forms["text"]:
            lines.append(f'loss: every token of the {self.forms["text"]} rows under "text" carries loss, with TRL too')
        if self.forms["prompt"] + self.forms["instruction"] + self.forms["examples"]:
            lines.append("loss: on the completion only, as TRL does by default (completion_only_loss)")
        if self.earlier:
            lines.append(
                f"{self.earlier} earlier assistant turns are context only and carry no loss; to train on them, give each "
                "a row that ends with it, or set assistant_only_loss=True in TRL"
            )
        for key, count in self.flags.items():
            lines.append(
                f'"{key}" on messages ({count} examples) says elsewhere what carries loss, and is read neither by TRL nor '
                "here; give each answer to learn a row that ends with it"
            )
        if self.thoughts:
            lines.append(f"the chat template removes the thinking from earlier turns ({self.thoughts} examples)")
        if self.trimmed:
            lines.append(f"the chat template trims white space around texts ({self.trimmed} examples)")
        return lines


class _Asked:
    """What has been asked so far, and how it was answered."""

    def __init__(self) -> None:
        self.answers: dict[int, set[int]] = {}
        self.repeated = 0

    def otherwise(self, item: _Item) -> bool:
        """Whether the same was asked before and answered differently."""
        if item.example is None:
            return False
        *asked, answer = (json.dumps(message, sort_keys=True, default=str) for message in item.example.messages())
        answers = self.answers.setdefault(hash(tuple(asked)), set())
        new = hash(answer) not in answers
        answers.add(hash(answer))
        self.repeated += not new
        return new and len(answers) > 1

    def told(self) -> list[str]:
        more = "an earlier one, word for word; `labkit dedup` removes them"
        return [f"{self.repeated} examples repeat {more}"] if self.repeated else []


def _doubled(ids: list[int], tokenizer: PreTrainedTokenizerBase) -> bool:
    begin, end = ids[:2], ids[-2:]
    return begin == [tokenizer.bos_token_id] * 2 or (len(ids) > 2 and end == [tokenizer.eos_token_id] * 2)


def _ends(row: Rendered, tokenizer: PreTrainedTokenizerBase, ends: Collection[int]) -> str:
    """What to do about a row without an end token."""
    token = closing_token(row, tokenizer)
    stops = ", ".join(map(repr, tokenizer.convert_ids_to_tokens(list(ends)))) or "nothing, there is no end token"
    if token is None:
        return f"generation stops at {stops}; fix the chat template"
    name = tokenizer.convert_ids_to_tokens(token)
    return f"the template ends a turn with {name!r}, but generation stops at {stops}; train with eos_token={name!r}"


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (" …" if len(names) > 3 else "")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "FILE holds JSON lines (compressed or not), a JSON array, CSV or parquet; each row one of prompt and completion,\n"
        "messages, ShareGPT's conversations, Alpaca's instruction, input and output, or text.\n\n"
        "examples:\n  labkit lint mine.jsonl\n  labkit lint mine.jsonl --model NAME_OR_FOLDER --max-length 1024"
    )
    parser.add_argument("file", metavar="FILE", help="examples, one JSON object a line, or a table")
    parser.add_argument("--model", metavar="NAME_OR_FOLDER", help="whose tokenizer and template (the kit's own base)")
    parser.add_argument(
        "--max-length", type=int, metavar="TOKENS", help=f"where rows are cut (TRL's default: {TRL_LENGTH})"
    )
    parser.add_argument("--plain", action="store_true", help="join prompt and completion without a chat template")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")


def main(args: argparse.Namespace) -> int:
    from labkit import models

    model = models.conventions(args.model or models.BASE)
    report = lint(args.file, model.tokenizer, args.max_length, args.plain, model.ends, model.context)
    print(f"{args.file}: {report}")
    if args.json:
        print(json.dumps(report.as_dict()))
    return 0 if report.clean else 1
