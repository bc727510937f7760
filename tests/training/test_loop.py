"""Training: the loss is transformers' own, however a batch is cut, and the seed decides everything."""

from __future__ import annotations

import copy
import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit import models
from labkit.common import InputError
from labkit.masking import IGNORED, collate
from labkit.training import History, Settings, batches, evaluate, fit, loop, number_format, parts, schedule


def train(model, rows, **changes):
    chosen = Settings(**{"steps": 5, "batch_size": 8, "lr": 1e-3, "number_format": "float32", **changes})
    return fit(model, rows, chosen, pad=0)


def own_loss(model, rows):
    """transformers' loss on all rows: the whole forward pass, with attention mask and labels."""
    with torch.no_grad():
        return model(**collate(rows, 0)).loss.item()


def test_loss_equals_that_of_transformers(model, rows):
    assert evaluate(model, rows, pad=0) == pytest.approx(own_loss(model, rows), rel=1e-6)
    assert evaluate(model, rows, pad=0, batch_size=5) == pytest.approx(own_loss(model, rows), rel=1e-6)
    first_batch = batches(len(rows), 8, 1, seed=3)[0]
    expected = own_loss(model, [rows[index] for index in first_batch])
    assert train(model, rows, steps=1, seed=3).loss[0] == pytest.approx(expected, rel=1e-6)


def test_gradient_equals_that_of_transformers(model, rows):
    peer = copy.deepcopy(model)
    summed_loss = loop._summed_loss(model, torch.float32)
    counted = sum(loop.counted_tokens(vars(row)) for row in rows[:8])
    (summed_loss(collate(rows[:8], 0)) / counted).backward()
    peer(**collate(rows[:8], 0)).loss.backward()
    for (name, ours), (_, theirs) in zip(model.named_parameters(), peer.named_parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-6, msg=name)


def test_the_output_layer_is_computed_only_at_labels(model, rows):
    sizes = []
    model.lm_head.register_forward_hook(lambda module, given, result: sizes.append(result.shape[:-1].numel()))
    train(model, rows, steps=3)
    computed = sizes[2:]  # the first two are the trial whether the head alone gives the logits
    by_step = [sum(computed[start : start + loop.PARTS]) for start in range(0, len(computed), loop.PARTS)]
    assert by_step == train(copy.deepcopy(model), rows, steps=3).unmasked_tokens


def test_a_model_that_changes_its_logits_takes_the_whole_forward_pass(rows):
    from transformers import CohereConfig, CohereForCausalLM

    torch.manual_seed(0)
    config = CohereConfig(
        vocab_size=300, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=4,
        num_key_value_heads=4, logit_scale=0.5, pad_token_id=0, bos_token_id=1, eos_token_id=1,
    )  # fmt: skip
    scaled = CohereForCausalLM(config).eval()
    assert loop._backbone_and_head(scaled) is None
    assert evaluate(scaled, rows, pad=0) == pytest.approx(own_loss(scaled, rows), rel=1e-6)


@pytest.mark.parametrize("accumulation", [2, 4, 8])
def test_accumulation_gives_the_gradient_of_one_batch(model, rows, accumulation, monkeypatch):
    monkeypatch.setattr(loop, "PARTS", 1)
    whole, cut = copy.deepcopy(model), model
    one = train(whole, rows, steps=1, weight_decay=0.1)
    many = train(cut, rows, steps=1, weight_decay=0.1, accumulation=accumulation)
    assert many.loss[0] == pytest.approx(one.loss[0], rel=1e-6)
    assert many.grad_norm[0] == pytest.approx(one.grad_norm[0], rel=1e-5)
    for (name, ours), (_, theirs) in zip(cut.named_parameters(), whole.named_parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-6, msg=name)


def test_the_same_seed_gives_the_same_losses_to_the_bit(model, rows):
    runs = []
    for seed in (0, 0, 1):
        adapted = models.add_lora(copy.deepcopy(model), rank=4, seed=seed)
        torch.rand(seed + 3)  # what was drawn before does not matter
        runs.append(train(adapted, rows, seed=seed))
    assert runs[0].loss == runs[1].loss and runs[0].grad_norm == runs[1].grad_norm
    assert runs[0].loss != runs[2].loss


