"""Tokenization: what a learner writes, and a tokenizer made of it that learns and encodes what `tokenizers` does."""

from __future__ import annotations

import json
import random
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sums import number_questions

from labkit import tokenization
from labkit.common import InputError
from labkit.tokenization import (
    count_pairs,
    encode,
    from_library,
    in_turn,
    matches,
    merge,
    pad_batch,
    padded_share,
    permuted,
    train,
)
from labkit.workshop.pretraining import SPECIAL, train_tokenizer

small = st.lists(st.integers(0, 3), max_size=30)
HOSTILE = [
    "",
    "a",
    "\0",
    "a\0b",
    " ",
    "😀",
    "👩\u200d👩\u200d👧 " * 300,
    "e\u0301é ½²Ⅷ १२३ 漢字 \u200b\ufeff",
    "\r\n\t \n  x  ",
    "\U0010ffff\uffff",
    "<|end|>x<|pad|><|end|",
    "a" * 1_000_000,
    "ab" * 20_000,
]


@pytest.fixture(scope="module")
def documents():
    """A megabyte of the almanac."""
    from labkit.almanac import world
    from labkit.almanac.documents import Writer

    writer, texts, size = Writer(world.build(), random.Random("tokenization")), [], 0
    while size < 1_000_000:
        texts.append(writer.document())
        size += len(texts[-1].encode())
    return texts


@pytest.fixture(scope="module")
def peer(documents):
    return train_tokenizer(documents, 2048)


@pytest.fixture(scope="module")
def ours(documents):
    return train(documents, 2048, special=SPECIAL)


@pytest.fixture(scope="module")
def tokenizer(tiny_model_folder):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_model_folder)


# What a learner writes


def test_pairs_by_hand():
    assert count_pairs({(1, 1, 1): 2, (1, 2): 3, (9,): 7}) == {(1, 1): 4, (1, 2): 3}
    assert count_pairs({}) == {}


def test_merge_by_hand():
    assert merge([1, 1, 1], (1, 1), 9) == [9, 1]
    assert merge([2, 1, 2, 1, 2], (1, 2), 9) == [2, 9, 9]
    assert merge([], (1, 2), 9) == merge([], (1, 1), 9) == []


@settings(deadline=None)
@given(small, st.tuples(st.integers(0, 3), st.integers(0, 3)))
def test_merge_replaces_the_pair_and_nothing_else(ids, pair):
    merged = merge(ids, pair, 9)
    assert [id for new in merged for id in (pair if new == 9 else (new,))] == ids
    if pair[0] != pair[1]:
        assert pair not in zip(merged, merged[1:])
    assert ids is not merged


def test_encode_takes_the_lowest_rank_not_the_leftmost_nor_the_most_frequent():
    assert encode([1, 2, 3], {(2, 3): 256, (1, 2): 257}) == [1, 256]
    assert encode([1, 2, 3, 2, 3], {(1, 2): 256, (2, 3): 257}) == [256, 3, 257]
    assert encode([1, 2, 3], {(1, 2): 256, (2, 3): 257, (1, 257): 258}) == [256, 3]


@settings(deadline=None)
@given(small, st.lists(small, min_size=1, max_size=4), st.integers(1, 12))
def test_encode_equals_one_pass_for_each_merge(ids, words, count):
    merges = {}
    words = Counter(map(tuple, words))
    for new in range(256, 256 + count):
        pairs = count_pairs(words)
        if not pairs:
            break
        merges[max(pairs, key=pairs.get)] = new
        words = Counter({tuple(merge(list(word), list(merges)[-1], new)): times for word, times in words.items()})
    passes = ids
    for pair, new in merges.items():
        passes = merge(passes, pair, new)
    before = list(ids)
    assert encode(ids, merges) == passes and ids == before


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 5), max_size=8), min_size=1, max_size=5), st.integers(0, 5))
def test_padding_goes_by_position(rows, pad):
    longest = max(map(len, rows))
    for side in ("left", "right"):
        ids, mask = pad_batch(rows, pad, side)
        assert ids.shape == mask.shape == (len(rows), longest) and ids.dtype == mask.dtype == torch.int64
        for row, padded, real in zip(rows, ids.tolist(), mask.tolist()):
            filling = longest - len(row)
            assert padded == (row + [pad] * filling if side == "right" else [pad] * filling + row)
            assert real == sorted(real, reverse=side == "right") and sum(real) == len(row)


def test_padding_equals_that_of_transformers(tokenizer):
    rows = [tokenizer(example.prompt)["input_ids"] for example in number_questions(20)]
    for side in ("left", "right"):
        theirs = tokenizer.pad({"input_ids": rows}, padding_side=side, return_tensors="pt")
        ids, mask = pad_batch(rows, tokenizer.pad_token_id, side)
        assert ids.equal(theirs["input_ids"]) and mask.equal(theirs["attention_mask"])


def test_what_cannot_be_padded():
    with pytest.raises(ValueError, match="no rows"):
        pad_batch([], 0, "left")
    with pytest.raises(ValueError, match="'middle'"):
        pad_batch([[1]], 0, "middle")


