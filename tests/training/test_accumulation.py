"""A batch in parts: the gradient by what is divided by, and a fence on what backward keeps."""

from types import SimpleNamespace

import pytest
import torch

from labkit import models
from labkit.training import accumulated
from labkit.training.accumulation import Fence


def by_all(loss, count, total):
    return loss / total


@pytest.fixture(scope="module")
def model(tiny_model_folder):
    return models.load(tiny_model_folder, device="cpu")[0]


@pytest.fixture(scope="module")
def rows():
    draw = torch.Generator().manual_seed(0)
    made = [torch.randint(5, 200, (length,), generator=draw).tolist() for length in (6, 9, 14, 5)]
    return [SimpleNamespace(input_ids=ids, labels=[-100] * 2 + ids[2:]) for ids in made]


def test_divided_by_all_counted_tokens_the_parts_give_the_whole(model, rows):
    whole = accumulated(model, [rows], 0, by_all)
    halves = accumulated(model, [rows[:2], rows[2:]], 0, by_all)
    assert halves.off(whole) < 1e-4
    assert sum(halves.sums) == pytest.approx(whole.sums[0], rel=1e-5) and sum(halves.counts) == whole.counts[0] == 26
    labels = torch.tensor([[-100] * 2 + rows[0].input_ids[2:]])
    alone = model(input_ids=torch.tensor([rows[0].input_ids]), labels=labels).loss.item()
    one = accumulated(model, [rows[:1]], 0, by_all)
    assert one.sums[0] / one.counts[0] == pytest.approx(alone, rel=1e-5)  # as transformers


def test_a_mean_of_means_is_another_gradient_and_a_sum_of_means_too_long(model, rows):
    whole = accumulated(model, [rows], 0, by_all)
    halves = [rows[:2], rows[2:]]
    assert accumulated(model, halves, 0, lambda loss, count, total: loss / count / 2).off(whole) > 0.01
    assert accumulated(model, halves, 0, lambda loss, count, total: loss / count).off(whole) > 0.5


def test_a_fence_stops_a_part_that_keeps_too_much(model, rows):
    with pytest.raises(MemoryError, match="fence"):
        accumulated(model, [rows], 0, by_all, megabytes=0.01)
    assert accumulated(model, [rows], 0, by_all, megabytes=100).counts == [26]


def test_a_fence_counts_a_storage_once_and_no_weights():
    fence = Fence(megabytes=1)
    tensor = torch.zeros(1000)
    for kept in (tensor, tensor.view(10, 100), torch.nn.Parameter(torch.zeros(500))):
        assert fence.keep(kept) is kept
    assert fence.left == 1e6 - 4000