def test_training_lowers_the_loss_and_moves_only_the_adapter(model, rows):
    adapted = models.add_lora(model, rank=4)
    frozen = {name: p.detach().clone() for name, p in adapted.named_parameters() if not p.requires_grad}
    history = train(adapted, rows, steps=30, lr=1e-2)
    assert history.loss[-1] < 0.8 * history.loss[0]
    assert all(torch.equal(p, frozen[name]) for name, p in adapted.named_parameters() if name in frozen)
    assert not adapted.training


def test_history_records_every_step_and_validation(model, rows):
    calls = []
    history = fit(
        model, rows, Settings(steps=5, batch_size=8, eval_every=2, number_format="float32"), pad=0, validation=rows[:8],
        on_step=lambda step, history: calls.append((step, len(history.loss))),
    )  # fmt: skip
    assert history.step == [1, 2, 3, 4, 5] and calls == [(step, step) for step in history.step]
    assert history.validation_step == [0, 2, 4, 5] and len(history.validation_loss) == 4
    assert history.validation_loss[-1] == pytest.approx(evaluate(model, rows[:8], pad=0), rel=1e-6)
    assert history.lr == [schedule(step, 5, 3e-3, 0.05, "cosine") for step in range(5)]
    assert all(0 < few <= all_ for few, all_ in zip(history.unmasked_tokens, history.tokens, strict=True))
    assert history.seconds == sorted(history.seconds)


def test_history_survives_json_even_with_nan(model, rows):
    history = train(model, rows, steps=2)
    history.loss[1] = math.inf
    history.validation_step, history.validation_loss = [1], [math.nan]
    text = json.dumps(history.as_dict(), allow_nan=False)
    again = History.from_dict(json.loads(text))
    assert again.loss[0] == history.loss[0] and math.isnan(again.loss[1]) and again.step == history.step
    assert again.as_dict() == history.as_dict()


def test_a_loss_that_is_no_number_stops_before_the_weights(model, rows):
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[0, 0] = math.nan
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(InputError, match=r"step 1: the loss is nan, .* learning rate 0.001; try"):
        train(model, rows, warmup=0)
    assert all(torch.equal(value.isnan(), before[name].isnan()) for name, value in model.state_dict().items())
    history = fit(model, rows, Settings(steps=3, number_format="float32"), pad=0, on_nan="record")
    assert len(history.loss) == 3 and math.isnan(history.loss[2])


def test_clipping_bounds_the_step_and_records_the_norm_before(model, rows):
    free, clipped = copy.deepcopy(model), copy.deepcopy(model)
    one, other = train(free, rows, steps=1, clip=None), train(clipped, rows, steps=1, clip=0.01)
    assert one.grad_norm == other.grad_norm and one.grad_norm[0] > 0.01
    gradients = [p.grad for p in clipped.parameters()]
    assert torch.nn.utils.get_total_norm(gradients).item() == pytest.approx(0.01, rel=1e-3)
    assert torch.nn.utils.get_total_norm([p.grad for p in free.parameters()]).item() == pytest.approx(one.grad_norm[0])


def test_weight_decay_spares_norms(model, rows):
    with torch.no_grad():  # with no gradient to speak of, only the decay moves the weights
        before = {name: p.clone() for name, p in model.named_parameters()}
    train(model, rows, steps=1, lr=1e-9, warmup=0, weight_decay=1e6)
    for name, parameter in model.named_parameters():
        factor = 1 - 1e-9 * 1e6 if parameter.ndim >= 2 else 1
        torch.testing.assert_close(parameter, before[name] * factor, rtol=1e-6, atol=1e-7)


def test_schedule_by_hand():
    assert [schedule(step, 8, 4.0, 0.5, "constant") for step in range(8)] == [1, 2, 3, 4, 4, 4, 4, 4]
    assert [schedule(step, 8, 4.0, 0.5, "linear") for step in range(8)] == [1, 2, 3, 4, 4, 3, 2, 1]
    cosine = [schedule(step, 4, 2.0, 0, "cosine") for step in range(4)]
    assert cosine == pytest.approx([2, 1 + math.sqrt(0.5), 1, 1 - math.sqrt(0.5)])
    assert [schedule(step, 2, 1.0, 1, "cosine") for step in range(2)] == [0.5, 1]


@given(st.integers(1, 200), st.floats(0, 1), st.sampled_from(loop.SCHEDULES))
def test_schedule_rises_then_falls_and_never_leaves_its_range(steps, warmup, kind):
    rates = [schedule(step, steps, 1.0, warmup, kind) for step in range(steps)]
    assert all(0 < rate <= 1 for rate in rates)
    top = rates.index(max(rates))
    assert rates[: top + 1] == sorted(rates[: top + 1]) and rates[top:] == sorted(rates[top:], reverse=True)


