"""Exercises of lab 06: LoRA's formula, its start, what it trains, its merge; the rank that ΔW needs, and its scale."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from labkit import lora
from labkit.exercises.kinds import Comparison, Exercise, Probe, mistake

if TYPE_CHECKING:
    import torch


def _drawn(rng: random.Random, *shape: int) -> torch.Tensor:
    """Numbers between −2 and 2 with two decimals, in float32."""
    import torch

    return torch.tensor([round(rng.uniform(-2, 2), 2) for _ in range(math.prod(shape))]).reshape(shape)


def _adapter(rng: random.Random, out: int, into: int, rank: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(W, A, B) of that shape."""
    return _drawn(rng, out, into), _drawn(rng, rank, into), _drawn(rng, out, rank)


# forward


def forward_probes(rng: random.Random) -> Iterator[Probe]:
    for group in ("edges", "typical"):
        W, A, B = _adapter(rng, 3, 4, 2)
        yield Probe((_drawn(rng, 4), W, A, B.clone().requires_grad_(), 4), group)  # a single vector
        yield Probe((_drawn(rng, 2, 1, 4), W, A.clone().requires_grad_(), B, 3.0), group)  # batch × length × in
        yield Probe((_drawn(rng, 2, 3), *_adapter(rng, 3, 3, 2), 6), group)  # a square matrix
        x = _drawn(rng, rng.randint(1, 2), 5)
        yield Probe((x, *_adapter(rng, rng.choice([4, 6]), 5, rng.randint(2, 3)), rng.choice([1, 16, 32])), group)
    yield Probe((_drawn(rng, 2, 4), W, A, 0 * B, 8), "edges")  # the start: B is 0
    yield Probe((_drawn(rng, 2, 4), W, A[:1], B[:, :1], 0.5), "edges")  # rank 1


def _update(x: torch.Tensor, A: torch.Tensor, B: torch.Tensor) -> torch.Tensor:
    return x @ A.T @ B.T


@mistake("forgets α/r", "You add BAx as it is: it is multiplied by α/r, where r is A's number of rows.")
def forward_unscaled(x, W, A, B, alpha):
    return x @ W.T + _update(x, A, B)


@mistake("scales by α", "You multiply by α alone: it is α/r, so divide by the rank, A's number of rows.")
def forward_by_alpha(x, W, A, B, alpha):
    return x @ W.T + alpha * _update(x, A, B)


@mistake("takes α/√r", "You divide by √r: that is rank-stabilized LoRA. Here it is α/r.")
def forward_stabilized(x, W, A, B, alpha):
    return x @ W.T + alpha / math.sqrt(len(A)) * _update(x, A, B)


@mistake(
    "takes another side for r",
    "You divide by the width of W: the rank is the side that A and B share, `A.shape[0]`, which is `B.shape[1]`.",
)
def forward_by_width(x, W, A, B, alpha):
    return x @ W.T + alpha / A.shape[1] * _update(x, A, B)


@mistake("scales Wx too", "You scale the whole sum: Wx stays as the base has it, only BAx is multiplied by α/r.")
def forward_all_scaled(x, W, A, B, alpha):
    return alpha / len(A) * (x @ W.T + _update(x, A, B))


@mistake("scales twice", "α/r comes in twice, once with A and once with B: multiply once.")
def forward_scaled_twice(x, W, A, B, alpha):
    return x @ W.T + (alpha / len(A)) ** 2 * _update(x, A, B)


@mistake("leaves Wx out", "You give the update alone: the base's Wx is added to it.")
def forward_without_base(x, W, A, B, alpha):
    return alpha / len(A) * _update(x, A, B)


@mistake(
    "takes x for a column",
    "You write W @ x as in the formula, where x is one column: here the features are x's last axis, and a batch has "
    "many rows, so it is `x @ W.T`.",
)
def forward_columns(x, W, A, B, alpha):
    return W @ x + alpha / len(A) * (B @ (A @ x))


