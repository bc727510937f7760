"""Exercises of lab 07: NF4's levels, quantizing and back, the bits of a weight; the memory of a run, what fits a card."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from statistics import NormalDist
from typing import Any, Literal

import numpy as np

from labkit import memory, quantization
from labkit.exercises.kinds import Comparison, Exercise, Probe, mistake

# levels


def levels_probes(rng: random.Random) -> Iterator[Probe]:
    yield Probe((), "edges")
    yield Probe((2,), "edges")
    yield Probe((3, 0.75), "edges")
    yield Probe((8, 0.999), "edges")
    yield Probe((1,), "edges")
    yield Probe((4, 1.0), "edges")
    yield Probe((4,), "typical")
    for bits in (3, rng.choice([5, 6])):
        yield Probe((bits,), "typical")
        yield Probe((bits, round(rng.uniform(0.8, 0.95), 3)), "typical")
    yield Probe((rng.choice([3, 4]), rng.choice([0.5, 1.5, round(rng.uniform(0.1, 0.4), 2)])), "typical")


def _quantile(points: Any) -> np.ndarray:
    return np.array([NormalDist().inv_cdf(float(point)) for point in points])


def _checked_bits(bits: int, offset: float) -> None:
    if not 2 <= bits <= 8 or not 0.5 < offset < 1:
        raise ValueError("bits or offset")


def _normal(bits: int, offset: float, below: int, above: int) -> np.ndarray:
    """`above` quantiles, 0, and `below` negative ones, sorted and not yet divided."""
    _checked_bits(bits, offset)
    low, high = (_quantile(np.linspace(offset, 0.5, count + 1)[:-1]) for count in (below, above))
    return np.sort(np.concatenate([-low, [0.0], high]))


@mistake(
    "spaces them evenly",
    "Your levels lie evenly, like whole numbers: NF4's are quantiles of the normal distribution, close together near 0, "
    "where most weights are.",
)
def levels_even(bits=4, offset=0.9677083):
    _checked_bits(bits, offset)
    return np.linspace(-1, 1, 2**bits)


@mistake(
    "has no 0",
    "You take all points from `1 - offset` to `offset` in one row: no level is then 0, and a weight of 0 could not be "
    "kept. Take the two sides apart, and 0 once.",
)
def levels_without_zero(bits=4, offset=0.9677083):
    _checked_bits(bits, offset)
    found = _quantile(np.linspace(1 - offset, offset, 2**bits))
    return found / found.max()


@mistake(
    "takes bins of equal share",
    "You take the middles of equal shares, (i + ½) / 2^bits: the points start at `offset`, and each side has its own.",
)
def levels_of_shares(bits=4, offset=0.9677083):
    _checked_bits(bits, offset)
    found = _quantile((np.arange(2**bits) + 0.5) / 2**bits)
    return found / found.max()


@mistake(
    "averages neighbours",
    "You average neighbouring quantiles, as the paper's formula reads: its first is the quantile of 0, which is minus "
    "infinity. The levels in use are quantiles themselves, from `offset` to ½.",
)
def levels_averaged(bits=4, offset=0.9677083):
    _checked_bits(bits, offset)
    ends = _quantile(np.clip(np.arange(2**bits + 1) / (2**bits + 1), 1e-9, None))
    found = (ends[:-1] + ends[1:]) / 2
    return found / np.abs(found).max()


@mistake("gives 15", "Both your sides have 2^(bits−1) − 1 levels, which with 0 is one too few: above 0 it is one more.")
def levels_one_too_few(bits=4, offset=0.9677083):
    found = _normal(bits, offset, 2 ** (bits - 1) - 1, 2 ** (bits - 1) - 1)
    return found / found.max()


@mistake("gives 17", "Both your sides have 2^(bits−1) levels, which with 0 is one too many: below 0 it is one fewer.")
def levels_one_too_many(bits=4, offset=0.9677083):
    found = _normal(bits, offset, 2 ** (bits - 1), 2 ** (bits - 1))
    return found / found.max()


@mistake("exchanges the sides", "You have one level more below 0: it is above 0 that there is one more.")
def levels_exchanged(bits=4, offset=0.9677083):
    found = _normal(bits, offset, 2 ** (bits - 1), 2 ** (bits - 1) - 1)
    return found / found.max()


@mistake(
    "keeps ½ on both sides",
    "You keep the point ½ on both sides, so 0 is there several times: leave the last point of each side out.",
)
def levels_with_half(bits=4, offset=0.9677083):
    _checked_bits(bits, offset)
    half = 2 ** (bits - 1)
    low, high = (_quantile(np.linspace(offset, 0.5, count + 1)) for count in (half - 1, half))
    found = np.sort(np.concatenate([-low, [0.0], high]))
    return found / found.max()


@mistake("does not divide", "Your levels are plain quantiles: divided by the largest they go from −1 to 1.")
def levels_undivided(bits=4, offset=0.9677083):
    return _normal(bits, offset, 2 ** (bits - 1) - 1, 2 ** (bits - 1))


@mistake("does not sort", "Your levels are not in order: they must ascend, because a code is a place in the row.")
def levels_unsorted(bits=4, offset=0.9677083):
    found = quantization.levels(bits, offset)
    return np.concatenate([found[found > 0][::-1], [0.0], found[found < 0]])


@mistake("is always NF4", "You give NF4's table whatever is asked: `bits` and `offset` are arguments.")
def levels_fixed(bits=4, offset=0.9677083):
    return quantization.levels()


@mistake(
    "ignores the offset", "You leave `offset` aside: it is the outermost point, 0.9677083 unless another is given."
)
def levels_of_one_offset(bits=4, offset=0.9677083):
    _checked_bits(bits, offset)
    return quantization.levels(bits)


@mistake(
    "takes any arguments",
    "An offset of ½ or 1, or a single bit, leads to no levels: raise a `ValueError` unless there are 2 to 8 bits, and "
    "the offset lies between ½ and 1.",
)
def levels_unchecked(bits=4, offset=0.9677083):
    return quantization.levels(min(max(bits, 2), 8), min(max(offset, 0.51), 0.99) if not 0.5 < offset < 1 else offset)


LEVELS = Exercise(
    id="qlora.levels",
    points=3,
    minutes=8,
    reference=quantization.levels,
    probes=levels_probes,
    compare=Comparison(rtol=1e-6, atol=1e-6),
    torch=True,
    misconceptions=(
        levels_even,
        levels_without_zero,
        levels_of_shares,
        levels_averaged,
        levels_one_too_few,
        levels_one_too_many,
        levels_exchanged,
        levels_with_half,
        levels_undivided,
        levels_unsorted,
        levels_fixed,
        levels_of_one_offset,
        levels_unchecked,
    ),
    hints=(
        "Two sides and a 0. How many levels does each side have, if there are 16 in all?",
        "`np.linspace(offset, 0.5, n + 1)[:-1]` are n points, with n = 8 above 0 and n = 7 below it. A quantile is "
        "`statistics.NormalDist().inv_cdf(p)`, or `torch.special.ndtri(points)`.",
        "Put −quantiles(7), 0 and quantiles(8) together (with 2^(bits−1) in place of 8), sort, and divide by the "
        "largest; `ValueError` unless `2 <= bits <= 8 and 0.5 < offset < 1`.",
    ),
)


# quantize


def _row(*numbers: float) -> np.ndarray:
    """In float32, as the notebook's weights and levels are."""
    return np.array(numbers, dtype=np.float32)


