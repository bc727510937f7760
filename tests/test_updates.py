"""ΔW: its spectrum, its cut, and LoRA's first step as Adam takes it."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit import lora_model, models, updates
from labkit.common import InputError
from labkit.lora import rank_needed


@pytest.fixture(scope="module")
def base(tiny_model_folder):
    return models.load(tiny_model_folder, device="cpu")[0]


@pytest.fixture(scope="module")
def tuned(base):
    found = copy.deepcopy(base)
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in found.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=draw)
    return found


@pytest.fixture(scope="module")
def rows():
    draw = torch.Generator().manual_seed(2)
    ids = [torch.randint(5, 300, (length,), generator=draw).tolist() for length in (7, 12, 9)]
    return [{"input_ids": row, "labels": [-100] * 3 + row[3:]} for row in ids]


def logits(model):
    with torch.no_grad():
        return model(torch.arange(20)[None]).logits


def test_a_cut_to_the_full_rank_is_the_tuned_model_and_to_rank_0_has_the_bases_layers(base, tuned):
    torch.testing.assert_close(logits(updates.cut_model(base, tuned, 64)), logits(tuned), rtol=1e-3, atol=1e-4)
    none = updates.cut_model(base, tuned, 0)
    for name, layer in updates.layers(none).items():
        torch.testing.assert_close(layer.weight, updates.layers(base)[name].weight, rtol=0, atol=1e-6)
    assert torch.equal(none.get_input_embeddings().weight, tuned.get_input_embeddings().weight)
    with pytest.raises(InputError, match="rank is -1"):
        updates.cut_model(base, tuned, -1)


@settings(deadline=None, max_examples=10)
@given(st.integers(1, 31))
def test_what_a_cut_keeps_is_what_the_spectrum_says(base, tuned, rank):
    whole = updates.between(base, tuned)
    assert all("lm_head" not in name for name in whole) and len(whole) == 14
    for name, kept in updates.cut(whole, rank).items():
        values = updates.spectra(whole)[name].double()
        share = float(values[:rank].square().sum() / values.square().sum())
        assert math.isclose(
            updates.norm({name: kept}) ** 2, share * updates.norm({name: whole[name]}) ** 2, rel_tol=1e-4
        )
        assert rank_needed(values.numpy(), share - 1e-6) == rank


def test_only_models_of_the_same_layers_can_be_compared(base):
    other = copy.deepcopy(base)
    other.model.layers[0].mlp.up_proj = torch.nn.Linear(32, 65, bias=False)
    with pytest.raises(InputError, match="different linear layers"):
        updates.between(base, other)


@pytest.mark.parametrize("rank, alpha", [(1, 32), (4, 32), (16, 8)])
def test_the_first_update_is_what_adam_does_to_a_model(base, rows, rank, alpha):
    frozen = [parameter.requires_grad for parameter in base.parameters()]
    gradients = updates.gradients(base, rows, pad=0)
    assert [parameter.requires_grad for parameter in base.parameters()] == frozen
    ours = updates.first_update(gradients, rank, alpha / rank, 3e-3, torch.Generator().manual_seed(5))

    model = copy.deepcopy(base)
    lora_model.adapt(model, rank, alpha, "all-linear", torch.Generator().manual_seed(5))
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=3e-3)
    model(**updates.collate(rows, 0)).loss.backward()
    optimizer.step()
    lora_model.merge(model)
    theirs = updates.between(base, model)
    assert updates.norm({name: ours[name] - theirs[name] for name in ours}) <= 1e-3 * updates.norm(theirs)


def test_the_first_order_is_the_losss_own_slope(base, rows):
    gradients = updates.gradients(base, rows, pad=0)
    update = updates.first_update(gradients, 4, 8.0, 1e-6, torch.Generator().manual_seed(0))
    double, batch = copy.deepcopy(base).double(), updates.collate(rows, 0)
    with torch.no_grad():
        after = updates.moved(double, {name: change.double() for name, change in update.items()})
        change = float(after(**batch).loss - double(**batch).loss)
    assert change < 0 and math.isclose(change, updates.first_order(gradients, update), rel_tol=0.02)


def test_the_conventions_meet_at_rank_16_and_part_as_the_formulas_say(base, rows):
    """At fixed α the first drop is flat in r, and ‖ΔW‖ falls as 1/√r; at α/√r it is ‖ΔW‖ that stays."""
    gradients = updates.gradients(base, rows, pad=0)
    steps = updates.first_steps(gradients, [2, 16], lr=3e-3, seeds=range(8))
    low, mid = ({step.convention: step for step in steps if step.rank == rank} for rank in (2, 16))
    assert {step.scale for step in mid.values()} == {2.0} and len({step.drop for step in mid.values()}) == 1
    drop, norm = ({name: getattr(mid[name], of) / getattr(low[name], of) for name in mid} for of in ("drop", "norm"))
    assert drop["fixed α"] == pytest.approx(1, rel=0.15) and norm["fixed α"] == pytest.approx(8**-0.5, rel=0.25)
    assert drop["fixed α/r"] == pytest.approx(8, rel=0.15)
    assert drop["α/√r"] == pytest.approx(8**0.5, rel=0.15) and norm["α/√r"] == pytest.approx(1, rel=0.25)


def test_the_two_parts_of_a_gradient_sum_to_the_whole(base, rows):
    batch = updates.collate(rows, 0)
    found = updates.parts(base, batch)
    labels = batch["input_ids"].where(batch["attention_mask"].bool(), -100)
    logits = base(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1]
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), reduction="sum")
    whole = torch.cat([grad.flatten() for grad in torch.autograd.grad(loss, list(base.parameters()))])
    (prompt, completion), cosine = found.norms, found.cosine
    length = math.sqrt(prompt**2 + completion**2 + 2 * cosine * prompt * completion)
    assert length == pytest.approx(whole.norm().item(), rel=1e-4)
    swapped = updates.Parts(found.norms[::-1], found.sums[::-1], cosine)
    assert found.projection + swapped.projection == pytest.approx(1)
    assert 0 < found.projection < 1 and min(found.sums) > 0
