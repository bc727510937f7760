"""Dedup: the plain functions, the same in bulk, datasketch's signatures and candidates, and what is removed and why."""

from __future__ import annotations

import random
from collections import Counter
from itertools import combinations
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit import dedup
from labkit.common import InputError

words = st.text("ab cé\n", min_size=1, max_size=20)
sets = st.sets(st.sampled_from("abcdefgh"), max_size=6)
shingle_sets = st.lists(st.sets(st.text(max_size=8), min_size=1, max_size=12), max_size=8)


def sentences(count: int, seed: int = 0, edited: float = 0.5) -> list[str]:
    """Texts of 8 to 40 words of which a share are earlier ones with some words changed."""
    draw = random.Random(seed)
    texts: list[str] = []
    for number in range(count):
        if texts and draw.random() < edited:
            text = draw.choice(texts[-200:]).split()
            for _ in range(draw.randint(0, 3)):
                text[draw.randrange(len(text))] = f"other{number}"
        else:
            text = [f"w{draw.randrange(3000)}" for _ in range(draw.randint(8, 40))]
        texts.append(" ".join(text))
    return texts


# The plain functions


def test_shingles_by_hand():
    assert dedup.shingles("The old  Mill\nruns", 2) == {"the old", "old mill", "mill runs"}
    assert dedup.shingles("The old", 2) == dedup.shingles("THE old", 3) == {"the old"}
    assert dedup.shingles(" \n", 3) == dedup.shingles("", 1) == set()
    assert dedup.shingles("a b a b a", 2) == {"a b", "b a"}


@settings(deadline=None)
@given(words, st.integers(1, 5))
def test_shingles_are_the_runs_of_the_words(text, n):
    found, split = dedup.shingles(text, n), text.lower().split()
    assert len(found) <= max(len(split) - n + 1, bool(split))
    assert all(1 <= len(shingle.split()) <= n for shingle in found)
    assert {word for shingle in found for word in shingle.split()} == set(split)
    assert dedup.shingles(text.upper().lower(), n) == dedup.shingles(text.upper(), n)


@settings(deadline=None)
@given(sets, sets)
def test_jaccard(a, b):
    similarity = dedup.jaccard(a, b)
    assert similarity == dedup.jaccard(b, a) and 0 <= similarity <= 1
    assert (similarity == 1) == (a == b)
    assert not a & b or similarity == pytest.approx(len(a & b) / len(a | b))
    assert dedup.jaccard(set("abc"), set("bcde")) == 0.4 and dedup.jaccard(set(), set()) == 1


def test_minhash_by_hand():
    # 2·x + 1 mod 7 for 3, 5, 6: 0, 4, 6; 3·x mod 7: 2, 1, 4
    assert dedup.minhash([3, 5, 6], [2, 3], [1, 0], 7) == [0, 1]
    with pytest.raises(ValueError, match="no ids"):
        dedup.minhash([], [], [], 7)


def test_signatures_agree_as_often_as_jaccard_says():
    draw = random.Random(0)
    a, b = dedup.permutation_numbers(2000, 1)
    for shared in (0, 10, 20, 30):
        elements = [f"{draw.random()}" for _ in range(60 - shared)]
        pair = [set(elements[:30]), set(elements[30 - shared :])]
        first, second = dedup.signatures(pair, a, b)
        assert np.mean(first == second) == pytest.approx(dedup.jaccard(*pair), abs=0.04)


def test_candidate_probability():
    assert dedup.candidate_probability(0.8, 9, 13) == pytest.approx(0.40, abs=0.005)
    draw, hits = np.random.default_rng(0), []
    for _ in range(20):
        hits.append((draw.random((1000, 4, 3)) < 0.6).all(axis=2).any(axis=1).mean())
    assert dedup.candidate_probability(0.6, 4, 3) == pytest.approx(np.mean(hits), abs=0.02)


