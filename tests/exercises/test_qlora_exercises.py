"""Lab 07's exercises: other right solutions than the reference pass, and what people write first is told apart."""

from __future__ import annotations

import inspect
import math
from statistics import NormalDist

import numpy as np
import pytest
import torch

from labkit.exercises import find
from labkit.exercises.engine import judge


def levels(bits=4, offset=0.9677083):
    if bits not in range(2, 9) or not (offset > 0.5 and offset < 1):
        raise ValueError
    normal, found = NormalDist(), [0.0]
    for count, sign in ((2 ** (bits - 1), 1), (2 ** (bits - 1) - 1, -1)):
        step = (offset - 0.5) / count
        found += [sign * normal.inv_cdf(offset - i * step) for i in range(count)]
    return sorted(level / max(found) for level in found)


def quantize(weights, levels, block):
    if block <= 0:
        raise ValueError("block")
    absmax, codes = [], []
    for start in range(0, weights.size, block):
        part = weights.ravel()[start : start + block]
        if np.isnan(part).any() or np.isinf(part).any():
            raise ValueError("not finite")
        absmax.append(max(abs(part)))
        for weight in part:
            distances = [abs(weight - level * absmax[-1]) for level in levels]
            codes.append(levels.tolist().index(0.0) if absmax[-1] == 0 else distances.index(min(distances)))
    return torch.tensor(codes).reshape(weights.shape), torch.tensor(absmax)


