"""LoRA (Hu et al. 2021, arXiv 2106.09685): h = Wx + (α/r)·BAx, where W stays as it is and only A and B are trained.

What a learner writes. Each function is self-contained: its source runs with nothing but math, numpy and torch. Matrices
have torch's shapes: W is out × in, A r × in, B out × r. Invalid input raises `ValueError`. LoRA in a whole model is in
`lora_model`, the analysis of an update ΔW in `updates`, PEFT's adapters in `models`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def forward(x: torch.Tensor, W: torch.Tensor, A: torch.Tensor, B: torch.Tensor, alpha: float) -> torch.Tensor:
    """Wx + (α/r)·BAx for x of shape (…, in), giving (…, out); r is A's number of rows. BA itself is never computed.

    Raises ValueError for shapes that do not fit, a rank that is 0 or above W's, and an alpha that is not finite.
    """
    rank = len(A)
    if not 1 <= rank <= min(W.shape) or A.shape != (rank, W.shape[1]) or B.shape != (W.shape[0], rank):
        shapes = ", ".join(f"{name} {tuple(matrix.shape)}" for name, matrix in (("W", W), ("A", A), ("B", B)))
        raise ValueError(
            f"{shapes}: give W (out, in), A (r, in), B (out, r), with r from 1 to the smaller of W's sides"
        )
    if not math.isfinite(alpha):
        raise ValueError(f"alpha is {alpha}: give a finite number, such as 2·r")
    return x @ W.T + (alpha / rank) * (x @ A.T @ B.T)


def initialize(
    rank: int, in_features: int, out_features: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """(A, B) in float32 at the start: A as PEFT draws it, uniform between ±1/√in, and B zero: BA is 0.

    PEFT draws it by `kaiming_uniform_` with a = √5 (He et al. 2015). Raises ValueError for a rank that is 0 or above
    the smaller side of the matrix.
    """
    import torch

    if not 1 <= rank <= min(in_features, out_features):
        raise ValueError(f"rank is {rank}: give 1 to {min(in_features, out_features)}, the matrix's smaller side")
    A = torch.empty(rank, in_features)
    torch.nn.init.kaiming_uniform_(A, a=math.sqrt(5), generator=generator)
    return A, torch.zeros(out_features, rank)


def count(shapes: dict[str, tuple[int, int]], rank: int, targets: list[str] | str) -> int:
    """How many numbers LoRA trains: r·(in + out) for each targeted layer of `shapes`, {full name: (out, in)}.

    A target is the end of a full name, whole between dots: `q_proj`, `mlp.up_proj`. A layer counts once, however many
    targets name it. "all-linear" is every layer but the output layer, `lm_head`. Raises ValueError for a target that
    names no layer, and for a rank that is 0 or above the smaller side of a targeted matrix.
    """
    if targets == "all-linear":
        chosen = [name for name in shapes if name.split(".")[-1] != "lm_head"]
    else:
        chosen = [name for name in shapes if any(f".{name}".endswith(f".{target}") for target in targets)]
        for target in targets:
            if not any(f".{name}".endswith(f".{target}") for name in chosen):
                import difflib

                known = sorted({name.split(".")[-1] for name in shapes})
                near = difflib.get_close_matches(target, known, n=3, cutoff=0.4) or known[:8]
                raise ValueError(f"no layer is named {target!r}; near it are {', '.join(near)}")
    if not chosen:
        raise ValueError("no layer is targeted; name at least one, or all-linear")
    smallest = min(min(shapes[name]) for name in chosen)
    if not 1 <= rank <= smallest:
        raise ValueError(f"rank is {rank}: give 1 to {smallest}, the smallest side of the targeted matrices")
    return sum(rank * (shapes[name][0] + shapes[name][1]) for name in chosen)


def merge(W: torch.Tensor, A: torch.Tensor, B: torch.Tensor, alpha: float) -> torch.Tensor:
    """W + (α/r)·BA, a new tensor of W's type: one layer that does what W and the adapter did together.

    If W is bfloat16, the sum is rounded to bfloat16 once. Raises ValueError for shapes that do not fit, a rank that is
    0 or above W's, and an alpha that is not finite.
    """
    rank = len(A)
    if not 1 <= rank <= min(W.shape) or A.shape != (rank, W.shape[1]) or B.shape != (W.shape[0], rank):
        shapes = ", ".join(f"{name} {tuple(matrix.shape)}" for name, matrix in (("W", W), ("A", A), ("B", B)))
        raise ValueError(
            f"{shapes}: give W (out, in), A (r, in), B (out, r), with r from 1 to the smaller of W's sides"
        )
    if not math.isfinite(alpha):
        raise ValueError(f"alpha is {alpha}: give a finite number, such as 2·r")
    return (W + (alpha / rank) * (B @ A)).to(W.dtype)


def rank_needed(singular_values: list[float] | np.ndarray, share: float) -> int:
    """The smallest r for which the r largest singular values hold `share` of their summed squares.

    The squares sum to ‖ΔW‖², so this is the rank at which the best approximation of ΔW keeps that share of it (Eckart
    and Young 1936). It is 0 for a share of 0, and for a ΔW of zeros. Raises ValueError for no values, for one that is
    negative or not finite, and for a share that is not between 0 and 1.
    """
    values = np.asarray(singular_values, dtype=float)
    if not values.size or not (np.isfinite(values) & (values >= 0)).all():
        raise ValueError("the singular values must be finite and at least 0, and there must be some")
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share}: give a share between 0 and 1")
    held = np.concatenate([[0.0], np.cumsum(np.sort(values)[::-1] ** 2)])
    return int(np.argmax(held >= share * held[-1]))


def scale(alpha: float, rank: int, rank_stabilized: bool) -> float:
    """What BA is multiplied by: α/r, or α/√r if it is stabilized (rsLoRA, Kalajdzievski 2023, arXiv 2312.03732).

    Raises ValueError for a rank below 1 and an alpha that is not finite.
    """
    if rank < 1 or not math.isfinite(alpha):
        raise ValueError(f"alpha {alpha} and rank {rank}: give a finite alpha and a rank of at least 1")
    return alpha / math.sqrt(rank) if rank_stabilized else alpha / rank


# Given, not written by the learner.


def targeted(names: Iterable[str], targets: Sequence[str] | str) -> list[str]:
    """The layers' full names that match `targets`, by the rule of `count`."""
    if targets == "all-linear":
        return [name for name in names if name.split(".")[-1] != "lm_head"]
    return [name for name in names if any(f".{name}".endswith(f".{target}") for target in targets)]


def linear_layers(model: torch.nn.Module) -> dict[str, torch.nn.Linear]:
    """{full name: layer} of a model's linear layers, the output layer included."""
    import torch

    return {name: layer for name, layer in model.named_modules() if isinstance(layer, torch.nn.Linear)}


def linear_shapes(model: torch.nn.Module) -> dict[str, tuple[int, int]]:
    """{full name: (out, in)} of a model's linear layers, the output layer included; as `count` takes them."""
    return {name: (layer.out_features, layer.in_features) for name, layer in linear_layers(model).items()}
