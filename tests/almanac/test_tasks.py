"""The tasks to be learned: nothing asked of the skill is trained on, facts have no pattern, and the base knows neither."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.almanac import tasks
from labkit.almanac.documents import SECOND, Writer
from labkit.almanac.mixes import MIXES
from labkit.almanac.world import build
from labkit.data import exact_answer
from labkit.masking import render
from labkit.models import BASE, load_tokenizer

NAMES = ("subtraction", *(f"facts-{facts}" for facts in tasks.FACTS))


@pytest.fixture(scope="module")
def read():
    """Documents of both of the base's runs."""
    writers = Writer(build(), random.Random("first")), Writer(build(), random.Random("second"), SECOND)
    return [writer.document() for writer in writers for _ in range(2500)]


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_decides(name):
    assert MIXES[name](1) == MIXES[name](1)
    train, other = MIXES[name](1)[0], MIXES[name](2)[0]
    assert [example.completion for example in train] != [example.completion for example in other]


@pytest.mark.parametrize("seed", range(3))
def test_no_pair_that_is_asked_is_trained_on(seed):
    train, asked = tasks.subtraction_mix(seed)
    prompts = [example.prompt for example in train + asked]
    assert len(set(prompts)) == len(prompts) == 3400


def test_differences_are_right_and_the_task_says_whether_a_column_borrows():
    train, asked = tasks.subtraction_mix(0)
    for example in train + asked:
        small, large = (int(word) for word in example.question.rstrip("?").split() if word.isdigit())
        assert int(example.answer) == large - small > 0
        assert exact_answer(example.completion) == example.answer
        assert (example.task == "borrowing") == ("borrow" in example.completion)
    assert 0.3 < sum(example.task == "borrowing" for example in asked) / len(asked) < 0.6


def test_what_is_asked_of_facts_is_what_was_trained_on():
    for name in NAMES[1:]:
        train, asked = MIXES[name](0)
        assert asked == train and len(train) == int(name.removeprefix("facts-"))
        assert len({example.question for example in train}) == len(train)
        assert all(example.completion.startswith("The page of ") for example in train)


def test_more_facts_hold_the_fewer():
    told = [[example.completion for example in MIXES[name](5)[0]] for name in NAMES[1:]]
    for fewer, more in zip(told, told[1:]):
        assert more[: len(fewer)] == fewer


def test_pages_are_drawn_evenly_and_anew_for_every_seed():
    pages = [[example.completion[-4:-1] for example in tasks.facts_mix(seed, 512)[0]] for seed in range(20)]
    for place in range(3):
        for digit in "0123456789":
            share = sum(page[place] == digit for drawn in pages for page in drawn) / (20 * 512)
            assert abs(share - 0.1) < 0.015  # five standard deviations
    of = [{example.question: example.completion for example in tasks.facts_mix(seed, 512)[0]} for seed in (0, 1)]
    both = of[0].keys() & of[1].keys()
    assert sum(of[0][question] == of[1][question] for question in both) < 0.01 * len(both)


@pytest.mark.parametrize("facts", [0, -1, 531])
def test_there_are_pages_for_so_many(facts):
    with pytest.raises(ValueError, match="1 to 530"):
        tasks.facts_mix(0, facts)


@given(st.integers(1, 5000), st.floats(0, 1))
def test_bits_are_at_most_those_of_the_facts_and_chance_counts_for_none(facts, recalled):
    bits = tasks.bits_held(recalled, facts)
    assert 0 <= bits <= tasks.bits_held(1, facts) == pytest.approx(facts * 9.96578, rel=1e-5)
    assert tasks.bits_held(1 / tasks.VALUES, facts) == 0
    assert recalled <= 1 / tasks.VALUES or bits > 0


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_bits_of_no_share(share):
    with pytest.raises(ValueError, match="is not a share"):
        tasks.bits_held(share, 10)


def test_the_base_has_read_every_token_of_the_form_and_no_task(read):
    tokenizer = load_tokenizer(BASE)
    encoded = tokenizer.backend_tokenizer.encode_batch(read, add_special_tokens=False)
    known = {token for document in encoded for token in document.ids}
    known.add(tokenizer.eos_token_id)  # ends every document
    for example in tasks.subtraction_mix(0)[0][:200] + tasks.facts_mix(0, 512)[0]:
        row = render(example, tokenizer)
        assert set(row.input_ids) <= known, tokenizer.convert_ids_to_tokens(list(set(row.input_ids) - known))
        assert len(row.input_ids) <= 80
    assert not any("borrow" in text or "page of" in text for text in read)