BELOW = (-1.0, -0.6962, -0.5251, -0.3949, -0.2844, -0.1848, -0.0911)  # with four decimals, as one would write them
NF4 = _row(*BELOW, 0.0, 0.0796, 0.1609, 0.2461, 0.3379, 0.4407, 0.5626, 0.723, 1.0)
FIVE = _row(-1.0, -0.5, 0.0, 0.25, 1.0)  # their middles are exact in every number format


def _clear(rng: random.Random, count: int, largest: float) -> list[float]:
    """Weights up to `largest`, which one of them has, in either sign; none is near the middle between two of NF4."""
    middles = ((NF4[:-1] + NF4[1:]) / 2).tolist()
    found: list[float] = []
    while len(found) < count:
        weight = round(rng.uniform(-largest, largest), 2)
        if all(abs(weight / largest - middle) > 1e-3 for middle in middles):
            found.append(weight)
    found[rng.randrange(count)] = largest * rng.choice([-1, 1])
    return found


def quantize_probes(rng: random.Random) -> Iterator[Probe]:
    for group in ("edges", "typical"):
        ties = rng.sample([-1.5, -0.5, 0.25, 1.25], 4)
        yield Probe((_row(2.0, *ties, -2.0), FIVE, 6), group)
        zeros = [*_clear(rng, 4, 1.5), 0.0, 0.0, 0.0, 0.0, *_clear(rng, 2, 0.8)]
        yield Probe((_row(*zeros), NF4, 4), group)  # a block of zeros, and a shorter last one
        one, other = round(rng.uniform(2, 4), 2), round(rng.uniform(0.3, 0.9), 2)
        yield Probe((_row(*_clear(rng, 4, one), *_clear(rng, 4, other)), NF4, 4), group)
        matrix = _row(*_clear(rng, 4, one), *_clear(rng, 4, other), *_clear(rng, 1, 1.0)).reshape(3, 3)
        yield Probe((matrix, NF4, 4), group)  # blocks go on from row to row
        yield Probe((_row(-0.5, -2.0, -1.0, -0.1), FIVE, 4), group)  # not one weight above 0
        yield Probe((_row(*_clear(rng, 3, one)), NF4, 5), group)
        yield Probe((_row(0.5, rng.choice([math.nan, math.inf, -math.inf]), 1.0, 0.25), NF4, 2), group)
        yield Probe((_row(0.5, 1.0), FIVE, rng.choice([0, -4])), group)


def _coded(weights: Any, levels: Any, block: int, scale: Callable, code: Callable) -> tuple[np.ndarray, np.ndarray]:
    """The reference with another scale of a block, or another code for what was divided by it."""
    if block < 1 or not np.isfinite(weights).all():
        raise ValueError("weights or block")
    levels, flat = np.asarray(levels), np.asarray(weights, dtype=float).reshape(-1)
    parts = [flat[start : start + block] for start in range(0, flat.size, block)]
    scales = [scale(part) for part in parts]
    codes = [code(part / (scale or 1.0), levels) for part, scale in zip(parts, scales)]
    return np.concatenate(codes).astype(int).reshape(np.shape(weights)), np.array(scales)