@mistake(
    "does not turn W",
    "You write x @ W: W is out × in, so rows of x meet its transpose, `x @ W.T`. With a square W the error would go unnoticed.",
)
def forward_unturned(x, W, A, B, alpha):
    return x @ W + alpha / len(A) * _update(x, A, B)


@mistake(
    "does not turn BA",
    "You write x @ (B @ A): BA is out × in like W, so it is `x @ (B @ A).T`, or `x @ A.T @ B.T`, which is cheaper.",
)
def forward_update_unturned(x, W, A, B, alpha):
    return x @ W.T + alpha / len(A) * (x @ (B @ A))


@mistake(
    "detaches",
    "Yours detaches: gradients must flow through to A and B, or nothing learns. Use torch's operations on the tensors "
    "as they are, without `.detach()`, `.data`, `torch.tensor(…)`, NumPy or `torch.no_grad()`.",
)
def forward_detached(x, W, A, B, alpha):
    return (x @ W.T + alpha / len(A) * _update(x, A, B)).detach()


FORWARD = Exercise(
    id="lora.forward",
    points=2,
    minutes=5,
    reference=lora.forward,
    probes=forward_probes,
    compare=Comparison(rtol=1e-5, atol=1e-4, dtype="float32"),
    torch=True,
    misconceptions=(
        forward_unscaled,
        forward_by_alpha,
        forward_stabilized,
        forward_by_width,
        forward_all_scaled,
        forward_scaled_twice,
        forward_without_base,
        forward_columns,
        forward_unturned,
        forward_update_unturned,
        forward_detached,
    ),
    hints=(
        "x has its features on the last axis, W is out × in: which of the two has to be transposed? Where do you find r?",
        "First through A, from in to r numbers, then through B, from r to out numbers. BA itself is never needed.",
        "`x @ W.T + (alpha / A.shape[0]) * (x @ A.T @ B.T)`",
    ),
)


# initialize


def start_probes(rng: random.Random) -> Iterator[Probe]:
    import torch

    def probe(group, rank, into, out):
        return Probe((rank, into, out, torch.Generator().manual_seed(rng.randrange(10_000))), group)

    for group in ("edges", "typical"):
        yield probe(group, 1, 4, 2)
        yield probe(group, 3, 3, 3)
        yield probe(group, 2, rng.randint(5, 9), 4)
        yield probe(group, 3, rng.randint(5, 9), rng.randint(10, 12))
        yield probe(group, rng.randint(5, 9), 6, 4)  # above the smaller side
    yield probe("edges", 0, 4, 4)
    yield probe("typical", -1, 4, 4)


