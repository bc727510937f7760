"""LoRA's formula, start, count and merge: PEFT's own, forward and backward, and a clear word for what cannot be."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model

from labkit.lora import count, forward, initialize, linear_shapes, merge, rank_needed, scale, targeted

quick = settings(deadline=None, max_examples=40)


@st.composite
def adapters(draw):
    """(W, A, B, alpha, x) with a rank that fits, in float32; B zero in some."""
    out, into = draw(st.integers(1, 24)), draw(st.integers(1, 24))
    rank, rows = draw(st.integers(1, min(out, into))), draw(st.sampled_from([(), (3,), (2, 5)]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    W, A, B, x = (
        torch.randn(shape, generator=generator) for shape in ((out, into), (rank, into), (out, rank), (*rows, into))
    )
    return W, A, B * draw(st.sampled_from([0, 1])), draw(st.floats(0.25, 64)), x


def with_peft(W, A=None, B=None, alpha=1.0, rank=None, **options):
    """A model of one linear layer with PEFT's adapter, holding these matrices; and the adapter's layer."""
    linear = torch.nn.Linear(W.shape[1], W.shape[0], bias=False, dtype=W.dtype)
    linear.weight.data = W.clone()
    config = LoraConfig(r=rank or len(A), lora_alpha=alpha, target_modules=["q"], **options)
    model = get_peft_model(torch.nn.ModuleDict({"q": linear}), config)
    layer = model.base_model.model["q"]
    if A is not None:
        layer.lora_A.default.weight.data, layer.lora_B.default.weight.data = A.clone(), B.clone()
    return model, layer


def near(ours, theirs):
    """Equal within 1e-6 of the largest entry."""
    return (ours - theirs).abs().max() <= 1e-6 * theirs.abs().max().clamp(min=1e-30)


@quick
@given(adapters())
def test_forward_and_backward_are_pefts(adapter):
    W, A, B, alpha, x = adapter
    _, layer = with_peft(W, A, B, alpha)
    ours = [each.clone().requires_grad_() for each in (x, A, B)]
    theirs = x.clone().requires_grad_()
    y, expected = forward(ours[0], W, ours[1], ours[2], alpha), layer(theirs)
    assert y.shape == expected.shape and near(y, expected)
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    (y * weights).sum().backward()
    (expected * weights).sum().backward()
    for mine, its in zip(ours, (theirs, layer.lora_A.default.weight, layer.lora_B.default.weight)):
        assert near(mine.grad, its.grad)
    assert layer.base_layer.weight.grad is None


@quick
@given(adapters())
def test_with_b_zero_nothing_changes_to_the_bit_and_only_b_moves_first(adapter):
    W, A, B, alpha, x = adapter
    A, B = A.requires_grad_(), torch.zeros_like(B).requires_grad_()
    y = forward(x, W, A, B, alpha)
    assert torch.equal(y, torch.nn.functional.linear(x, W))
    y.square().sum().backward()
    assert not A.grad.any() and (B.grad.any() or not y.any())


@quick
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**31), st.data())
def test_the_start_is_pefts_to_the_bit(into, out, seed, data):
    rank = data.draw(st.integers(1, min(into, out)))
    _, layer = with_peft(torch.zeros(out, into), rank=rank)
    torch.manual_seed(seed)
    layer.reset_lora_parameters("default", True)
    A, B = initialize(rank, into, out, torch.Generator().manual_seed(seed))
    assert torch.equal(A, layer.lora_A.default.weight) and torch.equal(B, layer.lora_B.default.weight)
    assert A.shape == (rank, into) and not B.any() and A.abs().max() <= 1 / math.sqrt(into) * (1 + 1e-6)


@quick
@given(adapters(), st.sampled_from([torch.float32, torch.bfloat16]))
def test_merging_is_pefts_to_the_bit_and_leaves_w_alone(adapter, dtype):
    W, A, B, alpha, _ = adapter
    W = W.to(dtype)
    before = W.clone()
    merged = merge(W, A, B, alpha)
    model, _ = with_peft(W, A, B, alpha)
    assert merged.dtype == dtype and torch.equal(merged, model.merge_and_unload()["q"].weight)
    assert torch.equal(W, before) and merged.data_ptr() != W.data_ptr()


@quick
@given(adapters())
def test_the_merged_layer_does_what_both_did(adapter):
    W, A, B, alpha, x = (each.double() if isinstance(each, torch.Tensor) else each for each in adapter)
    both, merged = forward(x, W, A, B, alpha), x @ merge(W, A, B, alpha).T
    torch.testing.assert_close(merged, both, rtol=1e-9, atol=1e-9)


@given(st.floats(0.1, 128), st.integers(1, 64), st.booleans())
@quick
def test_the_scale_is_pefts(alpha, rank, stabilized):
    _, layer = with_peft(torch.zeros(64, 64), alpha=alpha, rank=rank, use_rslora=stabilized)
    assert scale(alpha, rank, stabilized) == layer.scaling["default"]


NAMES = ("q_proj", "k_proj", "up_proj", "gate_up_proj", "down_proj")


@quick
@given(
    st.dictionaries(
        st.builds("{}.{}".format, st.sampled_from(["a", "b", "b.attn"]), st.sampled_from(NAMES)),
        st.tuples(st.integers(2, 9), st.integers(2, 9)),
        min_size=1,
        max_size=8,
    ),
    st.sets(st.sampled_from([*NAMES, "attn.q_proj"]), min_size=1),
    st.integers(1, 2),
)
def test_the_count_is_pefts(shapes, targets, rank):
    model = torch.nn.Module()
    for name, (out, into) in shapes.items():
        place = model
        for part in name.split(".")[:-1]:
            if not hasattr(place, part):
                place.add_module(part, torch.nn.Module())
            place = getattr(place, part)
        place.add_module(name.split(".")[-1], torch.nn.Linear(into, out))
    assert linear_shapes(model).items() >= shapes.items()
    targets = sorted(target for target in targets if targeted(shapes, [target]))
    if not targets:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adapted = get_peft_model(model, LoraConfig(r=rank, target_modules=targets))
    assert count(shapes, rank, targets) == adapted.get_nb_trainable_parameters()[0]
    assert sorted(adapted.targeted_module_names) == sorted(targeted(shapes, targets))


def test_the_numbers_that_everybody_quotes():
    assert count({"q_proj": (4096, 4096)}, 8, ["q_proj"]) == 65_536
    assert 65_536 / 4096**2 == 0.00390625


@quick
@given(st.lists(st.floats(0, 100), min_size=1, max_size=30), st.floats(0, 1))
def test_the_rank_needed_is_the_smallest_that_holds_the_share(values, share):
    rank = rank_needed(values, share)
    squares = sorted((value**2 for value in values), reverse=True)
    whole = np.cumsum(squares)[-1]
    assert np.sum(squares[:rank]) >= share * whole * (1 - 1e-12)
    assert rank == 0 or np.sum(squares[: rank - 1]) < share * whole * (1 + 1e-12)


def test_the_rank_needed_is_that_of_the_best_approximation():
    generator = torch.Generator().manual_seed(0)
    matrix = (torch.randn(12, 5, generator=generator) @ torch.randn(5, 9, generator=generator)).double()
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    rank = rank_needed(values.numpy(), 0.9)
    for tried, enough in ((rank - 1, False), (rank, True)):
        missed = matrix - left[:, :tried] * values[:tried] @ right[:tried]
        assert bool(1 - missed.square().sum() / matrix.square().sum() >= 0.9) == enough
    assert rank_needed(values.numpy(), 1 - 1e-9) == 5


W, A, B = torch.zeros(3, 4), torch.zeros(2, 4), torch.zeros(3, 2)
SHAPES = {"a.q_proj": (4, 6), "a.k_proj": (2, 6), "lm_head": (9, 6)}
BAD = [
    *((call, args, says) for call in (lambda *args: forward(torch.zeros(4), *args), merge) for args, says in [
        ((W, A[:0], B[:, :0], 1), "r from 1"),
        ((W, torch.zeros(5, 4), torch.zeros(3, 5), 1), "r from 1"),
        ((W, B, A, 1), r"give W \(out, in\)"),
        ((W, A, B[:2], 1), r"B \(2, 2\)"),
        ((W, A, B, math.nan), "alpha is nan"),
        ((W, A, B, math.inf), "alpha is inf"),
    ]),
    (initialize, (0, 4, 3, torch.Generator()), "1 to 3"),
    (initialize, (4, 4, 3, torch.Generator()), "1 to 3"),
    (count, (SHAPES, 0, ["q_proj"]), "1 to 4"),
    (count, (SHAPES, 3, "all-linear"), "1 to 2"),
    (count, (SHAPES, 1, ["q_prj"]), "no layer is named 'q_prj'; near it are q_proj"),
    (count, (SHAPES, 1, ["q_proj", "xxx"]), "'xxx'; near it are k_proj, lm_head, q_proj"),
    (count, (SHAPES, 1, []), "no layer is targeted"),
    (count, ({"lm_head": (9, 6)}, 1, "all-linear"), "no layer is targeted"),
    (rank_needed, ([], 0.5), "there must be some"),
    (rank_needed, ([1, -1], 0.5), "at least 0"),
    (rank_needed, ([1, math.nan], 0.5), "finite"),
    (rank_needed, ([1], 1.5), "between 0 and 1"),
    (rank_needed, ([1], math.nan), "between 0 and 1"),
    (scale, (1, 0, False), "at least 1"),
    (scale, (math.nan, 1, True), "finite"),
]  # fmt: skip


@pytest.mark.parametrize("function, args, says", BAD)
def test_what_cannot_be_is_one_line(function, args, says):
    with pytest.raises(ValueError, match=says) as caught:
        function(*args)
    assert "\n" not in str(caught.value)
