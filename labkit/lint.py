"""`labkit lint`: what in a file of examples a trainer would mask, cut or never teach, before a run is spent on it.

Each example is made into the row that TRL makes of it (`masking.as_trl`), and looked at for the failures that a text
file can hold. Nothing is changed; what a batch can hold beyond that is found by `masking.check_batch`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from labkit.common import InputError
from labkit.data import Example, checked_lines
from labkit.masking import IGNORED, Rendered, as_trl, closing_token, end_ids, prompt_ids, prompt_share, turn_end

FINDINGS = {
    "all_masked": "no token is left that carries loss; such rows teach nothing, or are dropped without a word",
    "truncated": "longer than the limit: cut on the right, the end of the completion and the end token go",
    "template": "the text holds role markers, of this template or another; take them out, the template writes them",
    "seam": "prompt and completion do not meet between two tokens; training then sees another prompt than writing",
    "no_end_token": "holds no end token that carries loss, so the model never learns to stop",
}
MARKERS = (  # what other templates write around a turn
    "<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|eot_id|>", "<start_of_turn>", "<end_of_turn>", "[INST]",
    "[/INST]", "<<SYS>>", "### Instruction:", "### Response:", "<|endoftext|>",
)  # fmt: skip

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
    ends: str = ""  # what a row ends with, and what writing stops at, where these differ
    where: str = ""  # "FILE, ", where a file was read

    @property
    def clean(self) -> bool:
        return not self.bad_lines and not any(self.findings.values())

    def __str__(self) -> str:
        lines = [
            f"{self.examples} examples, the longest {self.longest} tokens of {_limit(self.max_length)}",
            f"{self.prompt_share:.1%} of the tokens are prompt (a row's share, averaged: {self.mean_prompt_share:.1%})",
        ]
        for name, whose in self.findings.items():
            if whose:
                more = self.ends if name == "no_end_token" else ""
                lines.append(f"{name}: {len(whose)} ({_some(whose)}): {FINDINGS[name]}{more}")
        if self.bad_lines:
            lines.append(f"bad lines: {len(self.bad_lines)}")
            told = [f"  {self.where}line {line}: {why}" for line, why in self.bad_lines.items()]
            lines += told[:SHOWN] + ["  …"] * (len(told) > SHOWN)
        if self.pad_is_end:
            lines.append("note: padding and end share a token; mask padding by position, or the end is never trained")
        return "\n".join([*lines, "nothing found" if self.clean else "something to mend"])

    def as_dict(self) -> dict:
        """Plain data for JSON: counts under the findings' names, and the first five examples of each."""
        bad = [f"line {line}: {why}" for line, why in self.bad_lines.items()]
        found = self.findings | {"bad_lines": bad}
        return {
            "examples": self.examples,
            "max_length": self.max_length,
            "prompt_share": self.prompt_share,
            "mean_prompt_share": self.mean_prompt_share,
            "longest": self.longest,
            **{name: len(whose) for name, whose in self.findings.items()},
            "bad_lines": len(self.bad_lines),
            "pad_is_end": self.pad_is_end,
            "such_as": {name: whose[:5] for name, whose in found.items() if whose},
            "clean": self.clean,
        }


