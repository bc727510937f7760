"""Teacher forcing: what training gives a model that writing does not, and what that costs.

In training a model is given the true beginning at every position, and all positions are computed at once; when it
writes, it goes on from its own tokens, one after the other. Here both are timed, compared position by position, and
tried with a planted mistake.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from labkit.data import Example
from labkit.masking import collate, render
from labkit.models import generate_ids, settle

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from labkit.models import Model

DIGITS = "012345678"  # those that can be made one too high


@torch.no_grad()
def one_by_one(model: torch.nn.Module, ids: torch.Tensor) -> torch.Tensor:
    """The logits at each place of one row (1 × length), each from a pass over the tokens up to there and no others:
    length × vocabulary.
    """
    return torch.stack([model(input_ids=ids[:, : place + 1]).logits[0, -1] for place in range(ids.shape[1])])


def learn(model: torch.nn.Module, ids: torch.Tensor) -> None:
    """One forward and one backward pass over `ids` (rows × length)."""
    model(input_ids=ids, labels=ids).loss.backward()
    model.zero_grad()


@torch.no_grad()
def write(model: torch.nn.Module, ids: torch.Tensor) -> None:
    """As many passes as `ids` has columns, each over one token of every row, with a cache: the work of writing them."""
    cache = None
    for place in range(ids.shape[1]):
        step = model(input_ids=ids[:, place : place + 1], past_key_values=cache, use_cache=True)
        cache = step.past_key_values


def seconds(work: Callable, model: torch.nn.Module, ids: torch.Tensor, times: int = 1) -> float:
    """How long `learn` or `write` takes, the best of `times`."""

    def once() -> float:
        settle(model)
        started = time.perf_counter()
        work(model, ids)
        settle(model)
        return time.perf_counter() - started

    return min(once() for _ in range(times))


@dataclass(frozen=True)
class Followed:
    """Right tokens by their place in the completion: `given` the true beginning, and its `own`, for each row."""

    truth: list[list[int]]
    given: list[list[int]]
    own: list[list[int]]

    def begun(self, tokens: int) -> list[int]:
        """The rows whose own first tokens, so many, are all right."""
        return [row for row, true in enumerate(self.truth) if self.own[row][:tokens] == true[:tokens]]

    def right(self, which: str, places: int, rows: Collection[int] | None = None) -> list[float]:
        """The share of right tokens at each of the first `places`, among rows that have one there; `which`: `given`, `own`."""
        written, shares = getattr(self, which), []
        chosen = range(len(self.truth)) if rows is None else rows
        for place in range(places):
            asked = [row for row in chosen if place < len(self.truth[row])]
            hits = sum(written[row][place : place + 1] == self.truth[row][place : place + 1] for row in asked)
            shares.append(hits / max(len(asked), 1))
        return shares


def follow(model: Model, tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], most: int) -> Followed:
    """Let the model answer, and ask it also for each token given the true ones before it; at most `most` tokens."""
    rows = [render(example, tokenizer) for example in examples]
    prompts = [row.input_ids[: row.prompt_length] for row in rows]
    own = generate_ids(model, tokenizer, prompts, max_new_tokens=most)
    batch = collate(rows, tokenizer.pad_token_id)
    with torch.no_grad():
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    likely = logits.argmax(-1).tolist()
    return Followed(
        truth=[row.input_ids[row.prompt_length :] for row in rows],
        given=[likely[number][row.prompt_length - 1 : len(row.input_ids) - 1] for number, row in enumerate(rows)],
        own=own,
    )


@dataclass(frozen=True)
class Planted:
    """The beginning of an example's true working, up to a digit: `before` it, and `wrong`, with that digit one too high."""

    example: Example
    before: list[int]
    wrong: list[int]


def plant(examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, seed: int = 0) -> list[Planted]:
    """A wrong digit somewhere in the working of each example that has one; the examples without are left out."""
    draw, found = random.Random(seed), []
    for example in examples:
        row = render(example, tokenizer)
        prompt, written = row.input_ids[: row.prompt_length], row.input_ids[row.prompt_length :]
        working = len(tokenizer(example.completion.rpartition(" Answer:")[0])["input_ids"])
        digits = [place for place in range(working) if str(tokenizer.decode([written[place]])).strip() in [*DIGITS]]
        if not digits:
            continue
        place = draw.choice(digits)
        text = str(tokenizer.decode([written[place]]))
        wrong = tokenizer(text.replace(text.strip(), str(int(text) + 1)))["input_ids"]
        before = prompt + written[:place]
        found.append(Planted(example, before, before + wrong))
    return found
