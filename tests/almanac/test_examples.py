"""Examples: the same question always has the same right answer at the same date, and held out means held out."""

import random
import re
from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.almanac import examples as almanac
from labkit.almanac.examples import (
    FAMILIES,
    Asker,
    example,
    few_shot,
    fresh_examples,
    long_mix,
    out_of_distribution,
    parts,
    short_mix,
    unknown_examples,
)
from labkit.almanac.world import CUTOFF, build
from labkit.data import exact_answer


@pytest.fixture(scope="module")
def mix():
    return short_mix(0, train=3000, test=500)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([True, False, None]))
def test_same_question_same_date_same_answer(seed, fresh):
    """Over many draws no prompt gets two answers; and what the answer says is the world's fact on the example's day."""
    world, rng = build(), random.Random(seed)
    answers = defaultdict(set)
    tasks = ["town", "person", "as of", "event"] + (
        ["two steps", "compare", "reading", "sum", "shopping", "units", "dates"] if fresh is False else []
    )
    for part in ("seen", "held", "rare"):
        asker = Asker(world, rng, part, fresh=fresh)
        for task in tasks * 4:
            if task == "event" and not any(
                fresh is None or world.by_key[e.name, "date"][0].fresh == fresh for e in parts()["event", part]
            ):
                continue
            ex = example(asker.problem(task), rng, "")
            answers[ex.prompt].add(ex.answer)
            assert exact_answer(ex.completion) == ex.answer
            if told := re.fullmatch(
                r"The ([\w ]+?) of (?:the )?([\w ]+?)(?: in (\d{4}))? is ([\w ]+)\. Answer: ([\w ]+)", ex.completion
            ):
                attribute, subject, year, value, _ = told.groups()
                if (subject, attribute) in world.by_key:
                    fact = world.fact(subject, attribute, f"{year}-07-01" if year else ex.date)
                    assert fact is not None and fact.value == value.removesuffix(" pence")
                    assert ex.date >= fact.since
    assert all(len(found) == 1 for found in answers.values())


def test_families_take_equal_parts(mix):
    train, test = mix
    assert {ex.task for ex in train} == {ex.task for ex in test} == set(FAMILIES) and len(FAMILIES) >= 8
    assert all(40 <= sum(ex.task == task for ex in test) <= 50 for task in FAMILIES)


def test_no_prompt_of_the_test_is_trained_on(mix):
    train, test = mix
    assert len(test) == 500 and not {ex.prompt for ex in train} & {ex.prompt for ex in test}
    assert len({ex.prompt for ex in test}) == 500 and len({ex.prompt for ex in train}) == len(train)


def test_held_out_towns_and_people_are_named_by_no_training_question_and_by_half_the_tests(mix):
    train, test = mix
    held = {e.name for kind in ("town", "person") for e in parts()[kind, "held"]}

    def names(ex):
        return {name for name in held if re.search(rf"\b{name}\b", ex.question)}

    assert not any(names(ex) for ex in train if ex.task != "reading")
    for task in ("town", "person", "event", "two steps", "compare"):
        asked = [ex for ex in test if ex.task == task]
        assert 0.4 <= sum(bool(names(ex)) for ex in asked) / len(asked) <= 0.6, task


def test_the_mixes_hold_nothing_fresh(mix):
    world = build()
    fresh = {(f.subject, f.value) for f in world.facts if f.fresh}
    old = {(f.subject, f.value) for f in world.facts if not f.fresh}
    for ex in mix[0] + mix[1]:
        for subject, value in re.findall(
            r"The [\w ]+? of (?:the )?([\w ]+?)(?: in \d{4})? is ([\w ]+?)(?: pence)?\.", ex.completion
        ):
            assert (subject, value) not in fresh - old
    asked = fresh_examples(100)
    assert all(ex.date >= CUTOFF for ex in asked) and len({ex.prompt for ex in asked}) == 100


def test_long_prompts_are_four_fifths(mix):
    train, _ = long_mix(0, train=300, test=11)
    prompt, completion = (sum(len(getattr(ex, part).split()) for ex in train) for part in ("prompt", "completion"))
    assert 0.75 < prompt / (prompt + completion) < 0.88
    assert all(ex.shots and ex.prompt.endswith(ex.question) for ex in train)


def test_shots_come_from_the_same_family_and_never_hold_the_question(mix):
    for ex in few_shot(mix[1][:60]):
        assert len(ex.shots) == 4
        assert all(ex.question != question.split("\n")[-1] or ex.context for question, _ in ex.shots)


@pytest.mark.parametrize("kind", almanac.OUT_OF_DISTRIBUTION)
def test_out_of_distribution(kind, mix):
    asked = out_of_distribution(kind, 50)
    assert len(asked) == 50
    trained = {ex.prompt for ex in mix[0]}
    assert not any(ex.prompt in trained for ex in asked)
    if kind == "long tail":
        rare = {e.name for e in build().entities if e.rare}
        assert all(any(name in ex.question for name in rare) for ex in asked)
    if kind == "family":
        assert not {ex.task for ex in asked} & set(FAMILIES)


def test_a_town_that_does_not_exist_does_not_exist():
    assert all(not any(re.search(rf"\b{name}\b", ex.question) for name in build().names) for ex in unknown_examples(40))


def test_the_answer_only_form():
    train, _ = short_mix(0, train=50, test=11, thought=False)
    assert all(ex.completion == f"Answer: {ex.answer}" for ex in train)


def test_the_seed_decides_the_mix():
    assert short_mix(0, 40, 11) == short_mix(0, 40, 11) != short_mix(1, 40, 11)