def _absmax(part: Any) -> float:
    return float(np.abs(part).max())


def _nearest(scaled: Any, levels: Any, side: Literal["left", "right"] = "left") -> np.ndarray:
    return np.asarray(np.searchsorted((levels[:-1] + levels[1:]) / 2, scaled, side=side))


ONE_SCALE = (
    "You divide all weights by one absmax: each block has its own, so that one large weight spoils its block alone."
)


@mistake("takes one scale for all", ONE_SCALE)
def quantize_without_blocks(weights, levels, block):
    codes, absmax = _coded(weights, levels, max(np.size(weights), 1) if block >= 1 else block, _absmax, _nearest)
    return codes, absmax


@mistake("takes one scale for all, as a number", ONE_SCALE)
def quantize_by_one_number(weights, levels, block):
    codes, absmax = quantize_without_blocks.function(weights, levels, block)
    return codes, absmax[0]


@mistake("takes one scale for all, block by block", ONE_SCALE)
def quantize_by_one_repeated(weights, levels, block):
    codes, absmax = quantize_without_blocks.function(weights, levels, block)
    return codes, np.full(math.ceil(np.size(weights) / block), absmax[0])


@mistake(
    "takes the largest weight",
    "You divide by the largest weight, which may be negative, or small beside a negative one: take the largest size, "
    "`np.abs(block).max()`.",
)
def quantize_by_maximum(weights, levels, block):
    return _coded(weights, levels, block, lambda part: float(part.max()), _nearest)


@mistake(
    "divides by the spread",
    "You divide by the standard deviation: then weights lie far outside −1 to 1, where there are no levels.",
)
def quantize_by_deviation(weights, levels, block):
    return _coded(weights, levels, block, lambda part: float(np.std(part)), _nearest)


@mistake("does not scale", "You look for the nearest level of the weight itself: divide by its block's absmax first.")
def quantize_unscaled(weights, levels, block):
    codes, _ = _coded(weights, levels, block, lambda part: 1.0, _nearest)
    return codes, _coded(weights, levels, block, _absmax, _nearest)[1]


@mistake(
    "takes the level below",
    "You take the highest level that is not above: the nearest one is asked for, whichever side it is on.",
)
def quantize_down(weights, levels, block):
    def code(scaled, levels):
        return np.clip(np.searchsorted(levels, scaled, side="right") - 1, 0, len(levels) - 1)

    return _coded(weights, levels, block, _absmax, code)


@mistake(
    "takes the level above",
    "You take the first level that is not below (`searchsorted` over the levels does so): the nearest one is asked for. "
    "Search among the middles between levels.",
)
def quantize_up(weights, levels, block):
    return _coded(weights, levels, block, _absmax, lambda scaled, levels: np.searchsorted(levels, scaled))


@mistake("takes the upper one on a tie", "On the middle between two levels you take the upper: it is the lower code.")
def quantize_ties_up(weights, levels, block):
    return _coded(weights, levels, block, _absmax, lambda scaled, levels: _nearest(scaled, levels, "right"))


@mistake(
    "takes even steps",
    "You round to even steps from −1 to 1: the levels are given, and they are not evenly spaced.",
)
def quantize_evenly(weights, levels, block):
    return _coded(
        weights, levels, block, _absmax, lambda scaled, levels: np.round((scaled + 1) / 2 * (len(levels) - 1))
    )


@mistake("drops the rest", "You drop the weights that fill no whole block: the last block may be shorter.")
def quantize_whole_blocks(weights, levels, block):
    codes, absmax = _coded(weights, levels, block, _absmax, _nearest)
    whole = np.size(weights) // block
    kept = codes.reshape(-1)[: whole * block]
    return (kept if kept.size != codes.size else codes), absmax[:whole]


@mistake(
    "keeps the padding",
    "You give codes for the zeros that filled up the last block: cut them off, one code for each weight.",
)
def quantize_padded(weights, levels, block):
    codes, absmax = _coded(weights, levels, block, _absmax, _nearest)
    if not codes.size % block:
        return codes, absmax
    zero = int(_nearest(0.0, np.asarray(levels)))
    return np.append(codes.reshape(-1), [zero] * (-codes.size % block)), absmax


@mistake(
    "begins a block in each row",
    "You begin a new block in each row: blocks go on from one row to the next, over the flattened weights.",
)
def quantize_by_rows(weights, levels, block):
    if np.ndim(weights) < 2:
        return _coded(weights, levels, block, _absmax, _nearest)
    rows = [_coded(row, levels, block, _absmax, _nearest) for row in weights]
    return np.stack([codes for codes, _ in rows]), np.concatenate([absmax for _, absmax in rows])


@mistake("gives a flat row", "Your codes lie in one row: they have the shape of the weights.")
def quantize_flat(weights, levels, block):
    codes, absmax = _coded(weights, levels, block, _absmax, _nearest)
    return codes.reshape(-1), absmax


@mistake(
    "gives levels for codes",
    "You give the levels themselves: a code is the level's place, 0 to 15, which is what fits in four bits.",
)
def quantize_to_levels(weights, levels, block):
    codes, absmax = _coded(weights, levels, block, _absmax, _nearest)
    return np.asarray(levels)[codes], absmax


