"""The mixes of lab 01 and the capstone: nothing that is asked is trained on, and splits differ only in what they say."""

import re
from collections import Counter

import pytest

from labkit import runs
from labkit.almanac import capstone, examples, mixes
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


def test_a_clean_pool_holds_none_of_the_questions():
    clean, asked = mixes.clean_mix(1)
    assert not {ex.prompt for ex in asked} & {ex.prompt for ex in clean} and len(clean) > 7000


def total(ex) -> int:
    return sum(map(int, re.findall(r"\d+", ex.question)))


def test_the_second_sources_differ_in_their_sums_alone_and_are_wrong_as_they_say():
    made = {way: mixes.sums_mix(way, 2) for way in mixes.SUMS}
    asked = made["sound"][1]
    assert len(asked) == 110 and all(questions == asked for _, questions in made.values())
    prompts = [ex.prompt for ex in made["sound"][0]]
    assert len(prompts) == 1920 and not {*prompts} & {ex.prompt for ex in asked}
    for way, (train, _) in made.items():
        assert sorted(ex.prompt for ex in train) == sorted(prompts)
        sums = [ex for ex in train if ex.task == "sum"]
        wrong = [ex for ex in sums if ex.answer != str(total(ex))]
        assert (len(sums), len(wrong)) == (640, 0 if way in ("sound", "bare") else 320)
        assert all(ex.completion.endswith(f"Answer: {ex.answer}") for ex in sums)
        bare = [ex for ex in sums if "write" not in ex.completion]
        assert len(bare) == (320 if way.startswith("bare") else 0)
        if way == "pedlar":
            assert not any("carry" in ex.completion for ex in wrong)
    slips = [int(ex.answer) - total(ex) for ex in made["random"][0] if ex.task == "sum" and ex.answer != str(total(ex))]
    assert len(set(slips)) > 10 and {abs(slip) for slip in slips} & {1, 10, 100}


def test_a_filler_is_as_long_as_the_chain_and_other_words_say_the_same():
    plain, filler, other = examples.short_mix(0)[0], *(mixes.thought_mix(way, 0)[0] for way in ("filler", "other"))
    for one, empty, told in list(zip(plain, filler, other))[:300]:
        assert one.prompt == empty.prompt == told.prompt and one.answer == empty.answer == told.answer
        assert len(empty.completion.split()) == len(one.completion.split())
        assert set(empty.completion.rpartition(" Answer: ")[0].split()) == {"so"}
        assert (
            re.findall(r"\d+", told.completion) == re.findall(r"\d+", one.completion) and "plus" not in told.completion
        )


def test_taught_facts_are_asked_in_a_third_phrasing_and_the_questions_are_the_same():
    (none, asked), (taught, same) = mixes.knowledge_mix(False, 1), mixes.knowledge_mix(True, 1)
    assert asked == same and Counter(ex.task for ex in asked) == {"taught": 64, "untaught": 64, "known": 64}
    assert len(none) == len(taught) == 1280 and sum(ex.task == "taught" for ex in taught) == 128
    prompts = {ex.prompt for ex in asked}
    assert not prompts & {ex.prompt for ex in taught} and not prompts & {ex.prompt for ex in none}
    told = {ex.completion for ex in taught}
    assert all((ex.completion in told) == (ex.task == "taught") for ex in asked if ex.task != "known")


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