def test_a_tokenizer_matches_or_the_first_difference_is_told():
    model = {"a": 0, "b": 1, "c": 2}
    assert matches(model, model, 3) == matches(model, model, 99) == (True, None)
    assert matches({"a": 0, "b": 2, "c": 1}, model, 3) == (False, "c")
    assert matches(model, model, 2) == (False, "c")
    assert matches({"a": 0}, model, 3) == (False, "b")
    assert matches(model | {"d": 3}, model, 4) == (False, "d")
    assert matches({}, {}, 0) == (True, None)


def pairs_by_comprehension(words):
    found = {}
    for word, times in words.items():
        for place in range(len(word) - 1):
            found[word[place], word[place + 1]] = times + found.get((word[place], word[place + 1]), 0)
    return found


def merge_in_place(ids, pair, new):
    left = list(ids)
    place = 0
    while place + 1 < len(left):
        if (left[place], left[place + 1]) == pair:
            left[place : place + 2] = [new]
        place += 1
    return left


def encode_pass_by_pass(ids, merges):
    for pair, new in merges.items():
        ids = merge(ids, pair, new)
    return list(ids)


def pad_with_lists(rows, pad, side):
    if not rows or side not in ("left", "right"):
        raise ValueError("no")
    width = max(map(len, rows))
    ids, mask = [], []
    for row in rows:
        missing = width - len(row)
        ids.append(row + [pad] * missing if side == "right" else [pad] * missing + row)
        mask.append([1] * len(row) + [0] * missing if side == "right" else [0] * missing + [1] * len(row))
    return torch.tensor(ids, dtype=torch.int64), torch.tensor(mask, dtype=torch.int64)


@pytest.mark.parametrize(
    "function", [pairs_by_comprehension, merge_in_place, encode_pass_by_pass, pad_with_lists], ids=lambda f: f.__name__
)
def test_another_right_solution_passes(function):
    from labkit.exercises import find
    from labkit.exercises.engine import judge

    name = {"pairs": "count_pairs", "pad": "pad_batch"}.get(
        function.__name__.split("_")[0], function.__name__.split("_")[0]
    )
    for seed in range(3):
        assert judge(find(f"tokenization.{name}"), function, seed).text == "passed"


# A tokenizer made of it


@pytest.mark.slow
def test_the_same_merges_as_tokenizers_on_a_megabyte(ours, peer):
    learned = from_library(peer)
    assert len(ours.merges) == 2048 - 256 - len(SPECIAL)
    assert list(ours.merges.items()) == list(learned.merges.items())
    assert ours.tokens == learned.tokens and ours == learned


@pytest.mark.slow
def test_the_same_ids_as_tokenizers_on_a_megabyte(ours, peer, documents):
    for text, theirs in zip(documents, peer.encode_batch(documents, add_special_tokens=False)):
        ids = ours.encode(text)
        assert ids == theirs.ids and ours.decode(ids) == text


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text[:12]))
def test_the_same_ids_as_tokenizers_on_hostile_text(ours, peer, text):
    ids = ours.encode(text)
    assert ids == peer.encode(text, add_special_tokens=False).ids
    assert ours.decode(ids) == text


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=40))
def test_the_same_ids_as_tokenizers_on_any_text(ours, peer, text):
    assert ours.encode(text) == peer.encode(text, add_special_tokens=False).ids
    assert ours.decode(ours.encode(text)) == text


@settings(max_examples=100, deadline=None)
@given(ids=st.lists(st.integers(len(SPECIAL), 2047), max_size=20))
def test_any_ids_decode_as_in_tokenizers(ours, peer, ids):
    assert ours.decode(ids) == peer.decode(ids, skip_special_tokens=False)


@settings(max_examples=100, deadline=None)
@given(texts=st.lists(st.text(st.sampled_from("ab ä😀1\0"), max_size=60), max_size=4), more=st.integers(0, 60))
def test_the_same_merges_as_tokenizers_on_any_text(texts, more):
    size = len(SPECIAL) + 256 + more
    assert train(texts, size, special=SPECIAL) == from_library(train_tokenizer(texts, size))


def test_training_on_hostile_text_equals_tokenizers():
    for text in (*HOSTILE[:11], "a" * 10_000, "ab" * 5_000 + "a" * 777):
        assert train([text], 300, special=SPECIAL) == from_library(train_tokenizer([text], 300)), text[:12]


@pytest.mark.slow
def test_a_megabyte_of_one_letter_is_learned_by_doubling():
    learned = train(["a" * 2**20], 256 + 20)
    assert [len(token) for token in learned.tokens[256:]] == [2**k for k in range(1, 21)]
    assert learned.encode("a" * 2**20) == [275]


def test_training_ends_where_no_pair_is_left():
    assert len(train(["abc"], 1000).tokens) == 256 + 2
    assert train([], 1000).merges == train([""], 1000).merges == {}


def test_a_tie_goes_to_the_smaller_ids():
    learned = train(["zz yy"], 258, pattern=r"\p{L}+| ")
    assert learned.tokens[256:] == (b"yy", b"zz")