@given(st.integers(1, 120), st.integers(1, 20), st.integers(1, 3), st.integers(0, 9))
@settings(deadline=None)
def test_every_epoch_covers_every_row_once(rows, batch_size, epochs, seed):
    per_epoch = math.ceil(rows / batch_size)
    order = batches(rows, batch_size, per_epoch * epochs, seed)
    assert order == batches(rows, batch_size, per_epoch * epochs, seed)
    for epoch in range(epochs):
        seen = sum(order[epoch * per_epoch : (epoch + 1) * per_epoch], [])
        assert sorted(seen) == list(range(rows))
    assert all(1 <= len(batch) <= batch_size for batch in order)


def test_batches_change_with_epoch_and_seed():
    order = batches(320, 32, 20, seed=0)
    assert order[:10] != order[10:] and order != batches(320, 32, 20, seed=1)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.integers(1, 8))
def test_parts_hold_every_row_once_and_rows_of_like_length(lengths, count):
    batch = list(range(len(lengths)))
    cut = parts(batch, lengths, count)
    assert sorted(sum(cut, [])) == batch and len(cut) <= count
    assert [lengths[row] for part in cut for row in part] == sorted(lengths)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"lr": math.nan}, "lr is nan"),
        ({"lr": 0.0}, "lr is 0"),
        ({"steps": 0}, "steps is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"accumulation": 0}, "accumulation is 0"),
        ({"schedule": "square"}, "schedule is 'square'"),
        ({"warmup": 1.5}, "warmup is 1.5"),
        ({"weight_decay": -1}, "weight_decay is -1"),
        ({"beta2": 1.0}, "beta2 is 1.0"),
        ({"clip": 0}, "clip is 0"),
        ({"number_format": "int8"}, "number_format is 'int8'"),
    ],
)
def test_settings_that_make_no_sense(changes, says):
    with pytest.raises(InputError, match=says):
        Settings(**changes)


def test_rows_that_cannot_be_trained_on(model, rows):
    masked = {"input_ids": [5, 6, 7], "labels": [5, IGNORED, IGNORED]}  # the first position is predicted by nothing
    with pytest.raises(InputError, match="row 1: no token carries loss"):
        train(model, [rows[0], masked])
    with pytest.raises(InputError, match="row 0: 300 tokens, but the model's context is 256"):
        train(model, [{"input_ids": [5] * 300, "labels": [5] * 300}])
    with pytest.raises(InputError, match="no rows"):
        train(model, [])
    for parameter in model.parameters():
        parameter.requires_grad = False
    with pytest.raises(InputError, match="no parameter of the model is trainable"):
        train(model, rows)


def test_the_number_format_of_every_cpu_is_float32(monkeypatch):
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: True)
    assert number_format("cpu") == number_format(torch.device("cpu")) == torch.float32
    assert number_format("mps") == torch.float32
    for capability, wanted in (((7, 5), torch.float32), ((8, 0), torch.bfloat16)):  # a T4; an A100
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None, found=capability: found)
        assert number_format("cuda") == wanted


def test_lora_plus_moves_b_by_its_own_rate(tiny_model_folder):
    def moved(b_ratio):
        """How far A and B of one layer go in one step."""
        model = models.add_lora(models.load(tiny_model_folder, device="cpu")[0], rank=4, alpha=8, seed=0)
        layer = model.get_submodule("base_model.model.model.layers.0.self_attn.q_proj")
        with torch.no_grad():
            layer.lora_B["default"].weight.normal_(generator=torch.Generator().manual_seed(0))
        before = [layer.lora_A["default"].weight.clone(), layer.lora_B["default"].weight.clone()]
        rows = [{"input_ids": [5, 6, 7, 8], "labels": [5, 6, 7, 8]}]
        settings = Settings(steps=1, batch_size=1, lr=1e-3, warmup=0, schedule="constant", b_ratio=b_ratio)
        fit(model, rows, settings, pad=0)
        after = [layer.lora_A["default"].weight, layer.lora_B["default"].weight]
        return [(a - b).abs().max().item() for a, b in zip(after, before)]

    (a, b), (a_plus, b_plus) = moved(1.0), moved(16.0)
    assert a_plus == pytest.approx(a, rel=1e-3) and b_plus == pytest.approx(16 * b, rel=1e-3)
