"""Cross-entropy: the same loss and gradient as torch's, and a clear word where there can be none."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit import masking, models
from labkit.cross_entropy import (
    accumulate,
    bits,
    by_probability,
    counted_losses,
    log_softmax,
    logit_gradient,
    masked_mean,
    perplexity,
    sequence_loss,
    shift,
    smoothed_gradient,
    token_loss,
    token_losses,
)

RELATIVE = 1e-6  # what float32 can hold


@st.composite
def sequences(draw):
    """(logits, labels) of one sequence in float32: some rows plain, some of ±1e4; some labels -100, maybe all."""
    length, vocabulary = draw(st.integers(1, 9)), draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    scale = draw(st.sampled_from((0.1, 3.0, 100.0, 1e4)))
    logits = (scale * rng.uniform(-1, 1, (length, vocabulary))).astype(np.float32)
    if scale == 1e4:
        logits = np.where(rng.random(logits.shape) < 0.5, np.sign(logits) * 1e4, logits).astype(np.float32)
    labels = rng.integers(0, vocabulary, length)
    return logits, np.where(rng.random(length) < draw(st.sampled_from((0.0, 0.4, 1.0))), -100, labels)


@settings(deadline=None, max_examples=200)
@given(sequences())
def test_a_sequence_has_torchs_loss_and_none_counted_is_an_error(sequence):
    logits, labels = sequence
    if (labels[1:] == -100).all():
        with pytest.raises(ValueError, match="no token is counted"):
            sequence_loss(logits, labels)
        return
    ours, targets = sequence_loss(logits, labels), torch.tensor(labels[1:])
    exact = F.cross_entropy(torch.tensor(logits[:-1]).double(), targets).item()
    assert math.isclose(ours, exact, rel_tol=RELATIVE, abs_tol=1e-12)
    # float32 loses what is small beside a log-sum-exp of size 1, so what is near 0 agrees to its rounding only
    single = F.cross_entropy(torch.tensor(logits[:-1]), targets).item()
    assert math.isclose(ours, single, rel_tol=RELATIVE, abs_tol=RELATIVE)


@settings(deadline=None, max_examples=200)
@given(sequences())
def test_the_gradient_is_autograds_and_its_size_is_two_times_what_is_missing(sequence):
    logits, labels = sequence
    target = int(labels[0]) if labels[0] >= 0 else 0
    leaf = torch.tensor(logits[0], requires_grad=True)
    F.cross_entropy(leaf[None], torch.tensor([target])).backward()
    ours = logit_gradient(logits[0], target)
    np.testing.assert_allclose(ours, leaf.grad.numpy(), rtol=RELATIVE, atol=RELATIVE)
    p = math.exp(-sequence_loss(np.stack([logits[0], logits[0]]), np.array([-100, target])))
    assert math.isclose(np.abs(ours).sum(), 2 * (1 - p), rel_tol=1e-9, abs_tol=1e-9)
    assert abs(ours.sum()) < 1e-9 and ours[target] <= 0


@settings(deadline=None)
@given(sequences(), st.floats(-1e4, 1e4))
def test_log_softmax_is_torchs_and_does_not_care_for_a_constant(sequence, constant):
    logits, _ = sequence
    torchs = F.log_softmax(torch.tensor(logits).double(), -1)
    np.testing.assert_allclose(
        log_softmax(logits), torchs, rtol=RELATIVE, atol=1e-12
    )  # a certain token's is 0 but for rounding
    moved = log_softmax(logits.astype(float) + constant)
    np.testing.assert_allclose(moved, log_softmax(logits), rtol=RELATIVE, atol=1e-10)
    assert np.allclose(np.exp(log_softmax(logits)).sum(-1), 1)


@given(st.floats(0, 1, exclude_min=True))
def test_a_tokens_loss_is_the_surprise(p):
    assert math.isclose(math.exp(-token_loss(p)), p, rel_tol=1e-9, abs_tol=5e-324)
    assert math.copysign(1, token_loss(p)) == 1  # never -0.0


def test_the_values_that_one_knows_by_heart():
    said = {0.9: 0.105, 0.5: 0.693, 0.1: 2.303, 0.01: 4.605, 0.8: 0.223}
    assert {p: round(token_loss(p), 3) for p in said} == said
    assert token_loss(0) == math.inf and token_loss(1) == 0
    assert math.isclose(bits(token_loss(0.25)), 2) and math.isclose(perplexity(token_loss(0.25)), 4)


@given(st.lists(st.tuples(st.integers(0, 9), st.floats(0, 20)), min_size=1, max_size=6))
def test_parts_give_the_mean_over_all_tokens(parts):
    losses = [[loss] * count for count, loss in parts]
    counts = [count for count, _ in parts]
    if not sum(counts):
        with pytest.raises(ValueError, match="no token of any part"):
            accumulate([0.0] * len(parts), counts)
        return
    whole = [loss for part in losses for loss in part]
    assert math.isclose(accumulate([sum(part) for part in losses], counts), sum(whole) / len(whole), abs_tol=1e-12)


@settings(deadline=None)
@given(sequences(), st.floats(0, 1))
def test_the_smoothed_gradient_is_autograds(sequence, smoothing):
    logits, _ = sequence
    leaf = torch.tensor(logits[0]).double().requires_grad_()
    F.cross_entropy(leaf[None], torch.tensor([0]), label_smoothing=smoothing).backward()
    np.testing.assert_allclose(smoothed_gradient(logits[0], 0, smoothing), leaf.grad.numpy(), rtol=1e-6, atol=1e-9)


def test_shift_and_masked_mean_make_the_sequence_loss():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(6, 5)), np.array([0, -100, -100, 3, 1, 4])
    predicting, targets = shift(logits, labels)
    losses = [-log_softmax(row)[max(target, 0)] for row, target in zip(predicting, targets)]
    assert math.isclose(masked_mean(losses, targets), sequence_loss(logits, labels))


NAN, INFINITE = np.array([0.0, math.nan, 1.0]), np.array([0.0, math.inf, 1.0])
BAD = [
    (token_loss, (-0.1,), "between 0 and 1"),
    (token_loss, (1.1,), "between 0 and 1"),
    (token_loss, (math.nan,), "between 0 and 1"),
    (log_softmax, (NAN,), "finite"),
    (log_softmax, (-INFINITE,), "finite"),
    (log_softmax, ([],), "at least one"),
    (logit_gradient, (NAN, 0), "finite"),
    (logit_gradient, (INFINITE, 0), "finite"),
    (logit_gradient, ([0.0, 1.0], 2), "ids 0 to 1"),
    (logit_gradient, ([0.0, 1.0], -1), "ids 0 to 1"),
    (logit_gradient, ([], 0), "vocabulary"),
    (sequence_loss, ([NAN, NAN], [0, 1]), "finite"),
    (sequence_loss, ([INFINITE, INFINITE], [0, 1]), "finite"),
    (sequence_loss, (np.zeros((2, 3)), [0, 3]), "outside the vocabulary"),
    (sequence_loss, (np.zeros((2, 3)), [0, -1]), "outside the vocabulary"),
    (sequence_loss, (np.zeros((3, 3)), [0, 1]), "length"),
    (sequence_loss, (np.zeros((0, 3)), []), "no token is counted"),
    (sequence_loss, (np.zeros((1, 3)), [2]), "no token is counted"),
    (accumulate, ([], []), "no token of any part"),
    (accumulate, ([1.0], [1, 2]), "one of each"),
    (masked_mean, ([1.0], [-100]), "no token is counted"),
    (smoothed_gradient, ([0.0, 1.0], 0, 2.0), "between 0 and 1"),
]


@pytest.mark.parametrize("function, arguments, said", BAD, ids=lambda value: getattr(value, "__name__", ""))
def test_what_cannot_be_right_is_one_clear_line(function, arguments, said):
    with pytest.raises(ValueError, match=said) as raised:
        function(*arguments)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("ids", [[], [-1], [10**6]])
def test_a_model_is_asked_about_tokens_that_it_has(tiny, ids):
    with pytest.raises(ValueError, match="at least one id"):
        token_losses(tiny[0], ids)


@pytest.fixture(scope="module")
def tiny(tiny_model_folder):
    return models.load(tiny_model_folder, device="cpu")


def test_a_texts_losses_are_the_models_own(tiny):
    model, tokenizer = tiny
    messages = [{"role": "user", "content": "What is 3 plus 4?"}, {"role": "assistant", "content": "Answer: 7"}]
    row = masking.render(messages, tokenizer)
    ids, labels = torch.tensor([row.input_ids]), torch.tensor([row.labels])
    losses = token_losses(model, row.input_ids)
    assert losses[0] is None and len(losses) == len(row.input_ids)
    whole = model(input_ids=ids, labels=ids).loss.item()
    assert math.isclose(sum(losses[1:]) / (len(losses) - 1), whole, rel_tol=1e-5)
    counted = counted_losses(model, [row, row])
    assert len(counted) == 2 * (len(row.input_ids) - row.prompt_length)
    assert math.isclose(sum(counted) / len(counted), model(input_ids=ids, labels=labels).loss.item(), rel_tol=1e-5)
    with torch.no_grad():
        logits = model(input_ids=ids).logits[0]
    assert math.isclose(sequence_loss(logits, row.labels), sum(counted) / len(counted), rel_tol=1e-5)


@given(st.lists(st.floats(0, 20), max_size=30))
def test_bins_hold_each_token_once(losses):
    edges = [0, 0.1, 0.5, 0.9, 1]
    found = by_probability(losses, edges)
    assert sum(count for count, _, _ in found) == len(losses)
    assert math.isclose(sum(loss for _, loss, _ in found), sum(losses), abs_tol=1e-9)
    assert math.isclose(sum(size for *_, size in found), sum(2 - 2 * math.exp(-loss) for loss in losses), abs_tol=1e-9)
    assert all(size <= 2 * count for count, _, size in found)


def test_importing_it_loads_no_torch():
    import subprocess
    import sys

    code = "import labkit.cross_entropy, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
