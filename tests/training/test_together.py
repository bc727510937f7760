"""Many adapters at once: each equals its separate run, whatever the others are, and leaves as an ordinary adapter."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import pytest
import torch

from labkit import models
from labkit.common import InputError
from labkit.training import Settings, Trial, fit_alone, fit_together, groups, together

pytestmark = pytest.mark.slow

BASE = Settings(steps=50, batch_size=8, lr=1e-3, number_format="float32")
# Eight runs with nothing in common but the base and the modules
DIFFERENT = [
    Trial(replace(BASE, lr=1e-4, seed=0), rank=1, alpha=32),
    Trial(replace(BASE, lr=3e-4, seed=1, schedule="linear"), rank=2, alpha=4),
    Trial(replace(BASE, lr=1e-3, seed=2, clip=None), rank=4, alpha=8),
    Trial(replace(BASE, lr=2e-3, seed=3, clip=0.1), rank=8, alpha=32),
    Trial(replace(BASE, lr=3e-3, seed=4, weight_decay=0.1), rank=16, alpha=32),
    Trial(replace(BASE, lr=3e-3, seed=4, warmup=0.5, steps=30), rank=16, alpha=16),
    Trial(replace(BASE, lr=3e-3, seed=5, beta1=0.8, beta2=0.95), rank=3, alpha=6),
    Trial(replace(BASE, lr=1e-3, seed=0, batch_size=5, eval_every=20), rank=5, alpha=10),
]


def at_once(model, trials, rows, **more):
    return fit_together(model, trials, [rows] * len(trials), pad=0, **more)


def test_eight_runs_at_once_equal_eight_separate_runs(model, rows):
    before = copy.deepcopy(model.state_dict())
    held_out = rows[:20]
    trials = [replace(trial, target_modules="v_proj,down_proj") for trial in DIFFERENT]  # all of them: see below
    joint = at_once(model, trials, rows, validation=[held_out] * 8)
    for together_, trial in zip(joint, trials, strict=True):
        alone = fit_alone(model, trial, rows, pad=0, validation=held_out)
        ours, theirs = together_.history, alone.history
        assert together_.trial is trial and ours.loss == pytest.approx(theirs.loss, abs=1e-4)
        assert ours.grad_norm == pytest.approx(theirs.grad_norm, rel=1e-2)
        assert ours.grad_norm[0] == pytest.approx(theirs.grad_norm[0], rel=1e-6)
        assert ours.validation_loss == pytest.approx(theirs.validation_loss, abs=1e-4)
        for name in ("step", "lr", "unmasked_tokens", "tokens", "validation_step"):
            assert getattr(ours, name) == getattr(theirs, name), name
        assert ours.seconds == sorted(ours.seconds) and len(ours.seconds) == trial.settings.steps
        assert {name: weight.shape for name, weight in together_.weights.items()} == {
            name: weight.shape for name, weight in alone.weights.items()
        }
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_first_gradients_equal_those_of_separate_runs(model, rows, monkeypatch):
    """From adapters that have moved, so that A has a gradient too; each run has rows of its own."""
    own_rows = [rows[start : start + 20] for start in range(0, 24, 3)]
    trials = [replace(trial, settings=replace(trial.settings, steps=1, clip=None)) for trial in DIFFERENT]
    generator = torch.Generator().manual_seed(0)
    add_lora = models.add_lora

    def moved(*arguments):
        adapted = add_lora(*arguments)
        for name, parameter in adapted.named_parameters():
            if ".lora_B." in name:
                parameter.data = torch.randn(parameter.shape, generator=generator) * 0.02
        return adapted

    gradients = []
    monkeypatch.setattr(models, "add_lora", moved)
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda optimizer: gradients.append(_gradients(optimizer)))
    fit_together(model, trials, own_rows, pad=0)
    generator.manual_seed(0)
    for trial, own in zip(trials, own_rows, strict=True):
        fit_alone(model, trial, own, pad=0)
    joint, *separate = gradients
    for trial, ours, [theirs] in zip(trials, joint, separate, strict=True):
        assert len(ours) == len(theirs)
        for our, their in zip(ours, theirs, strict=True):
            kept = our[tuple(map(slice, their.shape))]  # without the padding of the rank
            assert (kept - their).norm() <= 3e-6 * their.norm() and their.norm() > 0
            assert our.count_nonzero() == kept.count_nonzero(), trial


def _gradients(optimizer) -> list[list[torch.Tensor]]:
    return [[parameter.grad.clone() for parameter in group["params"]] for group in optimizer.param_groups]


def test_adapters_start_as_add_lora_draws_them_and_padding_stays_zero(model, rows):
    stack = together._Stack(model, DIFFERENT)
    for index, trial in enumerate(DIFFERENT):
        adapted = models.add_lora(copy.deepcopy(model), trial.rank, trial.alpha, seed=trial.settings.seed)
        expected = together._adapter_weights(adapted)
        found = stack.taken_out(index)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], weight) for name, weight in expected.items())
    made = []
    original = together._Stack.__init__
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(together._Stack, "__init__", lambda self, *given: (made.append(self), original(self, *given))[1])
        at_once(model, [replace(trial, settings=replace(trial.settings, steps=3)) for trial in DIFFERENT], rows)
    for layer in made[0].layers.values():
        for index, trial in enumerate(DIFFERENT):
            assert not layer.a[index, trial.rank :].any() and not layer.b[index, :, trial.rank :].any()
            assert layer.b[index, :, : trial.rank].any()


def test_a_run_that_is_lost_to_nan_leaves_the_others_to_the_bit(model, rows):
    short = replace(BASE, steps=6)
    sound = [Trial(replace(short, seed=seed)) for seed in range(3)]
    wild = Trial(replace(short, lr=1e30, clip=None, warmup=0.0))
    with_it = at_once(model, [sound[0], wild, sound[1], sound[2]], rows)
    harmless = at_once(model, [sound[0], replace(wild, settings=short), sound[1], sound[2]], rows)
    assert math.isnan(with_it[1].history.loss[-1]) and len(with_it[1].history.loss) == 6
    for place in (0, 2, 3):
        assert with_it[place].history.loss == harmless[place].history.loss
        weights = with_it[place].weights
        assert all(torch.equal(weights[name], weight) for name, weight in harmless[place].weights.items())


def test_a_trained_adapter_is_an_ordinary_one(model, loaded, rows, tmp_path):
    trials = [Trial(replace(BASE, steps=5, lr=1e-2, seed=seed), rank=rank) for seed, rank in ((0, 4), (1, 2))]
    results = at_once(model, trials, rows, validation=[rows[:8]] * 2)
    ids = torch.arange(5, 25)[None]
    plain = model(input_ids=ids).logits
    outputs = []
    for trained in results:
        with trained.on(model) as adapted:
            outputs.append(adapted(input_ids=ids).logits)
            models.save_adapter(adapted, tmp_path / str(trained.trial.rank))
    assert torch.equal(model(input_ids=ids).logits, plain) and not torch.equal(outputs[0], outputs[1])
    from peft import PeftModel

    for trained, output in zip(results, outputs, strict=True):
        again = PeftModel.from_pretrained(copy.deepcopy(loaded[0]), tmp_path / str(trained.trial.rank))
        torch.testing.assert_close(again(input_ids=ids).logits, output)
        assert again.peft_config["default"].r == trained.trial.rank


def test_all_weights_alone_and_put_back(model, rows):
    trained = fit_alone(model, Trial(replace(BASE, steps=2), rank=None), rows, pad=0)
    ids = torch.arange(5, 25)[None]
    before = model(input_ids=ids).logits
    with trained.on(model) as whole:
        assert torch.equal(dict(whole.named_parameters())["model.norm.weight"], trained.weights["model.norm.weight"])
        assert not torch.equal(whole(input_ids=ids).logits, before)
    assert torch.equal(model(input_ids=ids).logits, before)


def test_layers_of_another_kind(rows):
    """GPT-2 keeps its weights transposed, and its layers' outputs are views."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=300, n_embd=32, n_layer=2, n_head=4, n_positions=256, bos_token_id=1, eos_token_id=1,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip
    model = GPT2LMHeadModel(config).eval()
    trials = [Trial(replace(BASE, steps=4, seed=seed), rank=4, target_modules="c_attn,c_fc") for seed in (0, 1)]
    for trained in at_once(model, trials, rows):
        alone = fit_alone(model, trained.trial, rows, pad=0)
        assert trained.history.loss == pytest.approx(alone.history.loss, abs=1e-5)


