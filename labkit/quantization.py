"""Weights in four bits: NF4's levels, blocks with a scale of their own, and what that costs in bits and in error.

QLoRA (Dettmers et al. 2023, arXiv 2305.14314) keeps the frozen base so. First what a learner writes, each standing
alone: its source runs with nothing but math, numpy and torch, and what cannot be right is a `ValueError`. Then what is
given: packing, the scales' own quantization, other levels to compare with. All of it is bitsandbytes' on a CPU, byte
for byte; a model with such weights is loaded by `models`, what all of a run takes is in `memory`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def levels(bits: int = 4, offset: float = 0.9677083) -> np.ndarray:
    """The 2^bits levels of NormalFloat, ascending from −1 to 1 with one 0, in float32; for 4 bits those of NF4.

    They are quantiles of the normal distribution: h = 2^(bits−1) of them above 0, at h points evenly spaced from
    `offset` down to ½, which is left out; h − 1 below 0, found likewise from h − 1 points and turned negative. All are
    divided by the largest. The points are in float32, as in bitsandbytes, whose table this is to the bit. Raises
    ValueError for fewer than 2 or more than 8 bits, and for an offset that is not between ½ and 1.
    """
    import torch

    if not 2 <= bits <= 8 or not 0.5 < offset < 1:
        raise ValueError(f"bits is {bits} and offset {offset}: give 2 to 8 bits, and an offset between 0.5 and 1")

    def quantiles(count: int) -> torch.Tensor:
        points = torch.linspace(offset, 0.5, count + 1)[:-1]
        return torch.special.ndtri(points.double()).float()

    half = 2 ** (bits - 1)
    found = torch.cat([-quantiles(half - 1), torch.zeros(1), quantiles(half)])
    return (found / found.max()).sort().values.numpy()


def quantize(weights: np.ndarray, levels: np.ndarray, block: int) -> tuple[np.ndarray, np.ndarray]:
    """(codes, absmax): for each weight the place of the level next to it, and for each block what it was divided by.

    `block` weights that follow one another, row after row, share an absmax, the largest size among them; the last
    block may be shorter. A weight divided by it takes the nearest level, and on the middle between two the lower one.
    So a block of zeros has absmax 0, and with NF4 code 7. `codes` has the shape of `weights`, in uint8; `absmax` is a
    row of float32. Raises ValueError for a weight that is not finite, and for a block below 1.
    """
    weights, levels = np.asarray(weights, dtype=np.float32), np.asarray(levels, dtype=np.float32)
    if block < 1 or not np.isfinite(weights).all():
        raise ValueError(f"block is {block}: give at least 1, and weights that are finite")
    blocks = np.pad(weights.reshape(-1), (0, -weights.size % block)).reshape(-1, block)
    absmax = np.abs(blocks).max(axis=1)
    scaled = blocks * (1 / np.maximum(absmax, np.float32(1e-38)))[:, None]  # zeros stay zeros
    middles = (levels[:-1] + levels[1:]) / 2
    codes = np.searchsorted(middles, scaled).astype(np.uint8)
    return codes.reshape(-1)[: weights.size].reshape(weights.shape), absmax


def dequantize(codes: np.ndarray, absmax: np.ndarray, levels: np.ndarray, block: int) -> np.ndarray:
    """The weights that the codes stand for: each its level times its block's absmax; float32, in the codes' shape.

    Raises ValueError for a code without a level, a block below 1, and another number of absmax than of blocks.
    """
    codes, absmax = np.asarray(codes, dtype=np.int64), np.asarray(absmax, dtype=np.float32)
    if block < 1 or absmax.size != math.ceil(codes.size / block):
        raise ValueError(f"{codes.size} codes in blocks of {block} do not have {absmax.size} absmax")
    if codes.size and not 0 <= codes.min() <= codes.max() < len(levels):
        raise ValueError(f"the codes go from {codes.min()} to {codes.max()}, and there are {len(levels)} levels")
    scales = np.repeat(absmax, block)[: codes.size].reshape(codes.shape)
    return np.asarray(levels, dtype=np.float32)[codes] * scales


def bits_per_weight(block: int = 64, double: bool = False, block2: int = 256) -> float:
    """What one weight takes in bits: 4 for its code, and its share of what its block keeps.

    A block keeps its absmax in 32 bits. With double quantization it keeps 8, and every `block2` blocks share 32 more.
    What a tensor keeps once, such as its table of levels, is left out. Raises ValueError for a block below 1; `block2`
    counts with double quantization only.
    """
    if block < 1 or (double and block2 < 1):
        raise ValueError(f"blocks of {block}, and of {block2}: give at least 1")
    return 4 + 8 / block + 32 / (block * block2) if double else 4 + 32 / block


# Given. Four bits are half a byte.


def pack(codes: np.ndarray) -> np.ndarray:
    """Two codes a byte, the first in the high four bits; of an odd number the last byte is filled up with a 7."""
    codes = np.asarray(codes, dtype=np.uint8).reshape(-1)
    pairs = np.append(codes, np.full(codes.size % 2, 7, dtype=np.uint8)).reshape(-1, 2)
    return pairs[:, 0] << 4 | pairs[:, 1]


def unpack(packed: np.ndarray, count: int) -> np.ndarray:
    """The first `count` codes of what `pack` gave. Raises ValueError if there are not as many."""
    packed = np.asarray(packed, dtype=np.uint8).reshape(-1)
    if not 0 <= count <= 2 * packed.size:
        raise ValueError(f"{packed.size} bytes do not hold {count} codes")
    return np.stack([packed >> 4, packed & 15], axis=1).reshape(-1)[:count]


# Given. Double quantization: the scales themselves in 8 bits (QLoRA, section 3).


def dynamic_levels() -> np.ndarray:
    """The 256 levels of the 8-bit dynamic type, ascending (Dettmers 2016, arXiv 1511.04561), in float32.

    Seven decades from 1e−7 to 1, in both signs; each has twice as many levels as the one below, the middles of equal
    steps through it. And 0 and 1.
    """
    import torch

    found = [torch.tensor([0.0, 1.0])]
    for decade in range(7):
        steps = torch.linspace(0.1, 1, 2**decade + 1)
        middles = 10.0 ** (decade - 6) * ((steps[:-1] + steps[1:]) / 2)
        found += [middles, -middles]
    return torch.cat(found).sort().values.numpy()


def quantize_scales(absmax: np.ndarray, block2: int = 256) -> tuple[np.ndarray, np.ndarray, np.float32]:
    """(codes, absmax2, mean) of a row of scales: their mean is taken off, the rest quantized in blocks of `block2`.

    On a CPU, bitsandbytes finds the nearest of `dynamic_levels` by a table of 65,536 places, and so does this: within
    1/65535 of a middle the level on the other side of it may be taken.
    """
    import torch

    absmax = np.asarray(absmax, dtype=np.float32)
    mean = np.float32(torch.from_numpy(absmax).mean())  # numpy would add up in another order
    blocks = np.pad(absmax - mean, (0, -absmax.size % block2)).reshape(-1, block2)
    absmax2 = np.abs(blocks).max(axis=1)
    used = absmax2[:, None] > 0  # where all scales are their mean, nothing is left: code 0
    scaled = np.clip(blocks * (1 / np.where(absmax2 > 0, absmax2, np.float32(1)))[:, None], -1, 1)
    places = ((scaled + 1) * np.float32(65535 / 2) + np.float32(0.5)).astype(np.int64)
    grid = dynamic_levels().astype(np.float64)
    codes = np.searchsorted((grid[:-1] + grid[1:]) / 2, 2 * places / 65535 - 1) * used
    return codes.reshape(-1)[: absmax.size].astype(np.uint8), absmax2, mean


def dequantize_scales(codes: np.ndarray, absmax2: np.ndarray, mean: np.float32, block2: int = 256) -> np.ndarray:
    """The scales that `quantize_scales` keeps."""
    return dequantize(codes, absmax2, dynamic_levels(), block2) + mean


# Given. What it costs: other levels, and weights of other distributions, to compare with.

INT4 = np.arange(-7, 8, dtype=np.float32) / 7  # even steps; the sixteenth code is spare
FP4 = np.array(sorted({s * x for s in (-1, 1) for x in (0, 0.0625, 2, 3, 4, 6, 8, 12)}), dtype=np.float32) / 12

DISTRIBUTIONS: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "normal": lambda draw, count: draw.standard_normal(count),
    "uniform": lambda draw, count: draw.uniform(-1, 1, count),
    "Laplace": lambda draw, count: draw.laplace(size=count),
    "Student t, 3 degrees": lambda draw, count: draw.standard_t(3, count),
}


def relative_error(weights: np.ndarray, levels: np.ndarray, block: int = 64) -> float:
    """‖Ŵ − W‖ / ‖W‖, the root of the mean squared error relative to the weights': W quantized is Ŵ."""
    weights = np.asarray(weights, dtype=np.float32)
    kept = dequantize(*quantize(weights, levels, block), levels, block)
    return float(np.linalg.norm(kept.astype(float) - weights) / np.linalg.norm(weights.astype(float)))


def counted_bits(model: torch.nn.Module) -> float:
    """Bits per quantized weight, counted: what a model's quantized tensors take in memory, tables and all.

    `models.load(…, quantize="nf4")` makes such a model. Raises ValueError for one that holds nothing quantized.
    """
    count, storages = 0, {}
    for weight in model.parameters():
        state = getattr(weight, "quant_state", None)
        if state is None:
            continue
        count += state.shape.numel()
        nested = [state.offset, state.state2.absmax, state.state2.code] if state.nested else []
        for tensor in (weight.data, state.absmax, state.code, *nested):
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
    if not count:
        raise ValueError('no weight of this model is quantized; load it with quantize="nf4"')
    return 8 * sum(storages.values()) / count