@settings(deadline=None)
@given(
    st.integers(0, 12).flatmap(
        lambda n: st.tuples(
            st.just(n), st.lists(st.tuples(*[st.integers(0, max(n - 1, 0))] * 2), max_size=12 if n else 0)
        )
    )
)
def test_clusters_are_the_connected_components(given_pairs):
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n, pairs = given_pairs
    groups = dedup.clusters(n, pairs)
    assert sorted(member for group in groups for member in group) == list(range(n))
    if n:
        i, j = np.array(pairs, dtype=int).reshape(-1, 2).T
        count, label = connected_components(coo_array((np.ones(len(pairs)), (i, j)), shape=(n, n)), directed=False)
        assert count == len(groups) and all(len(set(label[group])) == 1 for group in groups)


# The same in bulk


@settings(deadline=None)
@given(shingle_sets, st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_signatures_are_minhash_for_the_modulus_2_to_the_32(given_sets, permutations, seed):
    a, b = dedup.permutation_numbers(permutations, seed)
    bulk = dedup.signatures(given_sets, a, b)
    assert bulk.shape == (len(given_sets), permutations)
    for members, signature in zip(given_sets, bulk, strict=True):
        ids = dedup.shingle_ids([members])[0].tolist()
        assert dedup.minhash(ids, a.tolist(), b.tolist(), 2**32) == signature.tolist()


@settings(deadline=None, max_examples=30)
@given(shingle_sets, st.integers(0, 1000))
def test_signatures_are_those_of_datasketch(given_sets, seed):
    from datasketch import MinHash

    theirs = MinHash.bulk(
        [[shingle.encode() for shingle in members] for members in given_sets], num_perm=16, seed=seed, hashfunc=crc32
    )
    ours = dedup.signatures(given_sets, *dedup.permutation_numbers(16, seed))
    assert [signature.tolist() for signature in ours] == [one.hashvalues.tolist() for one in theirs]


def test_signatures_of_many_sets_are_made_in_batches_that_fit_together(monkeypatch):
    given_sets = [dedup.shingles(text, 3) for text in sentences(50)]
    a, b = dedup.permutation_numbers(8, 1)
    whole = dedup.signatures(given_sets, a, b)
    monkeypatch.setattr(dedup, "BATCH", 7)
    assert (dedup.signatures(given_sets, a, b) == whole).all()
    with pytest.raises(ValueError, match="without shingles"):
        dedup.signatures([{"a"}, set()], a, b)


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 1), min_size=6, max_size=6), min_size=1, max_size=12))
def test_keys_are_equal_where_all_rows_of_the_band_are(rows):
    signature = np.array(rows, np.uint32)
    keys = dedup.band_keys(signature, bands=2, rows=3)
    for band in range(2):
        for i, j in combinations(range(len(rows)), 2):
            same = rows[i][3 * band : 3 * band + 3] == rows[j][3 * band : 3 * band + 3]
            assert (keys[band][i] == keys[band][j]) == same


columns = st.integers(0, 30).flatmap(
    lambda n: st.lists(st.lists(st.integers(0, 4), min_size=n, max_size=n), min_size=1, max_size=3)
)


@settings(deadline=None)
@given(columns)
def test_candidates_are_the_pairs_with_a_common_key(given_columns):
    pairs, untried = dedup.candidate_pairs([np.array(column, np.uint64) for column in given_columns])
    n = len(given_columns[0])
    expected = [pair for pair in combinations(range(n), 2) if any(c[pair[0]] == c[pair[1]] for c in given_columns)]
    assert [tuple(pair) for pair in pairs.tolist()] == expected and untried == 0