def test_bfloat16_follows_the_separate_run(model, rows):
    trials = [Trial(replace(BASE, steps=3, seed=seed, number_format="bfloat16"), rank=4) for seed in (0, 1)]
    for trained in at_once(model, trials, rows):
        assert trained.history.loss == pytest.approx(
            fit_alone(model, trained.trial, rows, pad=0).history.loss, rel=1e-2
        )


def test_what_cannot_be_at_once_is_said(model, rows):
    short = replace(BASE, steps=1)
    other = Trial(short, target_modules="q_proj")
    for trials in ([Trial(short), other], [Trial(short, rank=None)], []):
        with pytest.raises(together.NotAtOnce, match="cannot be trained at once"):
            at_once(model, trials, rows)
    with pytest.raises(together.NotAtOnce, match="shape"):
        at_once(model, [Trial(short, target_modules="lm_head")], rows)
    model.config.attention_dropout = 0.1
    with pytest.raises(together.NotAtOnce, match="attention_dropout"):
        at_once(model, [Trial(short)], rows)
    assert [type(module).__name__ for module in model.modules()].count("_Layer") == 0


def test_groups_hold_every_trial_once_and_only_what_goes_together():
    full = Trial(BASE, rank=None)
    trials = [*DIFFERENT, full, replace(full, settings=replace(BASE, lr=1e-2)), Trial(BASE, target_modules="q_proj")]
    for most in (1, 3, 8, 100):
        found = groups(trials, most)
        assert sorted(sum(found, [])) == list(range(len(trials)))
        assert all(len(group) <= most for group in found)
        for group in found:
            assert len({(trials[index].target_modules, trials[index].rank is None) for index in group}) == 1
            assert len(group) == 1 or trials[group[0]].rank is not None
    assert max(map(len, groups(trials, 100))) == 8 and [len(group) for group in groups(DIFFERENT, 5)] == [4, 4]
    with pytest.raises(InputError, match="at_once is 0"):
        groups(trials, 0)


@pytest.mark.parametrize(
    ("fields", "says"),
    [({"rank": 0}, "rank is 0"), ({"rank": 2.0}, "rank is 2.0"), ({"alpha": math.nan}, "alpha is nan"), ({"alpha": 0}, "alpha is 0")],
)  # fmt: skip
def test_trials_that_make_no_sense(fields, says):
    with pytest.raises(InputError, match=says):
        Trial(**fields)