@mistake(
    "divides zeros by 0",
    "In a block of zeros you divide 0 by 0: NaN is near no level, and its code comes out as the last one. Zeros take "
    "the code of level 0, and their absmax is 0.",
)
def quantize_zeros_divided(weights, levels, block):
    codes, absmax = _coded(weights, levels, block, _absmax, _nearest)
    zeros = np.repeat(absmax == 0, block)[: codes.size].reshape(codes.shape)
    return np.where(zeros, len(levels) - 1, codes), absmax


@mistake(
    "lets NaN through",
    "A weight that is NaN or infinite makes its whole block NaN, and nobody says so: raise a `ValueError`.",
)
def quantize_unchecked(weights, levels, block):
    return _coded(np.nan_to_num(weights, nan=0.0, posinf=1e6, neginf=-1e6), levels, block, _absmax, _nearest)


QUANTIZE = Exercise(
    id="qlora.quantize",
    points=3,
    minutes=8,
    reference=quantization.quantize,
    probes=quantize_probes,
    misconceptions=(
        quantize_without_blocks,
        quantize_by_one_number,
        quantize_by_one_repeated,
        quantize_by_maximum,
        quantize_by_deviation,
        quantize_unscaled,
        quantize_down,
        quantize_up,
        quantize_ties_up,
        quantize_evenly,
        quantize_whole_blocks,
        quantize_padded,
        quantize_by_rows,
        quantize_flat,
        quantize_to_levels,
        quantize_zeros_divided,
        quantize_unchecked,
    ),
    hints=(
        "For one block: what are its weights divided by, and where do they then lie? How does the level next to a "
        "number come out of the middles between levels?",
        "`np.searchsorted((levels[:-1] + levels[1:]) / 2, scaled)` gives the code, and on a middle the lower one. "
        "Go over `weights.reshape(-1)` in steps of `block`; a block of zeros is not divided.",
        "For each part: `absmax = np.abs(part).max()`, the code of `part / (absmax or 1)`; join the codes and give them "
        "`.reshape(weights.shape)`. `ValueError` for `block < 1`, and unless `np.isfinite(weights).all()`.",
    ),
)


# dequantize


def dequantize_probes(rng: random.Random) -> Iterator[Probe]:
    def codes(*shape: int) -> np.ndarray:
        """Codes with few zeros among them, whose value no absmax changes."""
        drawn = [rng.choice([*range(7), *range(8, 16)]) for _ in range(math.prod(shape))]
        return np.array(drawn).reshape(shape)

    def absmax(count: int) -> np.ndarray:
        return _row(*(round(rng.uniform(0.2, 0.9) + 1.1 * place, 2) for place in rng.sample(range(count), count)))

    for group in ("edges", "typical"):
        yield Probe((codes(8), absmax(2), NF4, 4), group)
        blocks = rng.choice([2, 3])
        yield Probe((codes(4 * blocks - 3), absmax(blocks), NF4, 4), group)  # a last block of one
        yield Probe((codes(2, 5), absmax(3), NF4, 4), group)  # blocks go on from row to row
        yield Probe((np.array([rng.randrange(5) for _ in range(6)]), absmax(2), FIVE, 3), group)
        yield Probe((np.array([7, 7, 7, *codes(3)]), _row(0.0, 1.5), NF4, 3), group)  # a block of zeros
        yield Probe((codes(8), absmax(rng.choice([1, 3])), NF4, 4), group)  # not as many absmax as blocks
        yield Probe((np.array([0, 3, rng.choice([-1, 5, 7]), 1]), absmax(2), FIVE, 2), group)  # no such level
        yield Probe((codes(4), absmax(1), NF4, rng.choice([0, -4])), group)


def _decoded(
    codes: Any, absmax: Any, levels: Any, block: int, value: Callable | None = None, place: Callable | None = None
) -> np.ndarray:
    """The reference with another value of a code, or another absmax for the weight at a place."""
    codes, absmax, levels = np.asarray(codes), np.asarray(absmax, dtype=float), np.asarray(levels, dtype=float)
    if block < 1 or len(absmax) != math.ceil(codes.size / block) or not 0 <= codes.min() <= codes.max() < len(levels):
        raise ValueError("codes, absmax or block")
    values = levels[codes] if value is None else value(codes, levels)
    each = np.arange(codes.size)
    own = each // block if place is None else place(each, len(absmax))
    return values * absmax[np.clip(own, 0, len(absmax) - 1)].reshape(codes.shape)


@mistake("leaves absmax out", "You give the levels alone: each is multiplied by its block's absmax.")
def dequantize_levels_alone(codes, absmax, levels, block):
    return _decoded(codes, np.ones(len(absmax)), levels, block)


@mistake("divides by absmax", "You divide by absmax: quantizing divided by it, so now it is multiplied.")
def dequantize_divided(codes, absmax, levels, block):
    return _decoded(codes, [1 / scale if scale else 0.0 for scale in absmax], levels, block)


@mistake(
    "takes absmax in turn",
    "You take one absmax after the other, weight by weight: `block` weights that follow one another share theirs, "
    "`absmax[i // block]`.",
)
def dequantize_in_turn(codes, absmax, levels, block):
    return _decoded(codes, absmax, levels, block, place=lambda each, count: each % count)


@mistake("takes one absmax for all", "You multiply all by the largest absmax: each block has its own.")
def dequantize_by_largest(codes, absmax, levels, block):
    return _decoded(codes, np.full(len(absmax), np.max(absmax)), levels, block)


