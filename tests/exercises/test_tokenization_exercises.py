"""Lab 02's exercises: other right solutions than the reference pass, and what people write first is told apart."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from labkit.exercises import find
from labkit.exercises.engine import judge


def count_pairs(words):
    pairs = Counter()
    for word, times in words.items():
        for place in range(len(word) - 1):
            pairs[word[place], word[place + 1]] += times
    return pairs


def merge(ids, pair, new):
    merged, held = [], False  # held: the last one may still be the first of a pair
    for id in ids:
        if held and (merged[-1], id) == pair:
            merged[-1], held = new, False
        else:
            merged.append(id)
            held = True
    return merged


def encode(ids, merges):
    ids, rank = list(ids), {pair: number for number, pair in enumerate(merges)}
    while known := [(rank[pair], place) for place, pair in enumerate(zip(ids, ids[1:])) if pair in rank]:
        _, place = min(known)
        ids[place : place + 2] = [merges[ids[place], ids[place + 1]]]
    return ids


def pad_batch(rows, pad, side):
    if side not in ("left", "right") or not rows:
        raise ValueError(side)
    width = max(map(len, rows))
    ids, mask = torch.full((len(rows), width), pad), torch.zeros(len(rows), width, dtype=torch.long)
    for number, row in enumerate(rows):
        real = slice(width - len(row), width) if side == "left" else slice(0, len(row))
        ids[number, real], mask[number, real] = torch.tensor(row, dtype=torch.long), 1
    return ids, mask


def matches(tokenizer_vocab, model_vocab, rows):
    places = {id: token for token, id in tokenizer_vocab.items()}
    saved = {id: token for token, id in model_vocab.items()}
    for id in sorted({*places, *saved}):
        if places.get(id) != saved.get(id) or id >= rows:
            return False, places[id] if id in places else saved[id]
    return True, None


@pytest.mark.parametrize("function", [count_pairs, merge, encode, pad_batch, matches], ids=lambda f: f.__name__)
def test_another_right_solution_passes(function):
    for seed in range(5):
        assert judge(find(f"tokenization.{function.__name__}"), function, seed).text == "passed"


def merge_as_text(ids, pair, new):
    joined = " ".join(map(str, ids)).replace(f"{pair[0]} {pair[1]}", str(new))
    return [int(id) for id in joined.split()]


def left_by_minus_length(rows, pad, side):
    ids, mask = pad_batch([[pad] * max(map(len, rows))] * len(rows), pad, side)
    for number, row in enumerate(rows):
        ids[number, -len(row) :], mask[number] = torch.tensor(row), 0
        mask[number, -len(row) :] = 1
    return ids, mask


@pytest.mark.parametrize(
    "name, function, says",
    [
        ("count_pairs", lambda words: Counter(p for word in words for p in zip(word, word[1:])), "each word once"),
        ("count_pairs", lambda words: count_pairs(words).most_common(), "yours is a list"),
        ("merge", merge_as_text, "wrong for merge([11, 2, 1, 23], (1, 2), 9)"),
        ("merge", lambda ids, pair, new: merge(ids, pair, new) if pair in zip(ids, ids[1:]) else ids, "returns its"),
        ("encode", lambda ids, merges: encode(ids, dict(reversed(merges.items()))), "learned last"),
        ("pad_batch", lambda rows, pad, side: [tensor.tolist() for tensor in pad_batch(rows, pad, side)], "is a list"),
        ("pad_batch", lambda rows, pad, side: tuple(each.bool() for each in pad_batch(rows, pad, side)), "of bool"),
        ("pad_batch", left_by_minus_length, "raised"),
    ],
)
def test_what_people_write_first_is_answered(name, function, says):
    verdict = judge(find(f"tokenization.{name}"), function)
    assert not verdict.passed and says in verdict.text
    assert "\n" not in verdict.text