@settings(deadline=None)
@given(columns)
def test_in_a_large_bucket_each_member_meets_the_first_and_the_ones_before(given_columns):
    pairs, untried = dedup.candidate_pairs([np.array(column, np.uint64) for column in given_columns[:1]], limit=10)
    found = {tuple(pair) for pair in pairs.tolist()}
    buckets = [[i for i, key in enumerate(given_columns[0]) if key == value] for value in range(5)]
    for bucket in buckets:
        for place, member in enumerate(bucket):
            reach = (
                bucket[:place] if len(bucket) <= 10 else {*bucket[:1], *bucket[max(place - dedup.WINDOW, 0) : place]}
            )
            assert {i for i, j in found if j == member} == set(reach) - {member}
    assert len(found) + untried == sum(len(bucket) * (len(bucket) - 1) // 2 for bucket in buckets)


def test_candidates_are_those_of_datasketch():
    from datasketch import MinHash, MinHashLSH

    given_sets = [dedup.shingles(text, 3) for text in sentences(300)]
    chosen = dedup.scheme(0.8, bands=18, rows=7)
    index = MinHashLSH(num_perm=128, params=(18, 7))
    theirs = MinHash.bulk([[s.encode() for s in each] for each in given_sets], num_perm=128, seed=1, hashfunc=crc32)
    for number, one in enumerate(theirs):
        index.insert(number, one)
    expected = sorted((i, j) for i, one in enumerate(theirs) for j in index.query(one) if i < j)
    assert len(expected) > 50
    assert [tuple(pair) for pair in dedup.candidates(given_sets, chosen)[0].tolist()] == expected


@settings(deadline=None)
@given(st.floats(0.05, 1), st.integers(64, 256))
def test_the_bands_find_95_percent_at_the_threshold_and_no_longer_ones_do(threshold, permutations):
    chosen = dedup.scheme(threshold, permutations=permutations)
    assert chosen.recall >= 0.95 and chosen.bands * chosen.rows <= permutations
    longer = chosen.rows + 1
    if longer <= permutations:
        assert dedup.candidate_probability(threshold, permutations // longer, longer) < 0.95


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"threshold": 0}, "threshold is 0"),
        ({"threshold": 1.1}, "threshold is 1.1"),
        ({"threshold": float("nan")}, "threshold is nan"),
        ({"threshold": 0.001}, "take more permutations"),
        ({"shingle": 0}, "shingle is 0"),
        ({"permutations": -1}, "permutations is -1"),
        ({"permutations": 4097}, "at most 4,096"),
        ({"bands": 0}, "bands is 0"),
        ({"bands": 10, "rows": 13}, "need 130 permutations, and there are 128"),
        ({"rows": 129}, "need 129 permutations"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_a_scheme_that_cannot_be_says_why(arguments, says):
    with pytest.raises(InputError, match=says):
        dedup.scheme(**arguments)


def test_one_of_bands_and_rows_is_enough():
    assert (dedup.scheme(bands=9).rows, dedup.scheme(rows=13).bands) == (14, 9)


# What is found and what is removed


edges = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12), st.sampled_from([0.8, 0.9, 1.0])), max_size=20).map(
    lambda ties: [(min(i, j), max(i, j), s, "near") for i, j, s in ties if i != j]
)


@settings(deadline=None)
@given(edges, st.sampled_from(dedup.KEEP))
def test_one_of_each_cluster_stays_and_the_neighbours_lead_to_it(ties, keep):
    length = [7 * index % 5 for index in range(13)]
    groups, removed = dedup.removals(ties, dedup.preference(keep, length.__getitem__))
    by_index = {removal.index: removal for removal in removed}
    assert [sorted(group) for group in groups] == [g for g in dedup.clusters(13, [t[:2] for t in ties]) if len(g) > 1]
    assert len(by_index) == len(removed) == sum(len(group) - 1 for group in groups)
    similarity = {(pair, s) for i, j, s, _ in ties for pair in ((i, j), (j, i))}
    for number, group in enumerate(groups):
        (kept,) = set(group) - set(by_index)
        right = {"first": group[0], "last": group[-1], "longest": max(group, key=lambda i: (length[i], -i))}
        assert kept == right[keep]
        steps_to = {kept: 0}
        for _ in group:  # a round reaches one step further
            steps_to |= {b: steps_to[a] + 1 for (a, b), _ in similarity if a in steps_to and b not in steps_to}
        for index in set(group) - {kept}:
            nearer = [s for (a, b), s in similarity if b == index and steps_to[a] == steps_to[index] - 1]
            assert by_index[index].similarity == max(nearer)
            assert steps_to[by_index[index].neighbour] == steps_to[index] - 1
            removal, steps = by_index[index], 0
            assert (removal.cluster, removal.kept) == (number, kept)
            assert ((index, removal.neighbour), removal.similarity) in similarity
            while removal.neighbour != kept:
                removal, steps = by_index[removal.neighbour], steps + 1
                assert steps < len(group)


