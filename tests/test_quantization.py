"""NF4 by hand is bitsandbytes' on a CPU, byte for byte; what it costs in bits and in error; and what cannot be."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import pytest
import torch
from bitsandbytes import functional as peer
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.quantization import (
    DISTRIBUTIONS,
    FP4,
    INT4,
    bits_per_weight,
    counted_bits,
    dequantize,
    dequantize_scales,
    dynamic_levels,
    levels,
    pack,
    quantize,
    quantize_scales,
    relative_error,
    unpack,
)

BLOCKS = (32, 64, 128, 256, 512, 1024, 2048, 4096)  # all that bitsandbytes takes
NF4 = levels()
MIDDLES = (NF4[:-1] + NF4[1:]) / 2
quick = settings(deadline=None, max_examples=40)
# The same examples every time: in a last, shorter block bitsandbytes divides by absmax where elsewhere it multiplies by
# 1/absmax, and about one weight in ten million lies between the two.
hundred = settings(deadline=None, max_examples=100, derandomize=True)


@pytest.fixture(scope="module", autouse=True)
def uncompiled():
    """Without a compiler, which bitsandbytes would use for odd shapes: the same numbers, sooner."""
    with torch.compiler.set_stance("force_eager"):
        yield


@dataclass(frozen=True)
class Drawn:
    """How a tensor is made, so that one that fails can be read."""

    block: int
    shape: tuple[int, ...]
    kind: str
    size: float
    ties: float | None  # the absmax under which there are exact ones: scaling by it does not round
    zeros: bool  # whether the first block is zeros
    seed: int

    def weights(self) -> np.ndarray:
        random = np.random.default_rng(self.seed)
        weights = DISTRIBUTIONS[self.kind](random, math.prod(self.shape)).astype(np.float32) * np.float32(self.size)
        if self.ties:
            weights *= np.float32(self.ties) / np.abs(weights).max()
            every = min(self.block, 31)
            weights[::every] = self.ties
            weights[1::every] = self.ties * random.choice(MIDDLES, len(weights[1::every]))
        if self.zeros:
            weights[: self.block] = 0
        return weights.reshape(self.shape)


tensors = st.builds(
    Drawn,
    block=st.sampled_from(BLOCKS),
    shape=st.one_of(
        st.tuples(st.sampled_from([*BLOCKS, *(2 * block for block in BLOCKS)])),
        st.tuples(st.integers(1, 9000)),
        st.tuples(st.integers(1, 90), st.integers(1, 100)),
    ),
    kind=st.sampled_from(list(DISTRIBUTIONS)),
    size=st.sampled_from([1e-6, 0.02, 1.0, 1e4]),
    ties=st.sampled_from([None, 1.0, 4.0]),
    zeros=st.booleans(),
    seed=st.integers(0, 2**31),
)


@hundred
@given(tensors)
def test_codes_scales_bytes_and_weights_are_bitsandbytes(drawn):
    weights, block = drawn.weights(), drawn.block
    codes, absmax = quantize(weights, NF4, block)
    packed, state = peer.quantize_4bit(torch.tensor(weights.reshape(-1)), blocksize=block, quant_type="nf4")
    assert codes.dtype == np.uint8 and codes.shape == weights.shape and absmax.dtype == np.float32
    assert np.array_equal(pack(codes), packed[:, 0].numpy())
    assert np.array_equal(unpack(packed.numpy(), codes.size), codes.reshape(-1))
    theirs = state.absmax.numpy()
    # A last, shorter block of zeros has there an absmax of 1e-38, times which 0 is 0 as well.
    assert np.array_equal(absmax, np.where(theirs == np.float32(1e-38), 0, theirs))
    kept = dequantize(codes, absmax, NF4, block)
    assert kept.dtype == np.float32 and kept.shape == weights.shape
    assert np.array_equal(kept.reshape(-1), peer.dequantize_4bit(packed, state).numpy().reshape(-1))


@hundred
@given(tensors)
def test_double_quantization_is_bitsandbytes(drawn):
    weights, block = drawn.weights(), drawn.block
    weights = torch.tensor(weights.reshape(-1))
    _, plain = peer.quantize_4bit(weights, blocksize=block, quant_type="nf4")
    packed, state = peer.quantize_4bit(weights, blocksize=block, quant_type="nf4", compress_statistics=True)
    codes, absmax2, mean = quantize_scales(plain.absmax.numpy())
    assert codes.dtype == np.uint8 and np.array_equal(codes, state.absmax.numpy())
    assert np.array_equal(absmax2, state.state2.absmax.numpy()) and mean == state.offset.item()
    absmax = dequantize_scales(codes, absmax2, mean)
    assert np.array_equal(absmax, (peer.dequantize_blockwise(state.absmax, state.state2) + state.offset).numpy())
    kept = dequantize(unpack(packed.numpy(), weights.numel()), absmax, NF4, block)
    assert np.array_equal(kept, peer.dequantize_4bit(packed, state).numpy().reshape(-1))


@pytest.mark.parametrize("shape", [(3, 64), (5, 192), (64, 512), (7, 65), (3, 1)])
def test_a_matrix_is_quantized_row_after_row_as_bitsandbytes_does(shape):
    weights = torch.randn(shape)
    packed, state = peer.quantize_4bit(weights, quant_type="nf4")
    codes, absmax = quantize(weights, NF4, 64)
    assert np.array_equal(pack(codes), packed[:, 0].numpy()) and np.array_equal(absmax, state.absmax.numpy())
    assert np.array_equal(dequantize(codes, absmax, NF4, 64), peer.dequantize_4bit(packed, state).numpy())


def test_both_tables_are_bitsandbytes_to_the_bit():
    assert np.array_equal(NF4, peer.get_4bit_type("nf4", device="cpu").numpy())
    assert np.array_equal(dynamic_levels(), peer.create_dynamic_map().numpy())
    assert np.array_equal(FP4, np.unique(peer.get_4bit_type("fp4", device="cpu").numpy()))


@quick
@given(st.integers(2, 8), st.floats(0.51, 0.999))
def test_levels_are_quantiles_of_two_sides_divided_by_the_largest(bits, offset):
    found, half = levels(bits, offset), 2 ** (bits - 1)
    assert found.shape == (2**bits,) and (np.diff(found) > 0).all() and found[half - 1] == 0
    assert (found[0], found[-1]) == (-1, 1)
    normal = NormalDist()
    for side, count in ((found[half:], half), (-found[: half - 1][::-1], half - 1)):
        shares = [normal.cdf(level * normal.inv_cdf(offset)) for level in side]
        assert shares == pytest.approx([0.5 + (offset - 0.5) * (i + 1) / count for i in range(count)], abs=1e-6)


def test_on_a_middle_the_lower_level_is_taken_and_just_above_it_the_upper():
    above = np.nextafter(MIDDLES, np.float32(2))
    codes, absmax = quantize(np.concatenate([[1], MIDDLES, above, NF4]), NF4, 64)
    assert absmax == [1]
    assert codes.tolist() == [15, *range(15), *range(1, 16), *range(16)]


@quick
@given(tensors)
def test_what_was_quantized_is_quantized_without_a_loss_and_within_half_the_widest_gap(drawn):
    weights, block = drawn.weights(), drawn.block
    codes, absmax = quantize(weights, NF4, block)
    kept = dequantize(codes, absmax, NF4, block)
    again, scales = quantize(kept, NF4, block)
    assert np.array_equal(again, codes) and np.array_equal(scales, absmax)
    widest = np.diff(NF4).max() / 2 * np.repeat(absmax, block)[: weights.size].reshape(weights.shape)
    assert (np.abs(kept - weights) <= widest * 1.000001).all()


def test_by_hand():
    codes, absmax = quantize(np.array([[4.0, -4.0, 1.9], [0.0, -0.5, 0.0]]), [-1, -0.5, 0, 0.5, 1], 4)
    assert codes.tolist() == [[4, 0, 3], [2, 0, 2]] and absmax.tolist() == [4.0, 0.5]
    assert dequantize(codes, absmax, [-1, -0.5, 0, 0.5, 1], 4).tolist() == [[4.0, -4.0, 2.0], [0.0, -0.5, 0.0]]
    codes, absmax = quantize(torch.zeros(70), NF4, 64)
    assert set(codes.tolist()) == {7} and absmax.tolist() == [0, 0]
    assert pack(codes[:2]).tolist() == [119] and pack([1, 2]).tolist() == [0x12]
    assert pack(np.ones(67)).size == 34 and pack(np.ones(67))[-1] == 0x17


def test_bits_by_arithmetic():
    assert bits_per_weight() == 4.5 and bits_per_weight(64, True, 256) == 4 + 8 / 64 + 32 / 64 / 256 == 4.126953125
    assert bits_per_weight(64, False, 0) == 4.5  # which plays no part there


@pytest.mark.parametrize("block", BLOCKS)
def test_bits_by_arithmetic_are_those_that_bitsandbytes_keeps(block):
    weights = torch.randn(256 * block)
    for double in (False, True):
        packed, state = peer.quantize_4bit(weights, blocksize=block, quant_type="nf4", compress_statistics=double)
        kept = [packed, state.absmax, *([state.state2.absmax] if double else [])]
        assert 8 * sum(each.nbytes for each in kept) / weights.numel() == bits_per_weight(block, double, 256)


def test_nf4_is_the_best_of_three_on_what_is_round_and_loses_on_what_is_even():
    """The figures that the lab names."""
    known = {
        "normal": (0.092, 0.108, 0.122),
        "uniform": (0.091, 0.070, 0.111),
        "Laplace": (0.104, 0.141, 0.151),
        "Student t, 3 degrees": (0.123, 0.182, 0.190),
    }
    for name, draw in DISTRIBUTIONS.items():
        weights = draw(np.random.default_rng(0), 64 * 4096)
        found = [relative_error(weights, table) for table in (NF4, INT4, FP4)]
        assert found == pytest.approx(known[name], abs=1.5e-3), name


@pytest.mark.parametrize("kind, table", [("nf4", NF4), ("fp4", FP4)])
def test_the_error_is_that_of_bitsandbytes_weights(kind, table):
    weights = torch.randn(64, 65)
    kept = peer.dequantize_4bit(*peer.quantize_4bit(weights, quant_type=kind))
    assert relative_error(weights, table) == pytest.approx(float((kept - weights).norm() / weights.norm()), rel=1e-5)


ONE = np.ones(4)
BAD = [
    (levels, (1,), "2 to 8 bits"),
    (levels, (9,), "2 to 8 bits"),
    (levels, (4, 0.5), "between 0.5 and 1"),
    (levels, (4, 1.0), "between 0.5 and 1"),
    (levels, (4, math.nan), "between 0.5 and 1"),
    (quantize, (ONE, NF4, 0), "block is 0"),
    (quantize, (np.array([1, math.nan]), NF4, 2), "finite"),
    (quantize, (np.array([1, -math.inf]), NF4, 2), "finite"),
    (dequantize, (np.array([1, 16]), [1.0], NF4, 2), "from 1 to 16, and there are 16"),
    (dequantize, (np.array([1, -1]), [1.0], NF4, 2), "from -1 to 1"),
    (dequantize, (np.array([1, 1, 1]), [1.0], NF4, 2), "3 codes in blocks of 2 do not have 1"),
    (dequantize, (np.array([1]), [1.0], NF4, 0), "blocks of 0"),
    (bits_per_weight, (0,), "at least 1"),
    (bits_per_weight, (64, True, 0), "at least 1"),
    (unpack, (np.array([1], dtype=np.uint8), 3), "1 bytes do not hold 3"),
    (counted_bits, (torch.nn.Linear(2, 2),), "no weight of this model is quantized"),
]


@pytest.mark.parametrize("function, args, says", BAD)
def test_what_cannot_be_is_one_line(function, args, says):
    with pytest.raises(ValueError, match=says) as caught:
        function(*args)
    assert "\n" not in str(caught.value)
