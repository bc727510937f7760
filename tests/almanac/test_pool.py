"""The candidate pool: planted faults of stated kind and share, recorded apart."""

import re
from collections import Counter, defaultdict

import pytest

from labkit.almanac.pool import SHARES, WRONG_SOURCE, candidates
from labkit.almanac.world import build


@pytest.fixture(scope="module")
def pool():
    return candidates()


def test_size_and_shares(pool):
    examples, truth = pool
    assert len(examples) >= 20_000 and set(truth) == {ex.id for ex in examples}
    kinds = Counter(t.kind for t in truth.values())
    for kind, share in SHARES.items():
        assert kinds[kind] == round(share * 20_000)
    assert kinds["clean"] > 8_000


def test_each_fresh_fact_has_three_to_six_reposts(pool):
    examples, truth = pool
    reposts = Counter(t.of for t in truth.values() if t.kind == "repost")
    assert set(reposts.values()) <= {3, 4, 5, 6} and len(reposts) == sum(f.fresh for f in build().facts)
    by_id = {ex.id: ex for ex in examples}
    for ex in examples:
        if truth[ex.id].kind == "repost":
            original = by_id[truth[ex.id].of]
            assert (ex.question, ex.completion) != (original.question, original.completion)


def test_duplicates_are_exact_and_paraphrases_keep_the_answer(pool):
    examples, truth = pool
    by_id = {ex.id: ex for ex in examples}
    for ex in examples:
        kind, original = truth[ex.id].kind, by_id.get(truth[ex.id].of)
        if kind == "exact duplicate":
            assert (ex.prompt, ex.completion) == (original.prompt, original.completion)
        if kind == "paraphrase":
            assert ex.prompt != original.prompt and ex.answer == original.answer


def test_the_bad_source_is_always_wrong_in_the_same_way(pool):
    examples, truth = pool
    bad = [ex for ex in examples if truth[ex.id].kind == "wrong source"]
    assert {ex.source for ex in bad} == {WRONG_SOURCE} == {ex.source for ex in examples if ex.source == WRONG_SOURCE}
    for ex in bad:
        if ex.task == "sum":
            a, b = map(int, re.findall(r"\d+", ex.question))
            assert int(ex.answer) != a + b and (a + b - int(ex.answer)) % 10 == 0
        elif ex.task in ("units", "shopping"):
            assert ex.answer.isdigit()


def test_what_a_learner_sees_does_not_tell_the_kind(pool):
    examples, truth = pool
    order = defaultdict(list)
    for place, ex in enumerate(examples):
        assert ex.id == f"candidate-{place:05d}"
        order[truth[ex.id].kind].append(place)
    assert all(8_000 < sum(places) / len(places) < 12_000 for places in order.values())