def test_a_lone_surrogate_is_named():
    for call in (lambda: tokenization.words("ab\ud83d"), lambda: train(["ab\ud83d"], 300)):
        with pytest.raises(InputError, match=r"character 3 .*U\+D83D.*errors=\"replace\""):
            call()
    with pytest.raises(InputError, match="character 3"):
        train(["abc"], 300).encode("ab\ud83d")


def test_a_size_without_room_is_refused():
    with pytest.raises(InputError, match="size is 260.*need 261"):
        train(["abc"], 260, special=SPECIAL)


@settings(deadline=None)
@given(st.text(max_size=60))
def test_words_are_the_text(text):
    for pattern in tokenization.PATTERNS.values():
        assert "".join(tokenization.words(text, pattern)) == text


def test_the_patterns_cut_numbers_in_their_own_ways():
    cut = {name: tokenization.words("in 1284", pattern) for name, pattern in tokenization.PATTERNS.items()}
    assert cut["the kit"] == ["in", " 1", "2", "8", "4"]
    assert cut["GPT-2"] == ["in", " 1284"]
    assert cut["cl100k"] == ["in", " ", "128", "4"]
    assert cut["Qwen2"] == ["in", " ", "1", "2", "8", "4"]


def test_earlier_merges_are_a_smaller_tokenizer(ours, documents):
    text = documents[0]
    assert len(ours.with_merges(0).encode(text)) == len(text.encode())
    counts = [len(ours.with_merges(count).encode(text)) for count in (0, 50, 200, 10_000)]
    assert counts == sorted(counts, reverse=True) and counts[-1] == len(ours.encode(text))
    assert "".join(ours.pieces(text)) == text
    assert ours.with_merges(0).pieces("é") == ["\\xc3", "\\xa9"]


def test_other_kinds_of_tokenizers_are_refused(peer):
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    with pytest.raises(InputError, match="not a byte-level BPE"):
        from_library(Tokenizer(models.WordPiece()))
    read = json.loads(peer.to_str())
    vocabulary = read["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    with pytest.raises(InputError, match="another order"):
        from_library(Tokenizer.from_str(json.dumps(read)))
    with pytest.raises(InputError, match="another order"):
        from_library(permuted(PreTrainedTokenizerFast(tokenizer_object=peer)))


# For the lab


def test_the_padded_share_by_hand():
    lengths = [1, 5, 3, 3]
    assert padded_share(lengths, [[0, 1], [2, 3]]) == 4 / 16
    assert padded_share(lengths, [[0, 1, 2, 3]]) == 8 / 20
    assert padded_share(lengths, [[0], [1], [2], [3]]) == padded_share([], []) == 0
    assert in_turn([3, 1, 2], 2) == [[3, 1], [2]]


@settings(deadline=None)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.integers(1, 8))
def test_the_padded_share_is_that_of_pad_batch_and_sorting_never_adds_to_it(lengths, size):
    batches = in_turn(range(len(lengths)), size)
    masks = [pad_batch([[7] * lengths[row] for row in batch], 0, "right")[1] for batch in batches]
    padding = sum((mask == 0).sum().item() for mask in masks)
    assert padded_share(lengths, batches) == pytest.approx(padding / sum(mask.numel() for mask in masks))
    by_length = sorted(range(len(lengths)), key=lengths.__getitem__)
    if len(lengths) % size == 0:
        assert padded_share(lengths, in_turn(by_length, size)) <= padded_share(lengths, batches) + 1e-12


def test_a_permuted_tokenizer_cuts_alike_and_numbers_otherwise(tokenizer):
    other = permuted(tokenizer, seed=1)
    text = number_questions(3)[2].prompt
    assert other.tokenize(text) == tokenizer.tokenize(text)
    here, there = other.get_vocab(), tokenizer.get_vocab()
    assert here.keys() == there.keys() and sorted(here.values()) == sorted(there.values())
    special = set(tokenizer.all_special_tokens)
    assert {"<|end|>", "<|pad|>", "<|user|>"} <= special
    assert all(here[token] == there[token] for token in special)
    assert sum(here[token] == there[token] for token in here) < len(special) + 10
    assert other.decode(other(text)["input_ids"]) == text
    messages = [{"role": "user", "content": "12"}]
    ask = {"tokenize": False, "add_generation_prompt": True}
    assert other.apply_chat_template(messages, **ask) == tokenizer.apply_chat_template(messages, **ask)
    assert (other.eos_token_id, other.pad_token_id) == (tokenizer.eos_token_id, tokenizer.pad_token_id)
    assert permuted(tokenizer, seed=1).get_vocab() == here != permuted(tokenizer, seed=2).get_vocab()
    assert matches(here, there, len(there))[0] is False and matches(there, there, len(there))[0] is True


def test_a_permuted_tokenizer_renders_examples(tokenizer):
    from labkit.masking import render

    example = number_questions(1)[0]
    mine, other = render(example, tokenizer), render(example, permuted(tokenizer))
    assert len(mine.input_ids) == len(other.input_ids) and mine.input_ids != other.input_ids
    assert mine.input_ids[-1] == other.input_ids[-1] == tokenizer.eos_token_id
