"""From text to token ids and back: byte-pair encoding, padding, and whether a tokenizer fits a model.

First what a learner writes (`count_pairs`, `merge`, `encode`, `pad_batch`, `matches`), then a byte-level BPE made of it
(Sennrich et al. 2016, over bytes as in Radford et al. 2019), which learns and encodes what `tokenizers` does, and a few
helpers of the lab. Left out: normalization, dropout, a minimum frequency, and speed on chunks of a megabyte. Roles and
labels are in `masking`.
"""

from __future__ import annotations

import heapq
import json
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

from labkit.common import InputError

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

# What a learner writes. Each is self-contained: its source runs with nothing but torch.


def count_pairs(words: dict[tuple[int, ...], int]) -> dict[tuple[int, int], int]:
    """How often each pair of neighbours occurs. `words`: the ids of each word, and how often the word occurs.

    Pairs lie within a word, each position counts (a, a, a holds two), and a word counts as often as it occurs.
    """
    pairs: dict[tuple[int, int], int] = {}
    for ids, count in words.items():
        for pair in zip(ids, ids[1:]):
            pairs[pair] = pairs.get(pair, 0) + count
    return pairs


def merge(ids: list[int], pair: tuple[int, int], new: int) -> list[int]:
    """`ids` with every occurrence of `pair` replaced by `new`, from left to right, none overlapping.

    With the pair (a, a), a, a, a becomes new, a.
    """
    merged, place = [], 0
    while place < len(ids):
        if tuple(ids[place : place + 2]) == tuple(pair):
            merged.append(new)
            place += 2
        else:
            merged.append(ids[place])
            place += 1
    return merged


def encode(ids: list[int], merges: dict[tuple[int, int], int]) -> list[int]:
    """Apply merges to the ids of one word: always the one of lowest rank that is there, until none is.

    `merges`: {pair: new id}, in the order of training, which is the rank; a later merge has a higher new id. One pass
    over the word for each merge in turn gives the same result.
    """
    ids = list(ids)
    while known := set(zip(ids, ids[1:])) & merges.keys():
        pair = min(known, key=lambda pair: merges[pair])
        merged, place = [], 0
        while place < len(ids):
            if tuple(ids[place : place + 2]) == pair:
                merged.append(merges[pair])
                place += 2
            else:
                merged.append(ids[place])
                place += 1
        ids = merged
    return ids


def pad_batch(rows: list[list[int]], pad: int, side: str) -> tuple[torch.Tensor, torch.Tensor]:
    """(ids, mask), each int64 of shape (rows, longest row); the mask is 1 on real tokens and 0 on padding.

    The mask goes by position, not by value: a real token that equals `pad` counts. Padding is on `side`, "left" or
    "right". Raises `ValueError` for another side, and for no rows.
    """
    import torch

    if side not in ("left", "right"):
        raise ValueError(f"side is {side!r}: choose left or right")
    if not rows:
        raise ValueError("there are no rows to make a batch of")
    longest = max(len(row) for row in rows)
    ids = torch.full((len(rows), longest), pad, dtype=torch.int64)
    mask = torch.zeros((len(rows), longest), dtype=torch.int64)
    for number, row in enumerate(rows):
        start = 0 if side == "right" else longest - len(row)
        ids[number, start : start + len(row)] = torch.tensor(row, dtype=torch.int64)
        mask[number, start : start + len(row)] = 1
    return ids, mask


def matches(tokenizer_vocab: dict[str, int], model_vocab: dict[str, int], rows: int) -> tuple[bool, str | None]:
    """Whether a tokenizer is the one that a model was trained with: (True, None), or (False, first differing token).

    Both must hold the same tokens under the same ids, and each id must be one of the `rows` of the embedding table;
    spare rows are fine. The ids are checked in ascending order; for the first that differs the result is the
    tokenizer's token there, or the model's if the tokenizer has none.
    """
    here = {id: token for token, id in tokenizer_vocab.items()}
    there = {id: token for token, id in model_vocab.items()}
    for id in sorted(here.keys() | there.keys()):
        if here.get(id) != there.get(id) or id >= rows:
            return False, here.get(id, there.get(id))
    return True, None


# A tokenizer made of it.

WORDS = r" ?\p{N}| ?\p{L}+| ?[^\s\p{L}\p{N}]+|\s+"  # the kit's own: digits are single

# How others cut text before any merge; as published in openai/tiktoken (tiktoken_ext/openai_public.py) and, for Qwen2,
# in the tokenizer.json of its models.
PATTERNS = {
    "the kit": WORDS,
    "GPT-2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "cl100k": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
    "Qwen2": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
}