def test_similarity_is_not_transitive_and_the_neighbour_says_so():
    text = [f"w{i}" for i in range(40)]
    front, back = ["x1", "x2", "x3"], ["y1", "y2", "y3"]
    chain = [" ".join(some) for some in (text, front + text[3:], front + text[3:-3] + back)]
    found = dedup.find(chain, threshold=0.8)
    assert found.clusters == [[0, 1, 2]] and found.kept == [0]
    assert [(r.index, r.neighbour, r.kept) for r in found.removed] == [(1, 0, 0), (2, 1, 0)]
    assert dedup.jaccard(dedup.shingles(chain[0], 3), dedup.shingles(chain[2], 3)) < 0.8


def test_find_counts_every_stage_and_verifies_every_removal():
    texts = sentences(400)
    found = dedup.find(texts)
    of = {stage.name: (stage.count, stage.of) for stage in found.stages}
    distinct = len(set(texts))
    assert distinct < 400
    assert of["exact hash"] == (distinct, 400) and of["in all"] == (len(found.kept), 400)
    assert of["MinHash and bands"] == (len(found.candidates), distinct * (distinct - 1) // 2)
    close = [pair for pair in found.candidates if pair[2] >= 0.8]
    assert of["true Jaccard"] == (len(close), len(found.candidates)) and len(close) < len(found.candidates)
    assert of["clusters"] == (len(found.kept), distinct)
    assert sorted([*found.kept, *(removal.index for removal in found.removed)]) == list(range(400))
    for removal in found.removed:
        a, b = (dedup.shingles(texts[index], 3) for index in (removal.index, removal.neighbour))
        assert dedup.jaccard(a, b) == removal.similarity >= 0.8
        assert (removal.reason == "exact") == (texts[removal.index] == texts[removal.neighbour])
    assert all(dedup.jaccard(dedup.shingles(texts[i], 3), dedup.shingles(texts[j], 3)) == s for i, j, s in found.pairs)
    assert found.table().count("\n") == len(found.stages) - 1


def test_borderline_pairs_lie_on_both_sides_of_the_threshold():
    found = dedup.find(sentences(400))
    shown = found.borderline(20)
    assert len(shown) == 20 and shown[0][2] >= 0.8 > shown[-1][2]
    furthest = max(abs(similarity - 0.8) for _, _, similarity in shown)
    assert all(abs(pair[2] - 0.8) >= furthest for pair in found.candidates if pair not in shown)


def test_recall_is_what_the_formula_promises():
    texts = list(dict.fromkeys(sentences(4000, seed=1)))
    given_sets = [dedup.shingles(text, 3) for text in texts]
    exact = list(dedup.exact_pairs(given_sets, 0.8))
    found = set(map(tuple, dedup.candidates(given_sets, dedup.scheme(0.8))[0].tolist()))
    assert len(exact) > 200
    recall = sum((i, j) in found for i, j, _ in exact) / len(exact)
    promised = np.mean([dedup.candidate_probability(s, 18, 7) for _, _, s in exact])
    assert recall >= 0.95 and recall == pytest.approx(promised, abs=0.02)
    assert 0 < len(found - {(i, j) for i, j, _ in exact})


@settings(max_examples=50, deadline=None)
@given(st.lists(sets.filter(bool), max_size=12), st.sampled_from([0.3, 0.5, 0.8, 1.0]))
def test_exact_pairs_are_all_pairs(given_sets, threshold):
    every = [(i, j, dedup.jaccard(given_sets[i], given_sets[j])) for i, j in combinations(range(len(given_sets)), 2)]
    assert sorted(dedup.exact_pairs(given_sets, threshold)) == [pair for pair in every if pair[2] >= threshold]


@pytest.mark.parametrize(
    ("texts", "kept", "reasons"),
    [
        ([], [], {}),
        (["one"], [0], {}),
        (["one", "One ", "two"], [0, 2], {"exact": 1}),
        (["all the same words"] * 300, [0], {"exact": 299}),
        ([f"{i} nothing in common {i * i}x" for i in range(300)], list(range(300)), {}),
    ],
)
def test_extremes(texts, kept, reasons):
    found = dedup.find(texts)
    assert found.kept == kept and Counter(removal.reason for removal in found.removed) == reasons


def test_a_cluster_that_holds_everything_is_one_cluster_though_not_every_pair_is_tried():
    common = " ".join(f"word{i}" for i in range(60))
    texts = [f"{common} number{i}" for i in range(1000)]
    found = dedup.find(texts)
    assert found.kept == [0] and found.clusters == [list(range(1000))]
    assert len(found.candidates) < 50_000 < 1000 * 999 // 2


@pytest.mark.parametrize(
    ("text", "says"), [("", "text 1 has no words"), (" \n", "no words"), (None, "NoneType"), ("\ud800", "surrogate")]
)
def test_a_text_that_is_none_is_named(text, says):
    with pytest.raises(InputError, match=says):
        dedup.find(["good", text])
    with pytest.raises(InputError, match="keep is 'best'"):
        dedup.find(["good"], keep="best")


def test_a_difference_shows_both_texts_as_one():
    assert dedup.difference("the old mill runs", "the new mill runs well") == "the [-old-] {+new+} mill runs {+well+}"
    assert dedup.difference("a b", "a b") == "a b" and dedup.difference("a", "") == "[-a-]"


def test_shares_are_never_rounded_to_nothing():
    assert [dedup.share_text(share) for share in (0, 1, 0.953, 7.46e-5, 0.001)] == [
        "0.0%",
        "100.0%",
        "95.3%",
        "7e-5",
        "0.1%",
    ]


@given(st.text(st.characters(max_codepoint=127), max_size=40).filter(str.strip), st.integers(1, 4))
def test_the_quick_way_for_plain_letters_reads_as_the_other(text, n):
    assert dedup.Reading().shingles(text, n) == dedup.Reading(unit="words").shingles(text, n)


def test_the_marks_that_open_a_spanish_sentence_are_marks():
    reading = dedup.Reading()
    assert reading.shingles("¿Cómo estás? ¡Muy bien!", 2) == reading.shingles("Cómo estás Muy bien", 2)


UNSPACED = st.text(st.sampled_from("あいう港灯塔ไทย。、 \nAé"), min_size=1, max_size=12).filter(str.strip)


@given(
    st.lists(UNSPACED, min_size=2, max_size=6), st.integers(1, 4), st.sampled_from([(), ("case",), ("punctuation",)])
)
def test_numbers_of_characters_are_those_of_the_shingles(texts, n, ignore):
    """Equal numbers where the shingles are equal, and only there: many texts at once as one alone."""
    reading = dedup.Reading("characters", ignore)
    sets, numbers = [reading.shingles(text, n) for text in texts], reading.numbers(texts, n)
    for i, one in enumerate(texts):
        assert numbers[i].tolist() == reading.numbers([one], n)[0].tolist()
        for j in range(i):
            shared = len(set(numbers[i].tolist()) & set(numbers[j].tolist()))
            assert shared == len(sets[i] & sets[j]) and len(set(numbers[i].tolist())) == len(sets[i])


@given(st.lists(st.one_of(UNSPACED, st.just("the old mill"), st.just("l'été")), min_size=1, max_size=6))
def test_each_text_has_its_own_unit_among_others(texts):
    reading = dedup.Reading()
    for text, found in zip(texts, reading.numbers(texts, 3), strict=True):
        assert (reading.unit_of(text) == "characters") == isinstance(found, np.ndarray)
        assert isinstance(found, np.ndarray) or found == reading.shingles(text, 3)
