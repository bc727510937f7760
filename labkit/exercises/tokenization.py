"""Exercises of lab 02: byte-pair encoding by hand, padding, and whether a tokenizer fits a model."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import combinations, pairwise

from labkit import tokenization
from labkit.exercises.kinds import Comparison, Exercise, Probe, mistake

# count_pairs


def pairs_probes(rng: random.Random) -> Iterator[Probe]:
    yield Probe(({},), "edges")
    yield Probe(({(7,): 3},), "edges")
    yield Probe(({(1, 1, 1): 1},), "edges")
    yield Probe(({(1, 2): 1, (2, 1): 1},), "edges")
    yield Probe(({(1, 2): 5},), "edges")
    yield Probe(({(1, 2, 1, 2): 1},), "edges")
    yield Probe(({(3, 4): 1, (5, 6): 1},), "edges")
    for _ in range(6):
        a, b, c = rng.sample(range(20), 3)
        low, high = min(a, b), max(a, b)
        words = {(high, low, high, low): rng.randint(2, 9), (c, c, c, *rng.choices((a, b), k=2)): rng.randint(2, 9)}
        words[tuple(rng.choices((a, b, c), k=3))] = rng.randint(1, 9)
        yield Probe((words,), "typical")


@mistake(
    "counts each word once",
    "You count each word once, however often it occurs: a pair in a frequent word must weigh more, or the merges "
    "learn the word list instead of the text.",
)
def pairs_without_counts(words):
    pairs = {}
    for ids in words:
        for pair in pairwise(ids):
            pairs[pair] = pairs.get(pair, 0) + 1
    return pairs


@mistake(
    "crosses words",
    "You count pairs across the border of two words: no merge may cross it, so the last id of one word and the first "
    "of the next are not a pair.",
)
def pairs_across_words(words):
    stream = [id for ids, count in words.items() for _ in range(count) for id in ids]
    pairs = {}
    for pair in pairwise(stream):
        pairs[pair] = pairs.get(pair, 0) + 1
    return pairs


@mistake(
    "counts a pair once a word",
    "You count a pair once in each word: in 1, 2, 1, 2 the pair (1, 2) is at two positions, and both count.",
)
def pairs_once_a_word(words):
    pairs = {}
    for ids, count in words.items():
        for pair in set(pairwise(ids)):
            pairs[pair] = pairs.get(pair, 0) + count
    return pairs


@mistake(
    "leaves out overlaps",
    "You leave out overlapping pairs: 1, 1, 1 has two positions where (1, 1) begins. Overlaps matter when you merge, "
    "not when you count.",
)
def pairs_without_overlap(words):
    pairs = {}
    for ids, count in words.items():
        ended = {}
        for place, pair in enumerate(pairwise(ids)):
            if ended.get(pair) != place:
                pairs[pair] = pairs.get(pair, 0) + count
                ended[pair] = place + 1
    return pairs


@mistake("forgets the order", "You count (1, 2) and (2, 1) as one pair: `th` and `ht` are not the same token.")
def pairs_without_order(words):
    pairs = {}
    for ids, count in words.items():
        for pair in pairwise(ids):
            pair = (min(pair), max(pair))
            pairs[pair] = pairs.get(pair, 0) + count
    return pairs


@mistake(
    "sets the count anew",
    "You set the count of a pair instead of adding to it: a pair that occurs again keeps the last word's count alone. "
    "Write `pairs[pair] = pairs.get(pair, 0) + count`.",
)
def pairs_overwritten(words):
    return {pair: count for ids, count in words.items() for pair in pairwise(ids)}


@mistake(
    "misses the last pair",
    "The last pair of each word is missing: a word of n ids has n − 1 pairs, and `range` leaves its end out.",
)
def pairs_without_the_last(words):
    pairs = {}
    for ids, count in words.items():
        for pair in pairwise(ids[:-1]):
            pairs[pair] = pairs.get(pair, 0) + count
    return pairs


@mistake(
    "pairs that are not neighbours",
    "You count all pairs of a word. Only neighbours make a pair: `zip(ids, ids[1:])` gives them.",
)
def pairs_of_all(words):
    pairs = {}
    for ids, count in words.items():
        for pair in combinations(ids, 2):
            pairs[pair] = pairs.get(pair, 0) + count
    return pairs


COUNT_PAIRS = Exercise(
    id="tokenization.count_pairs",
    points=2,
    minutes=4,
    reference=tokenization.count_pairs,
    probes=pairs_probes,
    misconceptions=(
        pairs_without_counts,
        pairs_across_words,
        pairs_once_a_word,
        pairs_without_overlap,
        pairs_without_order,
        pairs_overwritten,
        pairs_without_the_last,
        pairs_of_all,
    ),
    hints=(
        "Two loops: over the words, and over the neighbours within one word.",
        "`zip(ids, ids[1:])` gives the neighbours of one word; `words.items()` gives each word with its count.",
        "For each pair: `pairs[pair] = pairs.get(pair, 0) + count`.",
    ),
)


# merge


def merge_probes(rng: random.Random) -> Iterator[Probe]:
    yield Probe(([], (1, 2), 9), "edges")
    yield Probe(([1], (1, 2), 9), "edges")
    yield Probe(([2, 1, 3], (1, 2), 9), "edges")
    yield Probe(([1, 2], (1, 2), 9), "edges")
    yield Probe(([1, 1, 1], (1, 1), 9), "edges")
    yield Probe(([3, 1, 2, 1, 2], (1, 2), 9), "edges")
    yield Probe(([1, 1, 1, 1], (1, 1), 9), "edges")
    yield Probe(([11, 2, 1, 23], (1, 2), 9), "edges")
    for _ in range(3):
        a, b, c = rng.sample(range(20), 3)
        start = rng.choices((a, b, c), k=rng.randint(0, 3))
        yield Probe(([*start, a, b, c, b, a, c, a, b], (a, b), 256 + rng.randrange(99)), "typical")
        yield Probe(
            ([c, *[a] * rng.choice((3, 5)), *rng.choices((b, c), k=2)], (a, a), 256 + rng.randrange(99)), "typical"
        )


@mistake(
    "merges overlap",
    "Your merges overlap: in 1, 1, 1 the middle 1 went into two tokens. Once a pair is merged, continue after it.",
)
def merge_overlapping(ids, pair, new):
    starts = [place for place, here in enumerate(pairwise(ids)) if here == tuple(pair)]
    return [
        new if place in starts else id for place, id in enumerate(ids) if place in starts or place - 1 not in starts
    ]


@mistake(
    "keeps the second id",
    "You replace the first id of the pair but keep the second: the text then has a letter twice. Skip two positions "
    "after a merge, in a `while`: in a `for`, `i += 2` has no effect.",
)
def merge_keeping_second(ids, pair, new):
    return [new if tuple(ids[place : place + 2]) == tuple(pair) else id for place, id in enumerate(ids)]


@mistake("merges the first place only", "You merge the first place only: every occurrence of the pair is replaced.")
def merge_first_only(ids, pair, new):
    for place, here in enumerate(pairwise(ids)):
        if here == tuple(pair):
            return [*ids[:place], new, *ids[place + 2 :]]
    return list(ids)


@mistake(
    "goes from right to left",
    "You go from right to left: with the pair (1, 1), 1, 1, 1 becomes new, 1 and not 1, new. Other tools would cut "
    "the same word in another way.",
)
def merge_from_the_right(ids, pair, new):
    return tokenization.merge(ids[::-1], tuple(pair)[::-1], new)[::-1]


@mistake(
    "merges either order",
    "You merge (2, 1) as if it were (1, 2): the token would stand for letters in the wrong order.",
)
def merge_either_order(ids, pair, new):
    merged, place = [], 0
    while place < len(ids):
        found = sorted(ids[place : place + 2]) == sorted(pair)
        merged.append(new if found else ids[place])
        place += 2 if found else 1
    return merged


@mistake(
    "loses the last id",
    "The last id is lost if it is not part of a pair: your loop ends one place too early.",
)
def merge_losing_the_last(ids, pair, new):
    merged, place = [], 0
    while place < len(ids) - 1:
        found = tuple(ids[place : place + 2]) == tuple(pair)
        merged.append(new if found else ids[place])
        place += 2 if found else 1
    return merged


@mistake(
    "merges nothing",
    "Nothing is ever merged. A list never equals a tuple: if you compare `ids[i:i + 2] == pair`, write "
    "`tuple(ids[i:i + 2])`.",
)
def merge_nothing(ids, pair, new):
    return list(ids)


@mistake(
    "pairs from every second place",
    "You look at the ids two by two, from places 0, 2, 4, …: a pair may begin at any place. Move by two only after a merge.",
)
def merge_two_by_two(ids, pair, new):
    merged = []
    for place in range(0, len(ids), 2):
        two = list(ids[place : place + 2])
        merged += [new] if tuple(two) == tuple(pair) else two
    return merged


MERGE = Exercise(
    id="tokenization.merge",
    points=2,
    minutes=5,
    reference=tokenization.merge,
    probes=merge_probes,
    misconceptions=(
        merge_overlapping,
        merge_keeping_second,
        merge_first_only,
        merge_from_the_right,
        merge_either_order,
        merge_losing_the_last,
        merge_nothing,
        merge_two_by_two,
    ),
    hints=(
        "Walk along the ids with a position that you move yourself: a `while`, not a `for`.",
        "At each position: do the id here and the next one make the pair? Then take the new id, and move by two.",
        "`if tuple(ids[place:place + 2]) == pair:` append `new`, `place += 2`; else append `ids[place]`, `place += 1`.",
    ),
)


# encode

MOST_FREQUENT = (
    "You merge the pair that is most frequent in this word: that is how a vocabulary is *learned*. Encoding goes by the "
    "rank, so that a word gets the same ids in every text."
)


def encode_probes(rng: random.Random) -> Iterator[Probe]:
    yield Probe(([], {(1, 2): 256}), "edges")
    yield Probe(([1], {(1, 2): 256}), "edges")
    yield Probe(([1, 2, 3], {}), "edges")
    yield Probe(([1, 1, 1, 1, 1], {(1, 1): 256, (256, 256): 257}), "edges")
    for names, group in (((1, 2, 3, 4), "edges"), (rng.sample(range(5, 99), 4), "typical")):
        a, b, c, d = names
        first = 256 if group == "edges" else 256 + rng.randrange(99)
        ranked = (first, first + 1, first + 2)
        yield Probe(([a, b, c, b, c], _ranks(ranked, (a, b), (b, c))), group)
        yield Probe(([a, b, c], _ranks(ranked, (b, c), (a, b))), group)
        yield Probe(([a, b, c], _ranks(ranked, (a, b), (b, c), (a, first + 1))), group)
        yield Probe(([a, b, d, a, b], _ranks(ranked, (a, b), (c, d))), group)
        yield Probe(([d, a, b, c], _ranks(ranked, (a, b), (first, c), (d, first + 1))), group)
    for (low, middle, high), group in (((1, 2, 3), "edges"), (sorted(rng.sample(range(5, 99), 3)), "typical")):
        yield Probe(([high, low, middle], _ranks((256, 257), (high, low), (low, middle))), group)
        yield Probe(([high, low, middle], _ranks((256, 257), (low, middle), (high, low))), group)
        yield Probe(([low, high, middle, low], _ranks((256, 257), (high, middle), (low, 256))), group)
    for _ in range(5):
        names = rng.sample(range(100), 3)
        merges: dict[tuple[int, int], int] = {}
        for new in range(256, 261):
            merges[rng.choice(names), rng.choice([*names, *merges.values()])] = new
        merges = (
            {pair: 256 + rank for rank, pair in enumerate(merges)} if len(merges) == 5 else {(names[0], names[1]): 256}
        )
        yield Probe((rng.choices(names, k=rng.randint(5, 9)), merges), "typical")


def _ranks(new: tuple[int, ...], *pairs: tuple[int, int]) -> dict[tuple[int, int], int]:
    return dict(zip(pairs, new))


@mistake("takes the most frequent pair", MOST_FREQUENT)
def encode_most_frequent_first(ids, merges):
    ids = list(ids)
    while known := [pair for pair in pairwise(ids) if pair in merges]:
        pair = max(known, key=lambda each: (known.count(each), -merges[each]))
        ids = tokenization.merge(ids, pair, merges[pair])
    return ids


@mistake("takes the most frequent pair, the left one of two", MOST_FREQUENT)
def encode_most_frequent_then_leftmost(ids, merges):
    ids = list(ids)
    while known := [pair for pair in pairwise(ids) if pair in merges]:
        pair = max(known, key=known.count)
        ids = tokenization.merge(ids, pair, merges[pair])
    return ids


@mistake(
    "takes the leftmost pair",
    "You merge the first pair from the left that you know: a merge further right may have a lower rank, and goes "
    "first.",
)
def encode_leftmost_first(ids, merges):
    ids = list(ids)
    while known := [place for place, pair in enumerate(pairwise(ids)) if pair in merges]:
        place = known[0]
        ids[place : place + 2] = [merges[ids[place], ids[place + 1]]]
    return ids


ONE_PASS = (
    "You go through the word once and merge whatever you know as you come to it: a merge further right may have a "
    "lower rank, and goes first. Each merge needs a pass of its own."
)
BY_IDS = (
    "You take the pair whose ids are the {}. An id says nothing about the rank: take the pair that stands first in "
    "`merges`, which is the one with the lowest new id: `min(known, key=merges.get)`."
)


@mistake("takes the pair of the smallest ids", BY_IDS.format("smallest"))
def encode_smallest_ids(ids, merges):
    ids = list(ids)
    while known := set(pairwise(ids)) & merges.keys():
        ids = tokenization.merge(ids, min(known), merges[min(known)])
    return ids


@mistake("takes the pair of the largest ids", BY_IDS.format("largest"))
def encode_largest_ids(ids, merges):
    ids = list(ids)
    while known := set(pairwise(ids)) & merges.keys():
        ids = tokenization.merge(ids, max(known), merges[max(known)])
    return ids


@mistake(
    "sorts the merges by their ids",
    "You sort the merges by the ids of their pairs. They come in rank order already: go through `merges` as it is.",
)
def encode_sorted(ids, merges):
    for pair in sorted(merges):
        ids = tokenization.merge(ids, pair, merges[pair])
    return list(ids)


@mistake("goes through the word once", ONE_PASS)
def encode_in_one_pass(ids, merges):
    done = []
    for id in ids:
        pair = (done[-1], id) if done else None
        if pair in merges:
            done[-1] = merges[pair]
        else:
            done.append(id)
    return done


@mistake("goes through the word once, and never merges what it made", ONE_PASS)
def encode_in_one_pass_of_pairs(ids, merges):
    done, place = [], 0
    while place < len(ids):
        pair = tuple(ids[place : place + 2])
        done.append(merges.get(pair, ids[place]))
        place += 2 if pair in merges else 1
    return done


@mistake(
    "loses the last id",
    "The last id is lost if it is not part of a pair: your loop over the word ends one place too early.",
)
def encode_losing_the_last(ids, merges):
    for pair, new in merges.items():
        ids = merge_losing_the_last.function(ids, pair, new)
    return list(ids)


@mistake(
    "takes the longest token",
    "You take the longest token that fits at each place: that is WordPiece. Byte-pair encoding replays its merges, "
    "and may miss a longer token.",
)
def encode_longest_first(ids, merges):
    spelled = {}
    for (left, right), new in merges.items():
        spelled[new] = spelled.get(left, (left,)) + spelled.get(right, (right,))
    found, place = [], 0
    while place < len(ids):
        fitting = [new for new, parts in spelled.items() if tuple(ids[place : place + len(parts)]) == parts]
        longest = max(fitting, key=lambda new: len(spelled[new]), default=None)
        found.append(ids[place] if longest is None else longest)
        place += 1 if longest is None else len(spelled[longest])
    return found


@mistake(
    "takes the last merge first",
    "You start with the merge that was learned last: the rank counts from the first, which goes first.",
)
def encode_last_merge_first(ids, merges):
    ids = list(ids)
    while known := set(pairwise(ids)) & merges.keys():
        pair = max(known, key=merges.get)
        ids = tokenization.merge(ids, pair, merges[pair])
    return ids


@mistake(
    "merges each pair once",
    "You apply each merge at its first place only: it holds for every occurrence in the word.",
)
def encode_each_once(ids, merges):
    for pair, new in merges.items():
        ids = merge_first_only.function(ids, pair, new)
    return list(ids)


@mistake(
    "stops after one merge",
    "You stop after the first merge that applies: go on until no pair of the word is in `merges`.",
)
def encode_first_merge_only(ids, merges):
    known = set(pairwise(ids)) & merges.keys()
    if not known:
        return list(ids)
    pair = min(known, key=merges.get)
    return tokenization.merge(ids, pair, merges[pair])


ENCODE = Exercise(
    id="tokenization.encode",
    points=3,
    minutes=6,
    reference=tokenization.encode,
    probes=encode_probes,
    misconceptions=(
        encode_most_frequent_first,
        encode_most_frequent_then_leftmost,
        encode_leftmost_first,
        encode_smallest_ids,
        encode_largest_ids,
        encode_sorted,
        encode_in_one_pass,
        encode_in_one_pass_of_pairs,
        encode_losing_the_last,
        encode_longest_first,
        encode_last_merge_first,
        encode_each_once,
        encode_first_merge_only,
    ),
    hints=(
        "Replay the training: which merge was learned first?",
        (
            "`merges` is in rank order. Go through it once, and replace each pair wherever it is; a later pass can "
            "use the ids that an earlier one made."
        ),
        (
            "`for pair, new in merges.items():` and inside the loop of `merge`: walk along, replace, and make the "
            "result the new `ids`. Begin with `ids = list(ids)`."
        ),
    ),
)


# pad_batch


def pad_probes(rng: random.Random) -> Iterator[Probe]:
    for side in ("right", "left"):
        yield Probe(([[5, 6, 7], [8]], 0, side), "edges")
        yield Probe(([[5, 0], [0, 6, 0]], 0, side), "edges")
        yield Probe(([[], [4]], 9, side), "edges")
        yield Probe(([[], [], [], []], 1023, side), "edges")
        yield Probe(([[1, 2]], 0, side), "edges")
        for _ in range(2):
            pad = rng.randrange(10)
            lengths = rng.sample(range(1, 6), 3)
            rows = [[rng.randrange(10) for _ in range(length)] for length in lengths]
            rows[lengths.index(max(lengths))][0] = pad
            yield Probe((rows, pad, side), "typical")
        yield Probe(([[], *rows], pad, side), "typical")
    yield Probe(([], 0, "right"), "edges")
    yield Probe(([[1]], 0, "middle"), "edges")


@mistake(
    "takes the mask from the values",
    "You take the mask from `ids != pad`: a real token with that id is masked too. If the end token is also the "
    "padding, the model never learns to stop. The mask goes by position.",
)
def pad_mask_by_value(rows, pad, side):
    ids, _ = tokenization.pad_batch(rows, pad, side)
    return ids, (ids != pad).long()


@mistake(
    "pads on the wrong side",
    "Your sides are swapped: `left` means that the padding is on the left, before the tokens.",
)
def pad_wrong_side(rows, pad, side):
    return tokenization.pad_batch(rows, pad, {"left": "right", "right": "left"}.get(side, side))


@mistake(
    "pads on the right always",
    "You pad on the right whatever `side` says: a model that continues the rows would continue the padding.",
)
def pad_always_right(rows, pad, side):
    tokenization.pad_batch(rows, pad, side)
    return tokenization.pad_batch(rows, pad, "right")


@mistake("cuts to the shortest row", "You cut all rows to the shortest: tokens are lost. Pad to the longest.")
def pad_by_cutting(rows, pad, side):
    tokenization.pad_batch(rows, pad, side)
    shortest = min(len(row) for row in rows)
    return tokenization.pad_batch([row[:shortest] for row in rows], pad, side)


@mistake("inverts the mask", "Your mask is 1 on padding: in `transformers` 1 means a real token and 0 padding.")
def pad_mask_inverted(rows, pad, side):
    ids, mask = tokenization.pad_batch(rows, pad, side)
    return ids, 1 - mask


@mistake(
    "the mask is padded on the right always",
    "Your ids are right, but the mask is padded on the right whatever `side` says: pad both on the same side.",
)
def pad_mask_on_the_right(rows, pad, side):
    ids, _ = tokenization.pad_batch(rows, pad, side)
    return ids, tokenization.pad_batch(rows, pad, "right")[1]


@mistake(
    "float32 from an empty row",
    "An empty row without a type becomes float32, and makes what it is joined with float32. Give the type: "
    "`torch.tensor(row, dtype=torch.int64)`.",
)
def pad_floats_of_an_empty_row(rows, pad, side):
    ids, mask = tokenization.pad_batch(rows, pad, side)
    return (ids, mask) if rows[0] else (ids.float(), mask.float())


@mistake("mask and ids exchanged", "You return the mask first: `(ids, mask)` is the order.")
def pad_exchanged(rows, pad, side):
    ids, mask = tokenization.pad_batch(rows, pad, side)
    return mask, ids


@mistake("pads with 0 always", "You pad with 0. The padding is the id `pad`, whichever that is.")
def pad_with_zero(rows, pad, side):
    return tokenization.pad_batch(rows, 0, side)


PAD_BATCH = Exercise(
    id="tokenization.pad_batch",
    points=3,
    minutes=6,
    reference=tokenization.pad_batch,
    probes=pad_probes,
    compare=Comparison(dtype="int64"),
    torch=True,
    misconceptions=(
        pad_mask_by_value,
        pad_wrong_side,
        pad_always_right,
        pad_by_cutting,
        pad_mask_inverted,
        pad_mask_on_the_right,
        pad_floats_of_an_empty_row,
        pad_exchanged,
        pad_with_zero,
    ),
    hints=(
        "How long is the longest row, and how many pads does each row lack?",
        (
            "Build lists first: `row + [pad] * lacking` or `[pad] * lacking + row`, and the mask beside it from ones "
            "and zeros."
        ),
        (
            "`[1] * len(row) + [0] * lacking` is the mask on the right side; at the end `torch.tensor(…, "
            "dtype=torch.int64)` twice. Raise `ValueError` for no rows and for another side."
        ),
    ),
)


# matches


def matches_probes(rng: random.Random) -> Iterator[Probe]:
    yield Probe(({"a": 0, "b": 1}, {"a": 0, "b": 1}, 2), "edges")
    yield Probe(({"a": 0, "b": 1}, {"a": 0, "b": 1}, 5), "edges")
    yield Probe(({"a": 0, "b": 1}, {"b": 0, "a": 1}, 2), "edges")
    yield Probe(({"a": 0, "b": 2}, {"a": 0, "b": 2}, 2), "edges")
    yield Probe(({"a": 0, "b": 1}, {"a": 0, "b": 1}, 0), "edges")
    yield Probe(({"a": 0, "c": 1}, {"a": 0, "b": 1}, 2), "edges")
    yield Probe(({"a": 0}, {"a": 0, "b": 1}, 2), "edges")
    yield Probe(({"a": 0, "b": 1, "c": 2}, {"a": 0, "b": 1}, 3), "edges")
    yield Probe(({}, {}, 0), "edges")
    yield Probe(({"a": 0, "x": 2}, {"a": 0, "b": 1, "y": 2}, 3), "edges")
    yield Probe(({"p": 1, "q": 8}, {"x": 1, "y": 8}, 9), "edges")
    for _ in range(2):
        tokens = rng.sample(["the", "ing", "er", "an", "ou", "st"], 4)
        model = {token: id for id, token in enumerate(tokens)}
        swapped = dict(model)
        swapped[tokens[1]], swapped[tokens[3]] = 3, 1
        yield Probe((dict(model), dict(model), 4), "typical")
        yield Probe((dict(model), dict(model), 4 + rng.randint(1, 60)), "typical")
        yield Probe((swapped, dict(model), 4), "typical")
        yield Probe((dict(model), dict(model), 3), "typical")
        yield Probe((model | {"new": 4}, dict(model), 5), "typical")


@mistake(
    "compares sizes",
    "You compare how many tokens there are: a permuted vocabulary has the same number, but every id means another token.",
)
def matches_by_size(tokenizer_vocab, model_vocab, rows):
    return len(tokenizer_vocab) == len(model_vocab), None


@mistake(
    "compares tokens without their ids",
    "You compare the tokens and not their ids: the model sees ids only, so the same token must have the same one.",
)
def matches_by_tokens(tokenizer_vocab, model_vocab, rows):
    for token in sorted(tokenizer_vocab, key=tokenizer_vocab.get):
        if token not in model_vocab or tokenizer_vocab[token] >= rows:
            return False, token
    for token in sorted(model_vocab, key=model_vocab.get):
        if token not in tokenizer_vocab:
            return False, token
    return True, None


@mistake(
    "refuses spare rows",
    "You want exactly as many rows as tokens: many models have spare rows, rounded up for speed, which no id uses.",
)
def matches_without_spare_rows(tokenizer_vocab, model_vocab, rows):
    ok, token = tokenization.matches(tokenizer_vocab, model_vocab, rows)
    return (ok and rows == len(model_vocab)), token


@mistake(
    "does not look at the table",
    "You accept an id without a row, which is an error in the first step: every id must lie below `rows`.",
)
def matches_without_the_table(tokenizer_vocab, model_vocab, rows):
    return tokenization.matches(tokenizer_vocab, model_vocab, 10**9)


@mistake(
    "allows the id after the last row",
    "You allow an id that equals `rows`: ids begin at 0, so the last row is `rows - 1`.",
)
def matches_one_row_too_many(tokenizer_vocab, model_vocab, rows):
    return tokenization.matches(tokenizer_vocab, model_vocab, rows + 1)


@mistake(
    "looks at the highest id only",
    "You check whether the ids have a row, not whose row it is: a permuted vocabulary passes, and training gives garbage.",
)
def matches_by_highest_id(tokenizer_vocab, model_vocab, rows):
    for token in sorted(tokenizer_vocab, key=tokenizer_vocab.get):
        if tokenizer_vocab[token] >= rows:
            return False, token
    return True, None


MATCHES = Exercise(
    id="tokenization.matches",
    points=2,
    minutes=6,
    reference=tokenization.matches,
    probes=matches_probes,
    misconceptions=(
        matches_by_size,
        matches_by_tokens,
        matches_without_spare_rows,
        matches_without_the_table,
        matches_one_row_too_many,
        matches_by_highest_id,
    ),
    hints=(
        "Which token is at id 0 in the one and in the other? At id 1? …",
        "Invert both dictionaries, {id: token}, and go through all ids in ascending order.",
        (
            "At each id: `here.get(id) != there.get(id) or id >= rows` is the first difference; return False and "
            "`here.get(id, there.get(id))`."
        ),
    ),
)