@mistake(
    "makes the blocks of one size",
    "You spread the weights evenly over the absmax: every block has `block` weights, and only the last may be shorter.",
)
def dequantize_evenly_spread(codes, absmax, levels, block):
    return _decoded(codes, absmax, levels, block, place=lambda each, count: each // math.ceil(len(each) / count))


@mistake("changes blocks one early", "You change to the next absmax one weight early: it is `i // block`, i from 0.")
def dequantize_one_early(codes, absmax, levels, block):
    return _decoded(codes, absmax, levels, block, place=lambda each, count: (each + 1) // block)


@mistake(
    "begins a block in each row",
    "You begin a new block in each row: blocks go on from one row to the next, over the flattened codes.",
)
def dequantize_by_rows(codes, absmax, levels, block):
    if np.ndim(codes) < 2:
        return _decoded(codes, absmax, levels, block)
    wide = np.shape(codes)[1]
    each_row = math.ceil(wide / block) if block >= 1 else 1
    return _decoded(
        codes, absmax, levels, block, place=lambda each, count: each // wide * each_row + each % wide // block
    )


@mistake("reads codes as even steps", "You turn codes into even steps from −1 to 1: look the level up, `levels[code]`.")
def dequantize_evenly(codes, absmax, levels, block):
    return _decoded(codes, absmax, levels, block, value=lambda codes, levels: 2 * codes / (len(levels) - 1) - 1)


@mistake("gives a flat row", "Your weights lie in one row: they have the shape of the codes.")
def dequantize_flat(codes, absmax, levels, block):
    return _decoded(codes, absmax, levels, block).reshape(-1)


@mistake(
    "lets anything pass",
    "A code of −1 takes the last level, and a missing absmax another block's: raise a `ValueError` for a code without a "
    "level, for a block below 1, and where there are not as many absmax as blocks.",
)
def dequantize_unchecked(codes, absmax, levels, block):
    block = max(block, 1)
    count = math.ceil(np.size(codes) / block)
    return _decoded(np.mod(codes, len(levels)), [absmax[i % len(absmax)] for i in range(count)], levels, block)


DEQUANTIZE = Exercise(
    id="qlora.dequantize",
    points=2,
    minutes=5,
    reference=quantization.dequantize,
    probes=dequantize_probes,
    misconceptions=(
        dequantize_levels_alone,
        dequantize_divided,
        dequantize_in_turn,
        dequantize_by_largest,
        dequantize_evenly_spread,
        dequantize_one_early,
        dequantize_by_rows,
        dequantize_evenly,
        dequantize_flat,
        dequantize_unchecked,
    ),
    hints=(
        "A code says which level; its place says which block, and so which absmax.",
        "`np.repeat(absmax, block)` writes each absmax `block` times: cut it to the number of codes, because the last "
        "block may be shorter.",
        "`levels[codes] * np.repeat(absmax, block)[:codes.size].reshape(codes.shape)`, with `levels` and `codes` as "
        "arrays; `ValueError` unless `len(absmax) == math.ceil(codes.size / block)` and every code has a level.",
    ),
)


# bits_per_weight


def bits_probes(rng: random.Random) -> Iterator[Probe]:
    for group in ("edges", "typical"):
        for double in (False, True):
            yield Probe((64, double, 256), group)
            yield Probe((rng.choice([32, 128, 512, 4096]), double, rng.choice([64, 128, 512])), group)
            yield Probe((rng.randint(1, 9), double, rng.randint(3, 9)), group)
            yield Probe((rng.choice([0, -64]), double, 256), group)
        yield Probe((rng.choice([16, 48]), True, rng.choice([0, -1])), group)
    yield Probe((64, False, 0), "edges")  # without double quantization it does not count


def _one(block: Any) -> float:
    return 4 + 32 / block


def _two(block: Any, block2: Any) -> float:
    return 4 + 8 / block + 32 / (block * block2)


@mistake(
    "counts the codes alone",
    "You count the codes alone: a block's absmax takes bits too, and its weights share them.",
)
def bits_of_codes(block, double, block2):
    return 4.0


@mistake("takes absmax for 16 bits", "You count 16 bits for an absmax: it is kept in float32.")
def bits_half(block, double, block2):
    return 4 + 8 / block + 16 / (block * block2) if double else 4 + 16 / block


@mistake("counts bytes", "You add bytes to bits: float32 is 4 bytes, which are 32 bits.")
def bits_in_bytes(block, double, block2):
    return 4 + 1 / block + 4 / (block * block2) if double else 4 + 4 / block


@mistake("counts it for each", "You count the whole absmax for every weight: all weights of its block share it.")
def bits_for_each(block, double, block2):
    return 4 + 8 + 32 / block2 if double else 4 + 32


@mistake("never doubles", "You leave double quantization aside: with it an absmax takes 8 bits in place of 32.")
def bits_never_double(block, double, block2):
    return _one(block)


@mistake("always doubles", "You count double quantization where there is none: without it an absmax takes 32 bits.")
def bits_always_double(block, double, block2):
    return _two(block, block2)


@mistake(
    "keeps both",
    "You count the 32 bits of an absmax and the 8 of its code: double quantization puts the code in its place.",
)
def bits_of_both(block, double, block2):
    return _two(block, block2) + 32 / block if double else _one(block)


@mistake(
    "forgets the second scale",
    "The absmax in 8 bits have a scale of their own: 32 bits for each `block2` of them.",
)
def bits_without_second(block, double, block2):
    return 4 + 8 / block if double else _one(block)


@mistake(
    "shares the second scale among weights",
    "You divide its 32 bits by `block2`: it is shared by `block2` blocks, and so by `block * block2` weights.",
)
def bits_of_block2_weights(block, double, block2):
    return 4 + 8 / block + 32 / block2 if double else _one(block)


@mistake("takes any block", "A block of 0 has no weights to share anything: raise a `ValueError` below 1.")
def bits_unchecked(block, double, block2):
    return _two(block, block2) if double else _one(block)


BITS_PER_WEIGHT = Exercise(
    id="qlora.bits_per_weight",
    points=1,
    minutes=4,
    reference=quantization.bits_per_weight,
    probes=bits_probes,
    misconceptions=(
        bits_of_codes,
        bits_half,
        bits_in_bytes,
        bits_for_each,
        bits_never_double,
        bits_always_double,
        bits_of_both,
        bits_without_second,
        bits_of_block2_weights,
        bits_unchecked,
    ),
    hints=(
        "What is kept for a weight, what for its block, and by how many weights is that shared?",
        "Without double quantization a block keeps 32 bits. With it, a block keeps 8, and `block2` blocks keep 32.",
        "`4 + 32 / block`, or `4 + 8 / block + 32 / (block * block2)` with double quantization; `ValueError` for a "
        "block below 1.",
    ),
)


# memory


def memory_probes(rng: random.Random) -> Iterator[Probe]:
    for group in ("edges", "typical"):
        base = rng.randint(2, 9) * 100_000
        adapter, kept = base // rng.randint(20, 90), rng.randint(1, 9) * 10_000
        optimizers = ["adamw", "adamw-8bit", "sgd"]
        for optimizer in optimizers:
            yield Probe((base, base, "full", optimizer, kept), group)
            yield Probe((base, adapter, "qlora", optimizer, kept + 7), group)
        yield Probe((base, adapter, "lora", rng.choice(optimizers), kept), group)
        yield Probe((base, adapter, "lora", "adamw", 0), group)
        yield Probe((base, adapter, "full", "adamw", kept), group)  # full trains all
        yield Probe((base, adapter, rng.choice(["lora", "qlora"]), "adamw", -kept), group)
    yield Probe((base, adapter, "dora", "adamw", kept), "edges")
    yield Probe((base, adapter, "lora", "adam", kept), "edges")


def _needed(
    parameters: int,
    trainable: int,
    method: str,
    optimizer: str,
    activations: float,
    packed: float = (4 + 8 / 64 + 32 / (64 * 256)) / 8,
    size: int | None = None,
    states: float | None = None,
    gradients: int | None = None,
    kept: int | None = None,
    adapter: bool = True,
) -> dict[str, float]:
    """The reference with other bytes of a packed weight, or of a trained number, other states, or another number of
    gradients, or of numbers whose states are kept.
    """
    memory.memory(parameters, trainable, method, optimizer, activations)  # what it rejects
    size = size or (2 if method == "full" else 4)
    state = {"adamw": 2 * size, "adamw-8bit": 2, "sgd": 0}[optimizer] if states is None else states
    weights = (packed if method == "qlora" else 2) * parameters
    return {
        "weights": weights + (size * trainable if adapter and method != "full" else 0),
        "gradients": size * (trainable if gradients is None else gradients),
        "states": state * (trainable if kept is None else kept),
        "activations": activations,
    }


@mistake(
    "gives all weights a gradient",
    "You count gradients and states for all parameters: frozen weights have neither, only what is trained has.",
)
def memory_all_trained(parameters, trainable, method, optimizer, activations):
    return _needed(parameters, trainable, method, optimizer, activations, gradients=parameters, kept=parameters)


@mistake("gives all weights only a gradient", "You count a gradient for every parameter: frozen weights have none.")
def memory_all_gradients(parameters, trainable, method, optimizer, activations):
    return _needed(parameters, trainable, method, optimizer, activations, gradients=parameters)


@mistake(
    "keeps states of all weights",
    "You count the optimizer's states for every parameter: it keeps them only for what it updates.",
)
def memory_all_states(parameters, trainable, method, optimizer, activations):
    return _needed(parameters, trainable, method, optimizer, activations, kept=parameters)


@mistake(
    "leaves the adapter out",
    "You leave the adapter's own weights out: beside the base they take 4 bytes for each trained number.",
)
def memory_without_adapter(parameters, trainable, method, optimizer, activations):
    return _needed(parameters, trainable, method, optimizer, activations, adapter=False)


@mistake(
    "takes half a byte",
    "You count 4 bits for a packed weight: each block of 64 keeps 8 bits more, and every 256 blocks 32, 4.127 in all.",
)
def memory_half_a_byte(parameters, trainable, method, optimizer, activations):
    return _needed(parameters, trainable, method, optimizer, activations, packed=0.5)


@mistake(
    "quantizes once",
    "You count 4.5 bits for a packed weight, with 32 for each block of 64: with double quantization it is 8, and 32 for "
    "every 256 blocks, 4.127 in all.",
)
def memory_quantized_once(parameters, trainable, method, optimizer, activations):
    return _needed(parameters, trainable, method, optimizer, activations, packed=(4 + 32 / 64) / 8)


@mistake(
    "shares the second scale among weights",
    "You share the second scale's 32 bits among 256 weights: it serves 256 blocks, which are 64 · 256 weights.",
)
def memory_of_256_weights(parameters, trainable, method, optimizer, activations):
    return _needed(parameters, trainable, method, optimizer, activations, packed=(4 + 8 / 64 + 32 / 256) / 8)


@mistake("takes bits for bytes", "You count 4.127 bytes for a packed weight: those are bits, and 8 of them are a byte.")
def memory_in_bits(parameters, trainable, method, optimizer, activations):
    return _needed(parameters, trainable, method, optimizer, activations, packed=4 + 8 / 64 + 32 / (64 * 256))


@mistake(
    "packs nothing",
    "Under QLoRA you keep the base in bfloat16: it is packed, 4.127 bits a weight, while the adapter is not.",
)
def memory_unpacked(parameters, trainable, method, optimizer, activations):
    return _needed(parameters, trainable, method, optimizer, activations, packed=2)


@mistake("has one state", "You count one state: AdamW keeps two for each trained number, a mean and a mean of squares.")
def memory_one_state(parameters, trainable, method, optimizer, activations):
    size = 2 if method == "full" else 4
    states = {"adamw": size, "adamw-8bit": 1, "sgd": 0}.get(optimizer)
    return _needed(parameters, trainable, method, optimizer, activations, states=states)


@mistake(
    "takes one byte for both states",
    "You count one byte under 8-bit AdamW: it has two states, of one byte each.",
)
def memory_one_byte(parameters, trainable, method, optimizer, activations):
    states = 1 if optimizer == "adamw-8bit" else None
    return _needed(parameters, trainable, method, optimizer, activations, states=states)


@mistake(
    "keeps states in float32",
    "You count 8 bytes of states under full fine-tuning: what is trained is in bfloat16 here, and so are its two states.",
)
def memory_float_states(parameters, trainable, method, optimizer, activations):
    return _needed(
        parameters,
        trainable,
        method,
        optimizer,
        activations,
        states={"adamw": 8, "adamw-8bit": 2, "sgd": 0}.get(optimizer),
    )


@mistake(
    "trains the adapter in bfloat16",
    "You count 2 bytes for an adapter's numbers: they are in float32, so are their gradients and AdamW's states.",
)
def memory_small_adapter(parameters, trainable, method, optimizer, activations):
    return _needed(parameters, trainable, method, optimizer, activations, size=2)


@mistake(
    "takes any optimizer for AdamW",
    "You count AdamW's states whatever the optimizer: SGD has none, 8-bit AdamW 2 bytes.",
)
def memory_always_adamw(parameters, trainable, method, optimizer, activations):
    return _needed(parameters, trainable, method, optimizer, activations, states=2 * (2 if method == "full" else 4))


@mistake(
    "takes anything",
    "An unknown method or optimizer, a negative number, a full run that does not train all: raise a `ValueError`.",
)
def memory_unchecked(parameters, trainable, method, optimizer, activations):
    size = 2 if method == "full" else 4
    base = (4 + 8 / 64 + 32 / (64 * 256)) / 8 if method == "qlora" else 2
    return {
        "weights": base * parameters + (0 if method == "full" else size * trainable),
        "gradients": size * trainable,
        "states": {"adamw-8bit": 2, "sgd": 0}.get(optimizer, 2 * size) * trainable,
        "activations": activations,
    }


MEMORY = Exercise(
    id="qlora.memory",
    points=3,
    minutes=8,
    reference=memory.memory,
    probes=memory_probes,
    misconceptions=(
        memory_all_trained,
        memory_all_gradients,
        memory_all_states,
        memory_without_adapter,
        memory_half_a_byte,
        memory_quantized_once,
        memory_of_256_weights,
        memory_in_bits,
        memory_unpacked,
        memory_one_state,
        memory_one_byte,
        memory_float_states,
        memory_small_adapter,
        memory_always_adamw,
        memory_unchecked,
    ),
    hints=(
        "Which numbers are there once, which only for what is trained? How many bytes has each kind?",
        "The base takes 2 bytes a weight, packed (4 + 8/64 + 32/(64·256)) / 8. What is trained takes 2 bytes under full, 4 "
        "in an adapter; so does its gradient, and each of AdamW's two states. An adapter's weights come on top of the base.",
        '`size = 2 if method == "full" else 4`; gradients `size * trainable`; states `2 * size`, `2` or `0` times '
        "`trainable`; weights `base * parameters`, and `size * trainable` more unless full. `ValueError` for what cannot be.",
    ),
)


# choose


def choose_probes(rng: random.Random) -> Iterator[Probe]:
    def ranges(*highs: float) -> dict[str, tuple[float, float]]:
        return {
            name: (round(high - 3, 1), round(high, 1))
            for name, high in zip(("full", "lora", "qlora"), highs, strict=True)
        }

    for group in ("edges", "typical"):
        full, lora, qlora = rng.randint(60, 90), rng.randint(20, 30), rng.randint(8, 12)
        three = ranges(full, lora, qlora)
        yield Probe((three, float(rng.randint(95, 120))), group)
        yield Probe((three, float(rng.randint(40, 50))), group)
        yield Probe((three, float(rng.randint(14, 16))), group)
        yield Probe((three, float(lora)), group)  # to the byte
        yield Probe((three, lora - rng.choice([0.5, 1.0])), group)  # LoRA may fit, QLoRA does
        yield Probe((three, lora - rng.choice([2.0, 2.5])), group)
        yield Probe((three, qlora - 1.5), group)  # QLoRA may fit, nothing does
        yield Probe((three, 1.0), group)
        # On a small model QLoRA takes no less than LoRA: nothing is gained by it.
        yield Probe((ranges(30, 11, 11.2), float(rng.choice([11, 12]))), group)
        yield Probe((ranges(30, 11, 11.2), 9.5), group)  # both may fit
        yield Probe((three, float(rng.choice([0, -24]))), group)
        yield Probe((three, qlora - 3.0), group)  # its low end, to the byte
        # In another order of preference, and with ranges that do not get smaller.
        turned = {"qlora": (qlora - 3.0, 15.0), "full": (60.0, 80.0), "lora": (5.0 - rng.random(), 16.0)}
        yield Probe((turned, 100.0), group)
        yield Probe((turned, 14.0), group)  # two may fit, and the second needs less at least
        certain = {"full": (full + 0.0, full + 0.0), "lora": (lora + 0.0, lora + 0.0)}  # the ends may be the same
        yield Probe((certain, float(rng.choice([lora, lora + 1]))), group)
        yield Probe((three | {"qlora": (qlora + 0.5, qlora + 0.0)}, full + 1.0), group)  # what fits stands before it
    yield Probe(({}, 16.0), "edges")
    yield Probe(({"full": (9.0, 8.0)}, 16.0), "edges")


def _chosen(requirements: dict[str, tuple[float, float]], card: float, fits: Callable, may: Callable) -> str:
    """The reference with other ideas of what fits, and of what may."""
    memory.choose(requirements, card)  # what it rejects
    sure = [name for name, (low, high) in requirements.items() if fits(low, high)]
    maybe = [name for name, (low, high) in requirements.items() if may(low, high)]
    return sure[0] if sure else f"{maybe[0]}?" if maybe else "none"


@mistake("trusts the low end", "You compare the card with the low end: only the high end says that it fits for sure.")
def choose_by_low(requirements, card):
    return _chosen(requirements, card, lambda low, high: low <= card, lambda low, high: False)


@mistake("never tries", "Where only a low end fits you say none: it may fit, so give the name with a question mark.")
def choose_without_maybe(requirements, card):
    return _chosen(requirements, card, lambda low, high: high <= card, lambda low, high: False)


@mistake(
    "leaves the question mark out",
    "Where only a low end fits you give the name as if it were sure: write a question mark after it.",
)
def choose_without_mark(requirements, card):
    return memory.choose(requirements, card).removesuffix("?")


@mistake("takes the middle", "You compare the card with the middle of the range: half of the time that does not fit.")
def choose_by_middle(requirements, card):
    return _chosen(requirements, card, lambda low, high: (low + high) / 2 <= card, lambda low, high: low <= card)


@mistake("wants room to spare", "You ask for less than the card: what takes all of it still fits, so compare with <=.")
def choose_strictly(requirements, card):
    return _chosen(requirements, card, lambda low, high: high < card, lambda low, high: low < card)


@mistake(
    "takes the smallest",
    "You take what needs the least: methods come in order of preference, so take the first that fits.",
)
def choose_smallest(requirements, card):
    order = dict(sorted(requirements.items(), key=lambda item: item[1][1]))
    return memory.choose(order, card)


@mistake("takes the last that fits", "You take the last that fits: the first is the one that gives up least.")
def choose_last(requirements, card):
    return memory.choose(dict(reversed(requirements.items())), card)


@mistake(
    "tries before it is sure",
    "You take a method that may fit while a later one fits for sure: look for a sure one among all of them first.",
)
def choose_maybe_first(requirements, card):
    memory.choose(requirements, card)
    for name, (low, high) in requirements.items():
        if low <= card:
            return name if high <= card else f"{name}?"
    return "none"


@mistake("always finds something", "Where nothing fits you give the last method all the same: the answer is none.")
def choose_something(requirements, card):
    found = memory.choose(requirements, card)
    return list(requirements)[-1] if found == "none" else found


@mistake(
    "takes anything",
    "A card of 0 or less, no method, a range whose low end is above its high end: raise a `ValueError`.",
)
def choose_unchecked(requirements, card):
    ordered = {name: (min(pair), max(pair)) for name, pair in requirements.items()}
    return memory.choose(ordered, card) if card > 0 and ordered else "none"


CHOOSE = Exercise(
    id="qlora.choose",
    points=2,
    minutes=6,
    reference=memory.choose,
    probes=choose_probes,
    misconceptions=(
        choose_by_low,
        choose_without_maybe,
        choose_without_mark,
        choose_by_middle,
        choose_strictly,
        choose_smallest,
        choose_last,
        choose_maybe_first,
        choose_something,
        choose_unchecked,
    ),
    hints=(
        "When is it sure that a method fits, when does only a try tell? Which comes first?",
        "Go over all methods with the high end; only when none fits, go over them once more with the low end.",
        "`for name, (low, high) in requirements.items()`: return `name` at the first `high <= card`; in a second loop "
        '`f"{name}?"` at the first `low <= card`; then "none". Raise `ValueError` first for what cannot be.',
    ),
)
