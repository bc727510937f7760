"""Lab 06's exercises: other right solutions than the reference pass, and what people write first is told apart."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from labkit.exercises import catalogue, find
from labkit.exercises.engine import check, judge
from labkit.exercises.kinds import literal


def forward(x, W, A, B, alpha):
    scaling = alpha / B.shape[1]
    return torch.nn.functional.linear(x, W) + torch.einsum("...i,ri,or->...o", x, A, B) * scaling


def initialize(rank, in_features, out_features, generator):
    if rank < 1 or rank > in_features or rank > out_features:
        raise ValueError("rank")
    return (2 * torch.rand(rank, in_features, generator=generator) - 1) / in_features**0.5, torch.zeros(
        (out_features, rank)
    )


def count(shapes, rank, targets):
    total, seen = 0, set()
    if targets != "all-linear":
        for target in targets:
            parts = target.split(".")
            found = [name for name in shapes if name.split(".")[-len(parts) :] == parts]
            if not found:
                raise ValueError(target)
            seen.update(found)
    else:
        seen = {name for name in shapes if not name.endswith("lm_head")}
    if not seen:
        raise ValueError("nothing")
    for name in seen:
        out, into = shapes[name]
        if not 0 < rank <= min(out, into):
            raise ValueError("rank")
        total += out * rank + rank * into
    return total


def merge(W, A, B, alpha):
    merged = W.clone()
    merged += (alpha / len(A)) * torch.matmul(B, A)
    return merged


def rank_needed(singular_values, share):
    squares = sorted((value**2 for value in singular_values), reverse=True)
    if not singular_values or not 0 <= share <= 1:
        raise ValueError("share")
    rank, held = 0, 0.0
    while held < share * sum(squares) - 1e-12:
        held += squares[rank]
        rank += 1
    return rank


def scale(alpha, rank, rank_stabilized):
    if rank <= 0 or math.isnan(alpha) or math.isinf(alpha):
        raise ValueError("rank or alpha")
    return alpha / rank ** (0.5 if rank_stabilized else 1)


RIGHT = [forward, initialize, count, merge, rank_needed, scale]


@pytest.mark.parametrize("function", RIGHT, ids=lambda f: f.__name__)
def test_another_right_solution_passes(function):
    for seed in range(10):
        assert judge(find(f"lora.{function.__name__}"), function, seed).text == "passed"


def merge_in_place(W, A, B, alpha):
    W += alpha / len(A) * B @ A
    return W


def checked_start(rank, in_features, out_features, generator):
    if not 1 <= rank <= min(in_features, out_features):
        raise ValueError("rank")
    A = torch.nn.init.kaiming_uniform_(torch.empty(rank, in_features), generator=generator)
    return A, torch.zeros(out_features, rank)


def exchanged_start(rank, in_features, out_features, generator):
    if not 1 <= rank <= min(in_features, out_features):
        raise ValueError("rank")
    B = torch.nn.init.kaiming_uniform_(torch.empty(out_features, rank), a=math.sqrt(5), generator=generator)
    return torch.zeros(rank, in_features), B


def by_numpy(x, W, A, B, alpha):
    x, W, A, B = (each.detach().numpy() for each in (x, W, A, B))
    return torch.tensor(x @ W.T + alpha / len(A) * x @ A.T @ B.T)


def refused_too_early(shapes, rank, targets):
    if rank > min(min(shape) for shape in shapes.values()):
        raise ValueError("rank")
    return count(shapes, rank, targets)


@pytest.mark.parametrize(
    "name, function, says",
    [
        ("forward", lambda x, W, A, B, alpha: W @ x + alpha / len(A) * (B @ A @ x), "takes x for a column|one column"),
        ("forward", lambda x, W, A, B, alpha: x @ W.T + x @ (B @ A).T, "multiplied by α/r"),
        ("forward", by_numpy, "Yours detaches"),
        ("forward", lambda x, W, A, B, alpha: forward(x, W, A.detach(), B, alpha), "Yours detaches"),
        ("initialize", exchanged_start, "You draw B and leave A zero"),
        ("initialize", checked_start, "without `a=math.sqrt"),
        ("initialize", lambda rank, i, o, generator: (torch.randn(rank, i), torch.zeros(o, rank)), "wrong for"),
        ("count", refused_too_early, "only the targeted ones get an A and a B"),
        ("count", lambda shapes, rank, targets: 2 * rank * 4096, "wrong for count("),
        ("count", lambda shapes, rank, targets: sum(rank * sum(each) for each in shapes.values()), "wrong for count("),
        ("merge", merge_in_place, "changes its argument"),
        ("merge", lambda W, A, B, alpha: W + B @ A * alpha / len(A), "so it has W's type"),
        (
            "rank_needed",
            lambda values, share: int(np.searchsorted(np.cumsum(values) / sum(values), share)) + 1,
            "wrong",
        ),
        ("scale", lambda alpha, rank, rank_stabilized: alpha / rank, "You divide by r in both cases"),
    ],
)
def test_what_people_write_first_is_answered(name, function, says):
    verdict = judge(find(f"lora.{name}"), function)
    assert not verdict.passed and any(each in verdict.text for each in says.split("|"))
    assert "\n" not in verdict.text


def test_a_start_drawn_without_the_given_generator_is_told_so():
    cell = """@lk.exercise("lora.initialize")
def initialize(rank, in_features, out_features, generator):
    if not 1 <= rank <= min(in_features, out_features):
        raise ValueError
    A = torch.empty(rank, in_features)
    torch.nn.init.kaiming_uniform_(A, a=math.sqrt(5){})
    return A, torch.zeros(out_features, rank)
"""
    assert check(find("lora.initialize"), cell.format(", generator=generator")).passed
    assert "draws without the generator that it is given" in check(find("lora.initialize"), cell.format("")).text


def test_a_generator_among_the_arguments_can_be_written_and_read_again():
    probe = find("lora.initialize").draw(0)[0]
    said = literal(probe.args)
    assert "torch.Generator().manual_seed(" in said
    again = eval(said, {"torch": torch})
    assert torch.equal(torch.rand(5, generator=again[-1]), torch.rand(5, generator=probe.args[-1]))


def test_reading_the_exercises_loads_no_torch():
    """Lab 01 should not wait for what lab 06 needs."""
    import subprocess
    import sys

    code = "import sys; from labkit.exercises import catalogue; assert catalogue() and 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert catalogue()