def _start(
    rank: int,
    into: int,
    out: int,
    fill_a: Callable[[torch.Tensor], Any] | None = None,
    fill_b: Callable[[torch.Tensor], Any] | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """(A, B), zero where nothing fills them; the rank is not checked."""
    import torch

    A, B = torch.zeros(rank, into), torch.zeros(out, rank)
    for matrix, fill in ((A, fill_a), (B, fill_b)):
        if fill is not None:
            fill(matrix)
    return A, B


def _uniform(bound: float, generator: torch.Generator) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda matrix: matrix.uniform_(-bound, bound, generator=generator)


@mistake(
    "draws B too",
    "You draw B too: then BA is not 0, and the first step already starts from a disturbed model. B is all zeros.",
)
def start_both_drawn(rank, in_features, out_features, generator):
    each = _uniform(1 / math.sqrt(in_features), generator)
    return _start(rank, in_features, out_features, each, _uniform(1 / math.sqrt(max(rank, 1)), generator))


EXCHANGED = "You draw B and leave A zero: BA is 0 as well, but it is A that LoRA, and PEFT, draw."


@mistake("exchanges A and B", EXCHANGED)
def start_exchanged(rank, in_features, out_features, generator):
    return _start(rank, in_features, out_features, None, _uniform(1 / math.sqrt(max(rank, 1)), generator))


@mistake("exchanges A and B, as wide as A", EXCHANGED)
def start_exchanged_as_wide(rank, in_features, out_features, generator):
    return _start(rank, in_features, out_features, None, _uniform(1 / math.sqrt(in_features), generator))


@mistake(
    "leaves both zero",
    "Both are zero: then B's gradient, which goes through A, is zero, and A's, which goes through B, too. Nothing "
    "would ever move; draw A.",
)
def start_both_zero(rank, in_features, out_features, generator):
    return _start(rank, in_features, out_features)


@mistake(
    "draws a normal A",
    "You draw A from a normal distribution: PEFT's default is uniform, Kaiming with a = √5, between ±1/√in. "
    "The paper says Gaussian, and PEFT has that as an option.",
)
def start_normal(rank, in_features, out_features, generator):
    return _start(rank, in_features, out_features, lambda A: A.normal_(0, 1 / rank, generator=generator))


@mistake(
    "leaves a = √5 out",
    "You call Kaiming without `a=math.sqrt(5)`: then it draws between ±√(6/in), two and a half times as wide.",
)
def start_plain_kaiming(rank, in_features, out_features, generator):
    return _start(rank, in_features, out_features, _uniform(math.sqrt(6 / in_features), generator))


@mistake(
    "takes the rank for the fan",
    "Your A lies between ±1/√r: its fan is the number of inputs, `in_features`. Draw it as r × in, not as in × r and "
    "transposed.",
)
def start_by_rank(rank, in_features, out_features, generator):
    return _start(rank, in_features, out_features, _uniform(1 / math.sqrt(max(rank, 1)), generator))


@mistake(
    "draws between 0 and 1",
    "`torch.rand` draws between 0 and 1: A lies on both sides of 0, between ±1/√in.",
)
def start_positive(rank, in_features, out_features, generator):
    return _start(rank, in_features, out_features, lambda A: A.uniform_(0, 1, generator=generator))


@mistake("turns the shapes", "Your A is in × r and your B r × out: A is r × in and B out × r, so that BA is out × in.")
def start_turned(rank, in_features, out_features, generator):
    A, B = start_unchecked.function(rank, in_features, out_features, generator)
    return A.T, B.T


@mistake("gives B first", "You give (B, A): the order is A, then B.")
def start_b_first(rank, in_features, out_features, generator):
    return start_unchecked.function(rank, in_features, out_features, generator)[::-1]


@mistake(
    "takes any rank",
    "A rank of 0 makes no adapter, and a rank above the matrix's smaller side adds nothing: raise a `ValueError` "
    "unless 1 <= rank <= min(in_features, out_features).",
)
def start_unchecked(rank, in_features, out_features, generator):
    return _start(rank, in_features, out_features, _uniform(1 / math.sqrt(in_features), generator))


INITIALIZE = Exercise(
    id="lora.initialize",
    points=2,
    minutes=5,
    reference=lora.initialize,
    probes=start_probes,
    compare=Comparison(rtol=1e-5, atol=1e-6, dtype="float32"),
    torch=True,
    misconceptions=(
        start_both_drawn,
        start_exchanged,
        start_exchanged_as_wide,
        start_both_zero,
        start_normal,
        start_plain_kaiming,
        start_by_rank,
        start_positive,
        start_turned,
        start_b_first,
        start_unchecked,
    ),
    hints=(
        "BA has to be 0 at the start, and yet something has to learn. Which of the two is drawn? In which shapes?",
        "`torch.empty(rank, in_features)`, filled by `torch.nn.init.kaiming_uniform_(A, a=…, generator=generator)`, "
        "and `torch.zeros(out_features, rank)`. The rank is checked first.",
        "a is `math.sqrt(5)`, which makes ±1/√in; `ValueError` unless `1 <= rank <= min(in_features, out_features)`.",
    ),
)


# count


def count_probes(rng: random.Random) -> Iterator[Probe]:
    def model(width, key, inner, layers, rows):
        block = {
            "self_attn.q_proj": (width, width),
            "self_attn.k_proj": (key, width),
            "self_attn.v_proj": (key, width),
            "mlp.gate_up_proj": (2 * inner, width),
            "mlp.up_proj": (inner, width),
            "mlp.down_proj": (width, inner),
        }
        names = [(f"model.layers.{n}.{name}", shape) for n in range(layers) for name, shape in block.items()]
        return {**dict(names), "lm_head": (rows, width)}

    square = {"a.q_proj": (8, 8), "lm_head": (30, 8)}
    small = model(8, 4, 12, 2, 50)
    yield Probe(({"q_proj": (4096, 4096)}, 8, ["q_proj"]), "edges")  # the number that is often quoted
    yield Probe((square, 2, "all-linear"), "edges")
    yield Probe((small, 2, ["up_proj"]), "edges")
    yield Probe((small, 3, ["q_proj", "self_attn.q_proj"]), "edges")
    yield Probe((small, 1, ["v_proj", "q_proj"]), "edges")
    yield Probe((small, 2, ["mlp"]), "edges")
    yield Probe((small, 2, []), "edges")
    yield Probe((small, 0, ["q_proj"]), "edges")
    yield Probe((small, 5, ["k_proj"]), "edges")  # above its smaller side
    yield Probe((small, 5, ["q_proj"]), "edges")  # above that of another, which is not targeted
    width = rng.randint(6, 20) * 4
    key = width // rng.choice([2, 4])
    shapes = model(width, key, width * 2 + rng.randint(1, 9), 2, 301)
    rank = rng.randint(2, 4)
    yield Probe((shapes, rank, ["q_proj", "v_proj"]), "typical")
    yield Probe((shapes, rank, ["up_proj", rng.choice(["k_proj", "down_proj"])]), "typical")
    yield Probe((shapes, rank, "all-linear"), "typical")
    yield Probe((shapes, rank, ["mlp.up_proj", "up_proj"]), "typical")
    yield Probe((shapes, rank, ["q_proj", rng.choice(["query", "proj", "self_attn"])]), "typical")
    yield Probe((shapes, rng.randint(key + 1, width), ["up_proj", "q_proj"]), "typical")
    yield Probe((shapes, width + 1, "all-linear"), "typical")


def _counted(
    shapes: dict[str, tuple[int, int]], rank: int, targets: list[str] | str, each: Callable[[int, int], int]
) -> int:
    """The sum of `each(out, in)` over the targeted layers; nothing is checked."""
    return sum(each(*shapes[name]) for name in lora.targeted(shapes, targets))


@mistake(
    "multiplies the sides",
    "You multiply in and out: that is W again. A is r × in and B out × r, together r·(in + out).",
)
def count_product(shapes, rank, targets):
    return _counted(shapes, rank, targets, lambda out, into: rank * out * into)


@mistake("counts W", "You count W, which is frozen: what is trained is A and B, r·(in + out).")
def count_frozen(shapes, rank, targets):
    return _counted(shapes, rank, targets, lambda out, into: out * into)


@mistake("counts W as well", "You add W to A and B: W is frozen, so only A and B are trained.")
def count_with_frozen(shapes, rank, targets):
    return _counted(shapes, rank, targets, lambda out, into: out * into + rank * (out + into))


@mistake("counts A alone", "You count A alone, r·in: B has out·r more.")
def count_a_alone(shapes, rank, targets):
    return _counted(shapes, rank, targets, lambda out, into: rank * into)


@mistake(
    "takes every matrix for square",
    "You take 2·r·in: most matrices are not square. With grouped-query attention k and v have fewer outputs.",
)
def count_square(shapes, rank, targets):
    return _counted(shapes, rank, targets, lambda out, into: 2 * rank * into)


@mistake("forgets the rank", "You add the sides and forget r: each of the two matrices has r times its side.")
def count_without_rank(shapes, rank, targets):
    return _counted(shapes, rank, targets, lambda out, into: out + into)


@mistake(
    "counts one layer",
    "You count each kind of layer once: a target names it in every block, so all of them count.",
)
def count_one_layer(shapes, rank, targets):
    kinds = {name.split(".")[-1]: name for name in reversed(shapes)}
    return lora.count({name: shapes[name] for name in kinds.values()}, rank, targets)


@mistake(
    "matches a part of a name",
    "You look whether the name ends with the target: `gate_up_proj` ends with `up_proj` too. Compare the parts "
    "between dots.",
)
def count_by_ending(shapes, rank, targets):
    if targets == "all-linear":
        return lora.count(shapes, rank, targets)
    lora.count(shapes, rank, targets)
    return sum(rank * sum(shape) for name, shape in shapes.items() if any(name.endswith(each) for each in targets))


@mistake(
    "looks anywhere in a name",
    "You look for the target anywhere in the name: a target is its end, whole between dots, so `mlp` and `self_attn` "
    "name no layer here, and `up_proj` is not `gate_up_proj`.",
)
def count_by_part(shapes, rank, targets):
    if targets == "all-linear":
        return lora.count(shapes, rank, targets)
    if not targets or any(not any(each in name for name in shapes) for each in targets):
        raise ValueError("no such layer")
    chosen = [shape for name, shape in shapes.items() if any(each in name for each in targets)]
    if not 1 <= rank <= min(map(min, chosen)):
        raise ValueError("rank")
    return sum(rank * sum(shape) for shape in chosen)


@mistake(
    "counts the output layer",
    "With all-linear you count `lm_head` too: the output layer is left out, by PEFT as well.",
)
def count_with_head(shapes, rank, targets):
    return lora.count(shapes, rank, [name.split(".")[-1] for name in shapes] if targets == "all-linear" else targets)


@mistake(
    "counts a layer twice",
    "A layer that two targets name is counted twice: go over the layers, and ask whether any target names it.",
)
def count_twice(shapes, rank, targets):
    if targets == "all-linear":
        return lora.count(shapes, rank, targets)
    lora.count(shapes, rank, targets)
    return sum(lora.count(shapes, rank, [target]) for target in targets)


@mistake(
    "lets an unknown target pass",
    "A target that names no layer is ignored: people then train fewer layers than they think, or none. Raise a "
    "`ValueError`.",
)
def count_unknown_passed(shapes, rank, targets):
    chosen = [shapes[name] for name in lora.targeted(shapes, targets)]
    if chosen and not 1 <= rank <= min(map(min, chosen)):
        raise ValueError("rank")
    return sum(rank * sum(shape) for shape in chosen)


@mistake(
    "takes any rank",
    "A rank of 0, or one above the smaller side of a targeted matrix, must be a `ValueError`.",
)
def count_any_rank(shapes, rank, targets):
    lora.count(shapes, 1, targets)
    return _counted(shapes, rank, targets, lambda out, into: rank * (out + into))


@mistake(
    "looks at every matrix for the rank",
    "You compare the rank with every matrix: only the targeted ones get an A and a B, so only their sides limit it.",
)
def count_rank_of_all(shapes, rank, targets):
    if rank > min(map(min, shapes.values())):
        raise ValueError("rank")
    return lora.count(shapes, rank, targets)


COUNT = Exercise(
    id="lora.count",
    points=3,
    minutes=8,
    reference=lora.count,
    probes=count_probes,
    misconceptions=(
        count_product,
        count_frozen,
        count_with_frozen,
        count_a_alone,
        count_square,
        count_without_rank,
        count_one_layer,
        count_by_ending,
        count_by_part,
        count_with_head,
        count_twice,
        count_unknown_passed,
        count_any_rank,
        count_rank_of_all,
    ),
    hints=(
        "For one matrix: what are the shapes of A and B? Then: which layers are targeted, each counted once?",
        '`f".{name}".endswith(f".{target}")` compares whole names between dots. With "all-linear" all layers but '
        "`lm_head` are targeted.",
        "`sum(rank * sum(shapes[name]) for name in chosen)`. Raise `ValueError` for a target without a layer, for no "
        "target, and for a rank that is 0 or above the smallest side.",
    ),
)


# merge


def merge_probes(rng: random.Random) -> Iterator[Probe]:
    import torch

    ones = torch.ones(2, 3)
    for group in ("edges", "typical"):
        yield Probe((*_adapter(rng, 3, 3, 2), 3.0), group)  # a square matrix
        # A sum that bfloat16 cannot hold: it is rounded, here back to W.
        yield Probe((ones.bfloat16(), ones[:1] / 8, ones[:, :1] / 64, 1), group)
        yield Probe((*_adapter(rng, rng.choice([4, 6]), 5, rng.randint(2, 3)), rng.choice([1, 16, 32])), group)
    W, A, B = _adapter(rng, 3, 4, 2)
    yield Probe((W, A, 0 * B, 8), "edges")
    yield Probe((W, A[:1], B[:, :1], 0.5), "edges")
    yield Probe((*_adapter(rng, 2, 4, 2), rng.choice([8, 24])), "typical")


@mistake(
    "forgets α/r", "You add BA as it is: it is multiplied by α/r, otherwise the merged layer does not do what both did."
)
def merge_unscaled(W, A, B, alpha):
    return (W + B @ A).to(W.dtype)


@mistake("scales by α", "You multiply by α alone: it is α/r, so divide by the rank, A's number of rows.")
def merge_by_alpha(W, A, B, alpha):
    return (W + alpha * (B @ A)).to(W.dtype)


@mistake("takes α/√r", "You divide by √r: that is rank-stabilized LoRA. Here it is α/r.")
def merge_stabilized(W, A, B, alpha):
    return (W + alpha / math.sqrt(len(A)) * (B @ A)).to(W.dtype)


@mistake(
    "takes another side for r",
    "You divide by the number of outputs: the rank is the side that A and B share, `A.shape[0]` or `B.shape[1]`.",
)
def merge_by_outputs(W, A, B, alpha):
    return (W + alpha / len(B) * (B @ A)).to(W.dtype)


@mistake("leaves W out", "You give ΔW alone: the merged weight is W plus it.")
def merge_update_alone(W, A, B, alpha):
    return (alpha / len(A) * (B @ A)).to(W.dtype)


@mistake("subtracts", "You subtract the update: that is how a merged adapter is removed again.")
def merge_subtracted(W, A, B, alpha):
    return (W - alpha / len(A) * (B @ A)).to(W.dtype)


@mistake("turns BA", "You add the transpose of BA: B @ A is out × in already, like W.")
def merge_turned(W, A, B, alpha):
    return (W + alpha / len(A) * (B @ A).T).to(W.dtype)


@mistake("multiplies AB", "You multiply A @ B, which is r × r: it is B @ A, out × in like W.")
def merge_inner(W, A, B, alpha):
    return (W + alpha / len(A) * (A @ B)).to(W.dtype)


@mistake(
    "changes the type",
    "Where W is bfloat16 you give float32, because A and B are: the merged weight takes W's place, so it has W's type, "
    "`.to(W.dtype)`.",
)
def merge_promoted(W, A, B, alpha):
    return W + alpha / len(A) * (B @ A)


MERGE = Exercise(
    id="lora.merge",
    points=2,
    minutes=5,
    reference=lora.merge,
    probes=merge_probes,
    compare=Comparison(rtol=1e-5, atol=1e-4),
    torch=True,
    misconceptions=(
        merge_unscaled,
        merge_by_alpha,
        merge_stabilized,
        merge_by_outputs,
        merge_update_alone,
        merge_subtracted,
        merge_turned,
        merge_inner,
        merge_promoted,
    ),
    hints=(
        "Which matrix, added to W, does to x what the adapter does? What shape and type does the result have?",
        "`B @ A` is out × in. Make a new tensor: `W += …` would change the base itself.",
        "`(W + (alpha / A.shape[0]) * (B @ A)).to(W.dtype)`",
    ),
)


# rank_needed


def rank_probes(rng: random.Random) -> Iterator[Probe]:
    yield Probe(([4.0, 2.0, 1.0, 1.0], 0.5), "edges")
    yield Probe(([3.0, 1.0], 0.9), "edges")  # the first alone holds exactly nine tenths
    yield Probe(([5.0, 4.0, 3.0], 0.9), "edges")
    yield Probe(([1.0, 1.0, 1.0, 1.0], 1.0), "edges")
    yield Probe(([2.0, 1.0, 0.0, 0.0], 1.0), "edges")
    yield Probe(([0.0, 0.0, 0.0], 0.9), "edges")
    yield Probe(([1.0, 1.0, 5.0, 1.0], 0.8), "edges")  # in another order
    yield Probe(([2.0, 1.0], 1.1), "edges")
    yield Probe(([], 0.5), "edges")
    for _ in range(5):
        size, power = rng.randint(8, 14), rng.uniform(0.5, 1.2)
        values = [round(5 / place**power + rng.uniform(0, 0.02), 3) for place in range(1, size + 1)]
        if rng.random() < 0.5:
            rng.shuffle(values)
        yield Probe((values, rng.choice([0.53, 0.77, 0.91])), "typical")
    values = [round(6 / place**0.6, 3) for place in range(1, 13)]
    yield Probe((values[::-1], 0.71), "typical")
    yield Probe(([3.0, 3.0, 3.0, 3.0], 0.5), "typical")
    yield Probe((values, 0.0), "typical")
    yield Probe(([2.0, 1.0], rng.choice([-0.2, 1.3])), "typical")


def _needed(values: list[float], share: float, power: float = 2.0, strictly: bool = False, by_size: bool = True) -> int:
    sizes = np.asarray(values, dtype=float)
    if not sizes.size or not 0 <= share <= 1:
        raise ValueError("values or share")
    sizes = np.sort(sizes)[::-1] if by_size else sizes
    held = np.concatenate([[0.0], np.cumsum(sizes**power)])
    enough = held > share * held[-1] if strictly else held >= share * held[-1]
    return int(np.argmax(enough)) if enough.any() else len(sizes)


@mistake(
    "forgets the squares",
    "You sum the values themselves: the size of the matrix, ‖ΔW‖², is the sum of their squares.",
)
def rank_unsquared(singular_values, share):
    return _needed(singular_values, share, power=1.0)


@mistake(
    "takes the share of the number",
    "You take that share of the number of values: the first ones are larger, so fewer of them hold it.",
)
def rank_by_number(singular_values, share):
    if not len(singular_values) or not 0 <= share <= 1:
        raise ValueError("values or share")
    return math.ceil(share * len(singular_values))


@mistake("is one too low", "You give the index of the last value that is needed: counted from 0, so it is one more.")
def rank_index(singular_values, share):
    return max(_needed(singular_values, share) - 1, 0)


@mistake(
    "wants more than the share", "You ask for more than the share: if r values hold exactly the share, r is enough."
)
def rank_strictly(singular_values, share):
    return _needed(singular_values, share, strictly=True)


@mistake(
    "keeps the given order",
    "You add them up in the order in which they come: the smallest rank takes the largest values first, so sort.",
)
def rank_unsorted(singular_values, share):
    return _needed(singular_values, share, by_size=False)


@mistake(
    "takes the share of ‖ΔW‖",
    "You compare the root of the summed squares: the share is that of the squares, ‖ΔW‖².",
)
def rank_of_norm(singular_values, share):
    return _needed(singular_values, share**2 if 0 <= share <= 1 else share)


@mistake(
    "counts values near the largest",
    "You count the values above a share of the largest: what counts is how much the r largest hold together.",
)
def rank_near_largest(singular_values, share):
    if not len(singular_values) or not 0 <= share <= 1:
        raise ValueError("values or share")
    return int((np.asarray(singular_values) >= share * max(singular_values)).sum())


@mistake(
    "needs a rank for a share of 0",
    "You begin with r = 1: a share of 0, and a ΔW of zeros, need no rank at all, so begin with 0.",
)
def rank_from_one(singular_values, share):
    return max(_needed(singular_values, share), 1)


RANK_NEEDED = Exercise(
    id="lora.rank_needed",
    points=2,
    minutes=6,
    reference=lora.rank_needed,
    probes=rank_probes,
    misconceptions=(
        rank_unsquared,
        rank_by_number,
        rank_index,
        rank_strictly,
        rank_unsorted,
        rank_of_norm,
        rank_near_largest,
        rank_from_one,
    ),
    hints=(
        "What do all values hold together? Which r of them hold the most?",
        "Sort them, largest first, square them and add up; r = 0 holds nothing. Where is the share reached?",
        "`held = np.concatenate([[0.0], np.cumsum(np.sort(values)[::-1] ** 2)])`, then "
        "`int(np.argmax(held >= share * held[-1]))`; no values, or a share outside 0 to 1: raise `ValueError`.",
    ),
)


# scale


def scale_probes(rng: random.Random) -> Iterator[Probe]:
    for group in ("edges", "typical"):
        for stabilized in (False, True):
            yield Probe((32, 16, stabilized), group)
            yield Probe((rng.randint(3, 40), rng.randint(2, 9), stabilized), group)
            yield Probe((round(rng.uniform(0.1, 0.9), 2), rng.choice([64, 50]), stabilized), group)
            yield Probe((rng.randint(50, 90), rng.randint(10, 30), stabilized), group)
        yield Probe((16, -rng.randint(0, 3), rng.random() < 0.5), group)
        yield Probe((rng.choice([math.nan, math.inf]), 4, rng.random() < 0.5), group)
    yield Probe((1, 1, True), "edges")


@mistake("never takes the root", "You divide by r in both cases: if it is rank-stabilized, divide by √r.")
def scale_plain(alpha, rank, rank_stabilized):
    return alpha / rank


@mistake("always takes the root", "You divide by √r in both cases: LoRA's own scale is α/r.")
def scale_root(alpha, rank, rank_stabilized):
    return alpha / math.sqrt(rank)


@mistake("exchanges the two", "You take the root if it is not stabilized, and leave it out if it is.")
def scale_exchanged(alpha, rank, rank_stabilized):
    return alpha / rank if rank_stabilized else alpha / math.sqrt(rank)


@mistake("takes the root of all", "You take the root of α/r: α stays as it is, only r goes under the root.")
def scale_root_of_all(alpha, rank, rank_stabilized):
    return math.sqrt(alpha / rank) if rank_stabilized else alpha / rank


@mistake("multiplies by r", "You multiply by r: a larger rank adds more terms, so it is divided by.")
def scale_multiplied(alpha, rank, rank_stabilized):
    return alpha * (math.sqrt(rank) if rank_stabilized else rank)


@mistake("turns the quotient", "You divide the rank by α: it is α that is divided.")
def scale_turned(alpha, rank, rank_stabilized):
    return (math.sqrt(rank) if rank_stabilized else rank) / alpha


@mistake(
    "lets NaN through",
    "With an alpha that is NaN or infinite yours passes it on: every logit would be NaN, and no loader reports it. Raise a "
    "`ValueError`.",
)
def scale_of_nan(alpha, rank, rank_stabilized):
    if rank < 1:
        raise ValueError("rank")
    return alpha / (math.sqrt(rank) if rank_stabilized else rank)


SCALE = Exercise(
    id="lora.scale",
    points=1,
    minutes=4,
    reference=lora.scale,
    probes=scale_probes,
    misconceptions=(
        scale_plain,
        scale_root,
        scale_exchanged,
        scale_root_of_all,
        scale_multiplied,
        scale_turned,
        scale_of_nan,
    ),
    hints=(
        "Two formulas and two checks. What does each divide by?",
        "α/r, or α/√r where `rank_stabilized`. `math.isfinite` tells NaN and infinity.",
        "`alpha / math.sqrt(rank) if rank_stabilized else alpha / rank`; `ValueError` for a rank below 1 and an alpha "
        "that is not finite.",
    ),
)