@dataclass(frozen=True)
class BytePairs:
    """A byte-level tokenizer. Ids go by place in `tokens`: special tokens, the 256 bytes, then one for each merge.

    `merges` is {(id, id): new id} in rank order.
    """

    tokens: tuple[bytes, ...]
    merges: dict[tuple[int, int], int]
    special: tuple[str, ...] = ()
    pattern: str = WORDS

    def encode(self, text: str) -> list[int]:
        """The ids of a text; special tokens in it are single ids. Raises `InputError` for a lone surrogate.

        Each word (see `words`) is encoded by itself and remembered. A word of length n takes n steps for each merge in
        it, so a megabyte without a space is slow unless it has few different pairs.
        """
        byte_ids = self.byte_ids()
        numbers = {token: id for id, token in enumerate(self.special)}
        known: dict[str, list[int]] = {}
        ids = []
        for part in _parts(text, self.special):
            if part in numbers:
                ids.append(numbers[part])
                continue
            for word in words(part, self.pattern):
                if word not in known:
                    known[word] = encode([byte_ids[byte] for byte in word.encode()], self.merges)
                ids += known[word]
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids. Bytes that are not valid UTF-8, such as half a letter, become U+FFFD."""
        return b"".join(self.tokens[id] for id in ids).decode("utf-8", "replace")

    def pieces(self, text: str) -> list[str]:
        """The text cut into its tokens; a byte that is not a letter by itself is shown as `\\xc3`."""
        return [self.tokens[id].decode("utf-8", "backslashreplace") for id in self.encode(text)]

    def with_merges(self, count: int) -> BytePairs:
        """The same tokenizer as it was after its first `count` merges."""
        kept = dict(list(self.merges.items())[:count])
        return replace(self, tokens=self.tokens[: len(self.special) + 256 + len(kept)], merges=kept)

    def byte_ids(self) -> dict[int, int]:
        """{byte: its id}."""
        return _byte_ids(self.special)


def train(texts: Iterable[str], size: int, special: Sequence[str] = (), pattern: str = WORDS) -> BytePairs:
    """Learn a vocabulary of `size` tokens: repeatedly the most frequent pair becomes a token of its own.

    Of equally frequent pairs the one with the smaller ids is merged, as `tokenizers` does. It ends early if no pair is
    left. Special tokens cut the text and are never merged. Raises `InputError` for a size that has no room for the
    bytes and special tokens, and for a lone surrogate.
    """
    if size < len(special) + 256:
        raise InputError(f"size is {size}: {len(special)} special tokens and 256 bytes need {len(special) + 256}")
    tokens = [token.encode() for token in special] + [bytes([byte]) for byte in alphabet()]
    byte_ids = _byte_ids(special)
    found: Counter[str] = Counter()
    for text in texts:
        for part in _parts(text, special):
            if part not in special:
                found.update(words(part, pattern))

    spelled = [[byte_ids[byte] for byte in word.encode()] for word in found]  # each word as it is now, in ids
    times = list(found.values())
    counts = count_pairs({tuple(ids): count for ids, count in zip(spelled, times)})
    homes = defaultdict(set)  # the words that contain, or contained, a pair
    for number, ids in enumerate(spelled):
        for pair in zip(ids, ids[1:]):
            homes[pair].add(number)
    queue = [(-count, pair) for pair, count in counts.items()]
    heapq.heapify(queue)

    merges: dict[tuple[int, int], int] = {}
    while queue and len(tokens) < size:
        count, pair = heapq.heappop(queue)
        if -count != counts[pair]:  # other merges took some of its places: put it back with the count that is left
            if counts[pair]:
                heapq.heappush(queue, (-counts[pair], pair))
            continue
        new = len(tokens)
        tokens.append(tokens[pair[0]] + tokens[pair[1]])
        merges[pair] = new
        born = set()
        for number in homes.pop(pair):
            before, after = spelled[number], merge(spelled[number], pair, new)
            for old, many in Counter(zip(before, before[1:])).items():
                counts[old] -= many * times[number]
            for now, many in Counter(zip(after, after[1:])).items():
                counts[now] = counts.get(now, 0) + many * times[number]
                if new in now:
                    homes[now].add(number)
                    born.add(now)
            spelled[number] = after
        for fresh in born:
            heapq.heappush(queue, (-counts[fresh], fresh))
    return BytePairs(tuple(tokens), merges, tuple(special), pattern)


def words(text: str, pattern: str = WORDS) -> list[str]:
    """The text cut where no merge may cross. The words joined together are the text. Raises `InputError` for a lone
    surrogate.

    The cutting is `tokenizers`' own: Python's `re` does not know \\p{L}, any letter, and \\p{N}, any digit.
    """
    from tokenizers import Regex, pre_tokenizers

    _check_unicode(text)
    cut = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
    return [word for word, _ in cut.pre_tokenize_str(text)]


@cache
def alphabet() -> tuple[int, ...]:
    """The 256 bytes in the order in which byte-level tokenizers number them: those that print, then the others."""
    return tuple(sorted(range(256), key=lambda byte: byte_characters()[byte]))


@cache
def byte_characters() -> dict[int, str]:
    """{byte: the character that stands for it in a tokenizer's file}, as in GPT-2: a space is `Ġ`."""
    prints = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in prints]
    return {byte: chr(byte) for byte in prints} | {byte: chr(256 + place) for place, byte in enumerate(others)}


