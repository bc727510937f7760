"""The mixes of lab 01 and the capstone: nothing that is asked is trained on, and splits differ only in what they say."""

from collections import Counter

import pytest

from labkit import runs
from labkit.almanac import capstone, mixes, pool
from labkit.almanac.world import CUTOFF, build

pytestmark = pytest.mark.slow

SPLITS = ("posts_random", "posts_cluster", "posts_time", "posts_time_cluster")


@pytest.fixture(scope="module")
def splits():
    return {name: getattr(mixes, f"{name}_mix")(3) for name in SPLITS}


def siblings(split):
    """The share of the questions whose planted cluster has a post among those trained on."""
    made = mixes.posts(3)
    cluster = dict(zip((post.id for post in made.posts), made.of))
    train, asked = split
    trained = {cluster[post.id] for post in train}
    return sum(cluster[post.id] in trained for post in asked) / len(asked)


def test_the_four_splits_ask_the_same_and_train_on_as_many_posts(splits):
    asked = [questions for _, questions in splits.values()]
    assert all(questions == asked[0] for questions in asked)
    assert {len(train) for train, _ in splits.values()} == {320}
    assert Counter(post.task for post in asked[0]) == dict.fromkeys(mixes.KINDS, 15)
    for train, questions in splits.values():
        assert not {post.id for post in train} & {post.id for post in questions}
    assert all(post.date >= mixes.TURN for post in asked[0])


def test_a_random_split_leaks_a_time_cut_leaks_less_and_clusters_hardly(splits):
    assert siblings(splits["posts_random"]) > 0.8
    assert 0.2 < siblings(splits["posts_time"]) < 0.6
    assert siblings(splits["posts_cluster"]) < 0.1 and siblings(splits["posts_time_cluster"]) < 0.1


def test_before_the_turn_means_before(splits):
    for name in ("posts_time", "posts_time_cluster"):
        assert all(post.date < mixes.TURN for post in splits[name][0])
    assert any(post.date >= mixes.TURN for post in splits["posts_cluster"][0])


def test_the_base_has_read_of_unchanged_facts_only():
    world, made = build(), mixes.posts(0)
    told = {(fact.subject, fact.value) for fact in world.facts if not fact.fresh}
    for post in made.posts:
        assert CUTOFF <= post.date <= "2025-12-31"
        value = post.answer.removesuffix(" pence")
        known = any(subject in post.completion and value == each for subject, each in told)
        assert post.task == "changed" or known == (post.task == "unchanged"), post.completion


def test_clusters_are_nearly_the_planted_ones():
    made = mixes.posts(0)
    planted = [{place for place, of in enumerate(made.of) if of == number} for number in set(made.of)]
    found = [set(cluster) for cluster in made.clusters]
    assert sum(cluster in found for cluster in planted) >= 0.9 * len(planted)
    assert sorted(place for cluster in made.clusters for place in cluster) == list(range(len(made.posts)))


def test_clean_and_dirty_ask_the_same_and_train_on_none_of_it():
    (dirty, asked), (clean, same) = mixes.dirty_mix(1), mixes.clean_mix(1)
    assert asked == same and not {ex.prompt for ex in asked} & {ex.prompt for ex in dirty}
    assert {ex.id for ex in clean} < {ex.id for ex in dirty}
    truth = pool.candidates(seed=1)[1]
    assert {truth[ex.id].kind for ex in clean} <= {"clean", "repost", "paraphrase", "exact duplicate", "truncated"}
    assert sum(truth[ex.id].kind == "truncated" for ex in clean) < 0.002 * len(clean)


def test_answers_are_the_same_questions_without_the_chain_of_thought():
    (train, _), (whole, asked) = mixes.answers_mix(0), runs.mix(runs.Recipe("x", "01"))
    assert [ex.prompt for ex in train] == [ex.prompt for ex in whole]
    assert all(ex.completion == f"Answer: {ex.answer}" for ex in train)
    assert runs.mix(runs.RECIPES["data-answers"])[1] == asked


@pytest.mark.parametrize("ways", [{}, {"clean": False}, {"apart": False}])
def test_the_capstones_ways_to_prepare_differ_in_one_thing_each(ways):
    letters, truth = capstone.gathered(4)
    train, held = mixes.prepared(4, **ways)
    assert len(held) >= mixes.HELD_OUT and not {ex.id for ex in train} & {ex.id for ex in held}
    assert {ex.id for ex in train + held} <= {ex.id for ex in letters}
    kinds = {truth[ex.id].kind for ex in train}
    assert ("wrong source" in kinds) == ("mojibake" in kinds) == (ways == {"clean": False})
    clusters = mixes.clusters_of([*held, *train])
    crossing = sum(min(cluster) < len(held) <= max(cluster) for cluster in clusters)
    assert crossing > 20 if ways == {"apart": False} else crossing <= 1  # taking letters away can tie others anew


def test_the_capstones_runs_are_asked_the_same_unseen_questions():
    asked = {name: mixes.MIXES[name](4)[1] for name in ("capstone", "capstone_dirty", "capstone_leaked")}
    assert asked["capstone"] == asked["capstone_dirty"] == asked["capstone_leaked"]
    train, held = mixes.MIXES["capstone_held_out"](4)
    assert train == mixes.MIXES["capstone"](4)[0] and held != asked["capstone"]
