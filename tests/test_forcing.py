"""Teacher forcing: what is compared position by position, and mistakes that are planted."""

import pytest
import torch
from sums import number_questions

from labkit import forcing, models
from labkit.forcing import Followed


@pytest.fixture(scope="module")
def base(tiny_model_folder):
    return models.load(tiny_model_folder, device="cpu")


def test_shares_count_only_rows_that_have_a_token_there():
    followed = Followed(
        truth=[[1, 2, 3], [1, 9], [4, 5]], given=[[1, 2, 3], [1, 9], [4, 5]], own=[[1, 2], [1, 9], [7, 5]]
    )
    assert followed.right("given", 4) == [1, 1, 1, 0]
    assert followed.right("own", 3) == [2 / 3, 1, 0]  # what was not written is not right
    assert followed.begun(2) == [0, 1]
    assert followed.right("own", 2, rows=[1]) == [1, 1]
    assert followed.right("own", 2, rows=[]) == [0, 0]  # no rows are not all rows


def test_given_the_truth_and_its_own_words_agree_where_its_own_are_right(base):
    model, tokenizer = base
    examples = number_questions(6)
    followed = forcing.follow(model, tokenizer, examples, most=12)
    for truth, given, own in zip(followed.truth, followed.given, followed.own):
        assert len(given) == len(truth) and truth[-1] == tokenizer.eos_token_id
        assert given[0] == own[0]  # the first token has the same beginning in both


def test_a_planted_digit_is_one_too_high_and_the_rest_is_the_truth(base):
    _, tokenizer = base
    examples = number_questions(40)
    planted = forcing.plant(examples, tokenizer)
    assert planted and planted == forcing.plant(examples, tokenizer)
    for each in planted:
        true = tokenizer.decode(each.before[-1:]), each.example.completion
        row = forcing.render(each.example, tokenizer).input_ids
        assert row[: len(each.before)] == each.before, true
        here, wrong = tokenizer.decode(row[len(each.before)]), tokenizer.decode(each.wrong[len(each.before) :])
        assert int(wrong) == int(here) + 1
        assert each.wrong[: len(each.before)] == each.before


def test_token_by_token_gives_the_logits_of_one_pass(base):
    model, _ = base
    ids = torch.randint(5, 200, (1, 9), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        whole = model(input_ids=ids).logits[0]
    loop = forcing.one_by_one(model, ids)
    assert loop.shape == whole.shape and torch.allclose(loop, whole, atol=1e-4)


def test_learning_and_writing_leave_the_model_as_it_was(base):
    model, _ = base
    ids = torch.randint(5, 200, (2, 6), generator=torch.Generator().manual_seed(0))
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    assert forcing.seconds(forcing.learn, model, ids) > 0 and forcing.seconds(forcing.write, model, ids) > 0
    assert all(weight.equal(before[name]) for name, weight in model.named_parameters())
    assert all(weight.grad is None for weight in model.parameters())