def from_library(tokenizer: PreTrainedTokenizerBase | Tokenizer) -> BytePairs:
    """A byte-level BPE of `transformers` or `tokenizers` as `BytePairs`: its tokens, merges and pattern, with the same
    ids.

    Raises `InputError` if it is of another kind: not BPE, not over bytes, with a normalizer, or numbered otherwise.
    """
    read = json.loads(getattr(tokenizer, "backend_tokenizer", tokenizer).to_str())
    steps = (read["pre_tokenizer"] or {}).get("pretokenizers", [])
    patterns = [step["pattern"]["Regex"] for step in steps if step["type"] == "Split" and "Regex" in step["pattern"]]
    if read["model"]["type"] != "BPE" or read["normalizer"] or len(patterns) != 1 or steps[-1]["type"] != "ByteLevel":
        raise InputError("the tokenizer is not a byte-level BPE with one pattern; use one like the kit's own")
    vocabulary = read["model"]["vocab"]
    special = tuple(token["content"] for token in read["added_tokens"])
    tokens = [token.encode() for token in special] + [bytes([byte]) for byte in alphabet()]
    first = [*special, *(byte_characters()[byte] for byte in alphabet())]
    ordered = [vocabulary.get(token) for token in first] == list(range(len(tokens)))
    merges: dict[tuple[int, int], int] = {}
    for left, right in read["model"]["merges"]:
        if not ordered or vocabulary.get(left + right) != len(tokens):
            raise InputError("the tokenizer has another order of ids; the kit's is special tokens, bytes, merges")
        merges[vocabulary[left], vocabulary[right]] = len(tokens)
        tokens.append(tokens[vocabulary[left]] + tokens[vocabulary[right]])
    return BytePairs(tuple(tokens), merges, special, patterns[0])


# For the lab.


def padded_share(lengths: Sequence[int], batches: Sequence[Sequence[int]]) -> float:
    """The share of all positions that is padding, if the rows of each batch are padded to its longest.

    `lengths`: the length of each row in tokens; `batches`: for each batch the indices of its rows.
    """
    real = sum(lengths[row] for batch in batches for row in batch)
    positions = sum(len(batch) * max(lengths[row] for row in batch) for batch in batches if batch)
    return (positions - real) / positions if positions else 0.0


def in_turn(order: Sequence[int], batch_size: int) -> list[list[int]]:
    """Batches of rows as they come in `order`; the last one may be smaller."""
    return [list(order[start : start + batch_size]) for start in range(0, len(order), batch_size)]


def permuted(tokenizer: PreTrainedTokenizerFast, seed: int = 0) -> PreTrainedTokenizerFast:
    """A copy of a fast tokenizer of `transformers` that cuts text in the same way and numbers the tokens at random.

    Special tokens keep their ids. The copy has as many tokens, and none of its ids is beyond the embedding table.
    """
    from tokenizers import Tokenizer

    read = json.loads(tokenizer.backend_tokenizer.to_str())
    special = {token["content"] for token in read["added_tokens"]}
    vocabulary = read["model"]["vocab"]
    names = [token for token in vocabulary if token not in special]
    ids = [vocabulary[token] for token in names]
    random.Random(seed).shuffle(ids)
    vocabulary.update(zip(names, ids))
    return with_backend(tokenizer, Tokenizer.from_str(json.dumps(read)))


def with_backend(tokenizer: PreTrainedTokenizerBase, backend: Tokenizer) -> PreTrainedTokenizerFast:
    """A tokenizer of `transformers` like `tokenizer`, with its special tokens and chat template, around another
    backend.
    """
    from transformers import PreTrainedTokenizerFast

    made = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token=tokenizer.eos_token,
        pad_token=tokenizer.pad_token,
        model_max_length=tokenizer.model_max_length,
        clean_up_tokenization_spaces=False,
    )
    made.chat_template = tokenizer.chat_template
    return made


def _byte_ids(special: Sequence[str]) -> dict[int, int]:
    return {byte: len(special) + place for place, byte in enumerate(alphabet())}


def _parts(text: str, special: Sequence[str]) -> list[str]:
    """The text cut at its special tokens, each of which is a part of its own."""
    if not special:
        return [text] if text else []
    alternatives = "|".join(re.escape(token) for token in sorted(special, key=len, reverse=True))
    return [part for part in re.split(f"({alternatives})", text) if part]


def _check_unicode(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"character {error.start + 1} of the text is half a surrogate pair (U+{ord(text[error.start]):04X}), which "
            'UTF-8 does not know; read the file with encoding="utf-8", errors="replace"'
        ) from None