def dequantize(codes, absmax, levels, block):
    flat = [int(code) for code in codes.ravel()]
    if block < 1 or -(-len(flat) // block) != len(absmax) or min(flat) < 0:
        raise ValueError("block, absmax or code")
    try:
        found = [levels[code] * absmax[i // block] for i, code in enumerate(flat)]
    except IndexError:
        raise ValueError("no such level") from None
    return np.reshape(found, codes.shape)


def bits_per_weight(block, double, block2):
    if block <= 0 or (double and block2 <= 0):
        raise ValueError
    whole = block * (block2 if double else 1)
    return (4 * whole + (8 * block2 + 32 if double else 32)) / whole


@pytest.mark.parametrize("function", [levels, quantize, dequantize, bits_per_weight], ids=lambda f: f.__name__)
def test_another_right_solution_passes(function):
    for seed in range(10):
        assert judge(find(f"qlora.{function.__name__}"), function, seed).text == "passed"


def table_alone(bits=4, offset=0.9677083):
    return levels()


def without_a_look_at_zeros(weights, levels, block):
    """As most would write it; zeros become NaN, which torch and numpy hand on with a warning at most."""
    if block < 1 or not np.isfinite(weights).all():
        raise ValueError("bad")
    flat, levels = torch.tensor(weights).flatten(), torch.tensor(levels)
    parts = flat.split(block)
    absmax = torch.stack([part.abs().max() for part in parts])
    codes = [torch.bucketize(part / top, (levels[1:] + levels[:-1]) / 2) for part, top in zip(parts, absmax)]
    return torch.cat(codes).reshape(weights.shape), absmax


def rows_of_whole_blocks(codes, absmax, levels, block):
    return (np.array(levels)[codes].reshape(-1, block) * np.array(absmax)[:, None]).reshape(codes.shape)


def checked_bits(block, double, block2):
    if block < 1 or (double and block2 < 1):
        raise ValueError("block")
    return 4 + (8 if double else 32) / block


@pytest.mark.parametrize(
    "name, function, says",
    [
        ("levels", lambda: levels(), "takes"),
        ("levels", table_alone, "NF4's table whatever is asked"),
        ("levels", lambda bits=4, offset=0.9677083: np.linspace(-1, 1, 2**bits), "Your levels lie evenly"),
        ("quantize", without_a_look_at_zeros, "you divide 0 by 0"),
        ("quantize", lambda w, levels, block: (np.sign(w), np.abs(w).max()), "wrong for quantize("),
        ("dequantize", rows_of_whole_blocks, "raised ValueError|reshape"),
        ("dequantize", lambda codes, absmax, levels, block: np.array(levels)[codes], "You give the levels alone"),
        ("bits_per_weight", lambda block, double, block2: 4 + 32 / block, "You leave double quantization aside"),
        ("bits_per_weight", checked_bits, "32 bits for each"),
        ("bits_per_weight", lambda block, double, block2: 4 + (8 if double else 32) / block, "32 bits for each"),
    ],
)
def test_what_people_write_first_is_answered(name, function, says):
    verdict = judge(find(f"qlora.{name}"), function)
    assert not verdict.passed and any(each in verdict.text for each in says.split("|")), verdict.text
    assert "\n" not in verdict.text


@pytest.mark.parametrize(
    "name, right, written, says",
    [
        ("memory", '"states": state * trainable', '"states": state * parameters', "states for every parameter"),
        ("memory", '"gradients": size * trainable', '"gradients": size * parameters', "a gradient for every parameter"),
        ("memory", '"adamw-8bit": 2', '"adamw-8bit": 1', "it has two states, of one byte each"),
        ("memory", "8 / 64 + 32 / (64 * 256)", "32 / 64", "4.5 bits for a packed weight"),
        ("memory", "(64 * 256)", "256", "serves 256 blocks"),
        ("memory", '"gradients": size', '"sum": 0, "gradients": 1 + size', "'sum' is one entry too many"),
        ("choose", '"{name}?"', '"{name}"', "a question mark after it"),
        ("choose", "low <= card", "low < card", "so compare with <=|yours 'none', expected 'qlora?'"),
        ("choose", "low > high", "low >= high", "it raises ValueError|raised ValueError"),
        ("choose", "for name, (low, _) in requirements.items()", "for low, name in LOWS", "expected 'qlora?'"),
        (
            "choose",
            "for name, (_, high) in requirements.items():",
            "for name in ('full', 'lora', 'qlora'):\n        high = requirements[name][1]",
            "KeyError|expected 'qlora'",
        ),
        ("choose", "any(low > high for low, high in requirements.values())", "False", "a range whose low end is above"),
    ],
)
def test_what_is_a_little_off_is_answered(name, right, written, says):
    source = inspect.getsource(find(f"qlora.{name}").reference)
    assert right in source
    names: dict = {}
    lows = "sorted((low, name) for name, (low, high) in requirements.items())"
    exec(source.replace(right, written.replace("LOWS", lows)), names)
    for seed in range(5):
        text = judge(find(f"qlora.{name}"), names[name], seed).text
        assert any(each in text for each in says.split("|")), text


def one_scale(weights, levels, block):
    if block < 1 or not np.isfinite(weights).all():
        raise ValueError
    absmax = np.abs(weights).max()
    return np.searchsorted((levels[1:] + levels[:-1]) / 2, weights / absmax), absmax


def test_one_scale_for_all_is_named_in_whatever_form_it_is_given():
    forms = (
        one_scale,
        lambda *args: (one_scale(*args)[0], one_scale(*args)[1:]),
        lambda w, levels, block: (one_scale(w, levels, block)[0], [np.abs(w).max()] * math.ceil(w.size / block)),
    )
    for form in forms:
        assert "You divide all weights by one absmax" in judge(find("qlora.quantize"), form).text


def test_the_table_that_everybody_quotes_is_the_levels_without_arguments():
    quoted = [-1, -0.6961928, -0.5250731, -0.3949175, -0.2844414, -0.1847734, -0.09105, 0]
    quoted += [0.0795803, 0.1609302, 0.2461123, 0.3379152, 0.4407098, 0.562617, 0.7229568, 1]
    assert find("qlora.levels").reference().tolist() == pytest.approx(quoted, abs=1e-6)
    assert math.isclose(find("qlora.bits_per_weight").reference(64, True, 256), 4.127, abs_tol=5e-5)
