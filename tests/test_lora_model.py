"""LoRA in a model by hand: PEFT's model, forward and backward; what loading and merging do to the base."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM

from labkit import lora_model
from labkit.common import InputError
from labkit.lora import count, linear_shapes
from labkit.lora_model import LoRALinear, adapt, loading, rounding
from labkit.models import add_lora

IDS = torch.tensor([[5, 9, 2, 30, 7, 7], [1, 0, 11, 31, 3, 8]])


@pytest.fixture(scope="module")
def base():
    """Two layers with grouped-query attention, and biases in it."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=32, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, attention_bias=True, initializer_range=0.3, bos_token_id=None, eos_token_id=1,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


TARGETS = st.sampled_from(["all-linear", ["q_proj", "v_proj"], ["mlp.up_proj", "down_proj"]])


@settings(deadline=None, max_examples=10)
@given(st.integers(1, 8), st.sampled_from([0.5, 4, 32]), TARGETS, st.integers(0, 999))
def test_the_model_is_pefts_forward_and_backward(base, rank, alpha, targets, seed):
    ours, theirs = copy.deepcopy(base), add_lora(copy.deepcopy(base), rank, alpha, targets, seed).eval()
    chosen = adapt(ours, rank, alpha, targets, torch.Generator().manual_seed(seed))
    assert torch.equal(ours(IDS).logits, base(IDS).logits)  # B is 0: nothing is disturbed, to the bit

    draw = torch.Generator().manual_seed(seed + 1)
    pairs = []
    for name in chosen:
        mine, its = ours.get_submodule(name), theirs.get_base_model().get_submodule(name)
        A, B = its.lora_A.default.weight, its.lora_B.default.weight
        assert torch.equal(mine.A, A)
        B.data = 0.1 * torch.randn(B.shape, generator=draw)
        mine.B.data.copy_(B)
        pairs += [(mine.A, A), (mine.B, B)]
    logits, expected = ours(IDS).logits, theirs(IDS).logits
    assert (logits - expected).abs().max() <= 1e-6 * expected.abs().max()
    for each in (ours, theirs):
        each(input_ids=IDS, labels=IDS).loss.backward()
    largest = max(float(its.grad.abs().max()) for _, its in pairs)
    assert all((mine.grad - its.grad).abs().max() <= 1e-6 * largest for mine, its in pairs)

    learning = [parameter for parameter in ours.parameters() if parameter.grad is not None]
    assert len(learning) == len(pairs) and sum(map(torch.numel, learning)) == count(linear_shapes(base), rank, targets)
    assert {id(p) for p in ours.parameters() if p.requires_grad} == {id(p) for p in learning}

    lora_model.merge(ours)
    assert not any(isinstance(layer, LoRALinear) for layer in ours.modules())
    assert ours.state_dict().keys() == base.state_dict().keys()
    merged = theirs.merge_and_unload().state_dict()
    assert all(torch.equal(weight, merged[name]) for name, weight in ours.state_dict().items())


@pytest.mark.parametrize(
    "rank, alpha, targets, says",
    [
        (0, 8, "all-linear", "at least 1"),
        (9, 8, "all-linear", "1 to 8"),
        (2, math.nan, "all-linear", "finite"),
        (2, 8, ["query"], "no layer is named 'query'"),
    ],
)
def test_what_cannot_be_is_one_line_and_leaves_the_model_alone(base, rank, alpha, targets, says):
    model = copy.deepcopy(base)
    with pytest.raises(InputError, match=says):
        adapt(model, rank, alpha, targets, torch.Generator())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert linear_shapes(model) == linear_shapes(base)


@pytest.mark.parametrize("init", ["pissa", "olora"])
def test_some_initializations_change_the_base_at_load(base, init):
    before = {name: weight.clone() for name, weight in base.state_dict().items()}
    found = loading(base, init, rank=4)
    assert found.base > 0.1 and found.without_adapter > 0.01 and 0 < found.with_adapter < 1e-4
    assert all(torch.equal(weight, before[name]) for name, weight in base.state_dict().items())


def test_the_usual_initialization_changes_nothing_to_the_bit(base):
    found = loading(base, True, rank=4)
    assert found.base == found.with_adapter == found.without_adapter == 0


def test_merging_into_bfloat16_rounds_and_into_float64_hardly():
    draw = torch.Generator().manual_seed(0)
    W, A, B = (torch.randn(*shape, generator=draw) for shape in ((40, 30), (4, 30), (40, 4)))
    small = rounding(W, A, 1e-3 * B, alpha=4)
    assert small.lost > 0.1 and small.unmoved > 0.1
    assert rounding(W, A, 1e-3 * B, 4, torch.float64).lost < 1e-6
    assert rounding(W, A, B, alpha=4).lost < small.lost / 10  # a large update loses less of itself