def lint(
    data: str | Path | Iterable[Example],
    tokenizer,
    max_length: int | None = None,
    plain: bool = False,
    ends: Collection[int] | None = None,
) -> Report:
    """Look at a file, or at examples, as a trainer with this tokenizer would see them.

    With `plain` prompt and completion are joined as they stand, as TRL does with strings; else, and wherever the
    tokenizer has one, through the chat template. `max_length` in tokens; left out, the tokenizer's own limit. A turn ends at
    one of `ends` (`masking.end_ids`); left out, at the tokenizer's end token. Raises `InputError` if there is no usable
    example.
    """
    ends = end_ids(tokenizer) if ends is None else ends
    plain = plain or not tokenizer.chat_template
    max_length = tokenizer.model_max_length if max_length is None else max_length
    if max_length < 1:
        raise InputError(f"the longest row is to have {max_length} tokens: give at least 1")
    from_file = isinstance(data, (str, Path))
    where = f"{data}, " if from_file else ""
    bad_lines: dict[int, str] = {}
    findings: dict[str, list[str]] = {name: [] for name in FINDINGS}
    markers = {*MARKERS, *tokenizer.all_special_tokens}
    rows = []
    for line, example in checked_lines(data) if from_file else enumerate(data, start=1):
        try:
            row, start = _row(example, tokenizer, plain)
        except InputError as error:
            bad_lines[line] = str(error)
            continue
        texts = [message["content"] for message in example.messages()]
        rows.append(row)
        end = turn_end(row.input_ids, ends, row.prompt_length)
        has = {
            "all_masked": all(label == IGNORED for label in row.labels[:max_length]),
            "truncated": len(row.input_ids) > max_length,
            "template": any(marker in text for marker in markers for text in texts),
            "seam": row.prompt_length < len(start),
            "no_end_token": end is None or row.labels[end] == IGNORED,
        }
        for name in FINDINGS:
            if has[name]:
                findings[name].append(example.id)
    if not rows:
        said = [f"{where}line {line}: {why}" for line, why in bad_lines.items()]
        raise InputError(f"{where}there is no usable example" if not said else f"no usable example; {said[0]}")
    unended = [row for row in rows if turn_end(row.input_ids, ends, row.prompt_length) is None]
    lengths = [len(row.input_ids) for row in rows]
    shares = [prompt_share([row.labels], [length]) for row, length in zip(rows, lengths)]
    return Report(
        examples=len(rows),
        max_length=max_length,
        prompt_share=prompt_share([row.labels for row in rows], lengths),
        mean_prompt_share=sum(shares) / len(shares),
        longest=max(lengths),
        findings=findings,
        bad_lines=bad_lines,
        where=where,
        ends=_ends(unended[0], tokenizer, ends) if unended else "",
        pad_is_end=tokenizer.pad_token_id is not None and tokenizer.pad_token_id == tokenizer.eos_token_id,
    )


def _row(example: Example | InputError, tokenizer, plain: bool) -> tuple[Rendered, list[int]]:
    """(the row that TRL makes of the example, the ids of its prompt alone)."""
    if isinstance(example, InputError):
        raise example
    if plain:
        record = {"prompt": example.prompt, "completion": example.completion}
        start = tokenizer(example.prompt, verbose=False)["input_ids"]
    else:
        messages = example.messages()
        record = {"prompt": messages[:-1], "completion": messages[-1:]}
        start = prompt_ids(example, tokenizer)
    row = as_trl(record, tokenizer)
    if not row.input_ids:
        raise InputError("no token is left of it; mend the chat template")
    return row, start


def _ends(row: Rendered, tokenizer, ends: Collection[int]) -> str:
    """What to do about a row without an end token."""
    token = closing_token(row, tokenizer)
    stops = ", ".join(map(repr, tokenizer.convert_ids_to_tokens(list(ends)))) or "nothing, there is no end token"
    if token is None:
        return f"; writing stops at {stops}: mend the chat template"
    name = tokenizer.convert_ids_to_tokens(token)
    return f"; the template ends a turn with {name!r}, writing stops at {stops}: train with eos_token={name!r}"


def _limit(tokens: int) -> str:
    return f"{tokens}" if tokens < 10**9 else "no limit"  # a tokenizer without a limit says 10 to the 30


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (" …" if len(names) > 3 else "")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "examples:\n  labkit lint mine.jsonl\n  labkit lint mine.jsonl --model NAME_OR_FOLDER --max-length 1024"
    )
    parser.add_argument("file", metavar="FILE.jsonl", help="examples, one JSON object a line")
    parser.add_argument("--model", metavar="NAME_OR_FOLDER", help="whose tokenizer and template (the kit's own base)")
    parser.add_argument("--max-length", type=int, metavar="TOKENS", help="where rows are cut (the tokenizer's limit)")
    parser.add_argument("--plain", action="store_true", help="join prompt and completion without a chat template")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")


def main(args: argparse.Namespace) -> int:
    from labkit import models

    model = models.conventions(args.model or models.BASE)
    report = lint(args.file, model.tokenizer, args.max_length, args.plain, model.ends)
    print(f"{args.file}: {report}")
    if args.json:
        print(json.dumps(report.as_dict()))
    return 0 if report.clean else 1
