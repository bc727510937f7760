"""Best of n: the expectation is that over all subsets, and picking by a reward never lowers that reward."""

import dataclasses
from itertools import combinations
from statistics import mean

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sums import number_questions

from labkit import best_of, models, runs
from labkit.common import InputError
from labkit.masking import prompt_ids

samples = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 1)), min_size=1, max_size=7)


@given(samples, st.integers(1, 7))
def test_the_expected_best_is_the_mean_over_all_subsets(pairs, count):
    count = min(count, len(pairs))
    by, graded = zip(*pairs)
    bests = [max(subset, key=lambda index: (by[index], index)) for subset in combinations(range(len(pairs)), count)]
    assert best_of.expected_best(by, graded, count) == pytest.approx(mean(graded[index] for index in bests))


@given(samples)
def test_the_reward_that_picks_never_falls(pairs):
    by = [reward for reward, _ in pairs]
    found = [best_of.expected_best(by, by, count) for count in range(1, len(by) + 1)]
    assert all(b >= a - 1e-9 for a, b in zip(found, found[1:])) and found[-1] == pytest.approx(max(by))


def test_more_than_there_are_is_refused():
    with pytest.raises(InputError, match="best of 3 cannot be taken from 2"):
        best_of.expected_best([1, 2], [0, 1], 3)


def test_the_two_rewards_grade_other_things():
    example = number_questions(1)[0]
    right = example.completion
    assert best_of.exactness(right, example) == 1 and best_of.exactness(right + "0", example) == 0
    assert best_of.thoroughness("very " * 9 + right, example) == best_of.thoroughness(right, example) + 9
    assert best_of.thoroughness("a long text without the form", example) == 0


def test_samples_are_drawn_from_the_seed_and_in_the_order_of_the_questions(tiny_model_folder):
    model, tokenizer = models.load(tiny_model_folder, device="cpu")
    asked = number_questions(10)
    drawn = [best_of.sample(model, tokenizer, asked, 3, seed, max_new_tokens=5) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2] and [len(answers) for answers in drawn[0]] == [3] * 10
    curve = best_of.curve(drawn[0], asked, seed=1, counts=(1, 3))
    assert curve.by_a[0] <= curve.by_a[1] and len(curve.by_b) == 2


def test_samples_are_those_that_transformers_draws_on_a_cpu(tiny_model_folder):
    model, tokenizer = models.load(tiny_model_folder, device="cpu")
    asked = number_questions(1)
    ids = torch.tensor([prompt_ids(asked[0], tokenizer)])
    torch.manual_seed(3)
    options = {"do_sample": True, "top_k": 0, "top_p": 1.0, "num_return_sequences": 4, "max_new_tokens": 6}
    written = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), pad_token_id=0, **options)
    theirs = tokenizer.batch_decode(written[:, ids.shape[1] :], skip_special_tokens=True)
    assert best_of.sample(model, tokenizer, asked, 4, seed=3, max_new_tokens=6) == [theirs]


def test_what_is_recorded_is_of_the_policy_as_it_is_and_of_enough_seeds():
    curves = best_of.recorded()
    assert len(curves) >= 4 and [each.seed for each in curves] == list(range(len(curves)))
    for each in curves:
        assert each.counts == best_of.COUNTS and list(each.by_a) == sorted(each.by_a)
        assert all(0 <= share <= 1 for share in each.by_b)


def test_a_record_of_another_policy_is_refused(monkeypatch):
    changed = dataclasses.replace(runs.named(best_of.POLICY), steps=7)
    monkeypatch.setitem(runs.RECIPES, best_of.POLICY, changed)
    with pytest.raises(InputError, match="changed since"):
        best_of.recorded()


def test_it_goes_on_where_it_was_interrupted(monkeypatch, tmp_path):
    recorded, asked = best_of.recorded(), []
    monkeypatch.setattr(best_of, "place", lambda: tmp_path / "record.json")
    best_of._record([recorded[2], recorded[0]])

    def measured(function, seeds, workers, progress):
        asked.extend(seeds)
        for seed in seeds:
            progress(seed, recorded[seed])

    monkeypatch.setattr(best_of.cluster, "map", measured)
    monkeypatch.setattr("sys.argv", ["best_of", "--seeds", "4"])
    best_of.main()
    assert asked == [1, 3] and best_of.recorded() == recorded[:4]
