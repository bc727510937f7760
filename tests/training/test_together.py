"""Many adapters at once are what each would have been alone, and one that fails does not touch the others."""

import math

import pytest
import torch
from sums import number_questions

from labkit import models
from labkit.masking import render
from labkit.training import Settings, Trial, fit_alone, fit_together, groups
from labkit.training.together import NotAtOnce

STEPS = 12


@pytest.fixture(scope="module")
def base(tiny_model_folder):
    model, tokenizer = models.load(tiny_model_folder, "cpu")
    rows = [vars(render(example, tokenizer)) for example in number_questions(60)]
    return model, tokenizer.pad_token_id, rows


def trial(lr: float, rank: int, seed: int, **more) -> Trial:
    settings = Settings(steps=STEPS, batch_size=8, lr=lr, seed=seed, number_format="float32", **more)
    return Trial(settings, rank=rank, alpha=2.0 * rank)


TRIALS = [
    trial(3e-3, 4, 0),
    trial(1e-2, 1, 1),
    trial(1e-3, 8, 2, schedule="constant", clip=None),
    trial(3e-2, 2, 3, weight_decay=0.1),
]


def test_each_is_its_separate_run(base):
    model, pad, rows = base
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    own = [rows[place * 10 : place * 10 + 24] for place in range(len(TRIALS))]
    together = fit_together(model, TRIALS, own, pad=pad, validation=[rows[:6]] * len(TRIALS))
    for found, each, mine in zip(together, TRIALS, own, strict=True):
        alone = fit_alone(model, each, mine, pad=pad, validation=rows[:6])
        assert found.history.grad_norm[0] == pytest.approx(alone.history.grad_norm[0], rel=1e-5)
        assert found.history.loss == pytest.approx(alone.history.loss, abs=1e-4)
        assert found.history.validation_loss == pytest.approx(alone.history.validation_loss, abs=1e-4)
        assert found.history.lr == alone.history.lr and found.history.unmasked_tokens == alone.history.unmasked_tokens
        assert found.weights.keys() == alone.weights.keys()
        for name, weight in found.weights.items():
            assert weight.shape == alone.weights[name].shape
            torch.testing.assert_close(weight, alone.weights[name], atol=3e-4, rtol=1e-2)
    assert len({tuple(found.history.loss) for found in together}) == len(TRIALS)  # they do differ
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, before[name])


def test_a_loss_that_is_no_number_stays_in_its_own_trial(base):
    model, pad, rows = base
    sound, wild = trial(3e-3, 4, 0), trial(1e18, 4, 1, clip=None)
    one, other = fit_together(model, [sound, wild], [rows[:24], rows[:24]], pad=pad)
    assert not all(map(math.isfinite, other.history.loss))
    assert one.history.loss == pytest.approx(fit_alone(model, sound, rows[:24], pad=pad).history.loss, abs=1e-4)


def test_what_cannot_share_a_pass_is_told_and_grouped_apart(base):
    model, pad, rows = base
    full = Trial(TRIALS[0].settings, rank=None)
    assert groups([TRIALS[0], full, TRIALS[1]]) in ([[2, 0], [1]], [[0, 2], [1]])
    with pytest.raises(NotAtOnce, match="cannot be trained at once"):
        fit_together(model, [TRIALS[0], full], [rows, rows], pad=pad)
