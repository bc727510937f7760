"""Comparing a notebook's outputs with a tolerance, for nbval; labs/conftest.py imports the hooks.

A cell without `"labkit"` metadata is compared by nbval as usual. With `"labkit": {"rtol": 0.02}` (also `"atol"`,
`"ints": true`) text and integers must still be the same; each float must be finite and within max(atol,
rtol·|reference|, one unit of the reference's last printed place); and there must be nothing on stderr. With `"ints"`
integers may differ by max(atol, rtol·|reference|). NaN and infinity are text, so each matches itself only. The trick is
simple: a new output that agrees is replaced by the stored text, and then nbval compares.
"""

from __future__ import annotations

import copy
import math
import os
import re
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any

MAX_RTOL = 0.1
# `3.` is an integer and a full stop, as at the end of a sentence, except in `3.e-05`.
NUMBER = re.compile(r"[-+−]?(?:[0-9]*\.[0-9]+|[0-9]+\.(?=[eE][-+]?[0-9])|[0-9]+)(?:[eE][-+]?[0-9]+)?")


@dataclass(frozen=True)
class Tolerance:
    """How far a number may be off. Raises `ValueError` for an invalid tolerance, or one that is too wide."""

    rtol: float = 0.0
    atol: float = 0.0
    ints: bool = False

    def __post_init__(self) -> None:
        for name in ("rtol", "atol"):
            value = getattr(self, name)
            if (
                isinstance(value, bool)
                or not isinstance(value, (int, float))
                or not (math.isfinite(value) and value >= 0)
            ):
                raise ValueError(f"labkit.{name} is {value!r}: give a finite number, at least 0")
        if self.rtol > MAX_RTOL:
            raise ValueError(f"labkit.rtol is {self.rtol}: at most {MAX_RTOL}")
        if not isinstance(self.ints, bool):
            raise ValueError(f"labkit.ints is {self.ints!r}: give true or false")

    @classmethod
    def of(cls, cell: Any) -> Tolerance | None:
        """The tolerance in a cell's metadata, or None if there is none."""
        metadata = cell.get("metadata", {}).get("labkit")
        if not isinstance(metadata, dict):
            return None
        given = {name: metadata[name] for name in ("rtol", "atol", "ints") if name in metadata}
        return cls(**given) if given else None


def difference(found: str, reference: str, tolerance: Tolerance) -> str | None:
    """Where the text differs from the reference by more than the tolerance, in words; None if nowhere."""
    if NUMBER.split(found) != NUMBER.split(reference):
        return "the text between the numbers differs"
    for number, wanted in zip(NUMBER.findall(found), NUMBER.findall(reference), strict=True):
        if not _agree(number, wanted, tolerance):
            return f"{number} is too far from {wanted}"
    return None


def _agree(number: str, wanted: str, tolerance: Tolerance) -> bool:
    is_float = _is_float(wanted)
    if is_float != _is_float(number):
        return False
    if not is_float and not tolerance.ints:
        return number == wanted
    number, wanted = number.replace("−", "-"), wanted.replace("−", "-")
    if not (math.isfinite(float(number)) and math.isfinite(float(wanted))):
        return False  # an infinity that is written as a number, such as 1e999
    exact = Decimal(wanted)
    widest = max(
        Decimal(str(tolerance.atol)),
        Decimal(str(tolerance.rtol)) * abs(exact),
        _last_place(wanted) if is_float else Decimal(0),
    )
    return abs(Decimal(number) - exact) <= widest


def _is_float(number: str) -> bool:
    return any(sign in number for sign in ".eE")


def _last_place(number: str) -> Decimal:
    """One unit of the last printed decimal: 0.01 for 0.97, 0.0001 for 1.5e-3; 0 for a number without decimals, such
    as 1e3.
    """
    mantissa, _, exponent = number.lower().partition("e")
    decimals = len(mantissa.partition(".")[2])
    return Decimal(1).scaleb(int(exponent or 0) - decimals) if decimals else Decimal(0)


def compare_outputs(cell: Any, stock: Any, found: list, reference: list, skip_compare: tuple | None = None) -> bool:
    """nbval's comparison for one cell (an `IPyNbCell`; `stock` is its own method), with the tolerance the cell asks
    for.
    """
    try:
        tolerance = Tolerance.of(cell.cell)
    except ValueError as error:
        cell.comparison_traceback = [str(error)]
        return False
    if tolerance is None:
        return stock(found, reference, skip_compare)
    for outputs, whose in ((found, "the run"), (reference, "the stored output")):
        if any(output.output_type == "stream" and output.name == "stderr" and output.text for output in outputs):
            cell.comparison_traceback = [f"there is something on stderr in {whose}"]
            return False
    found, reasons = copy.deepcopy(found), []
    stored = defaultdict(list)
    for key, _, _, text in _texts(reference):
        stored[key].append(text)
    seen: dict[str, int] = defaultdict(int)
    for key, holder, name, text in _texts(found):
        place, seen[key] = seen[key], seen[key] + 1
        if place < len(stored[key]):
            reason = difference(text, stored[key][place], tolerance)
            if reason is None:
                holder[name] = stored[key][place]
            else:
                reasons.append(f"{key}: {reason}")
    agrees = stock(found, reference, skip_compare)
    if not agrees:
        cell.comparison_traceback += reasons
    return agrees


def _texts(outputs: list) -> Iterator[tuple[str, Any, str, str]]:
    """(what it is compared as, the mapping that holds it, its key there, the text) for every text among outputs."""
    for output in outputs:
        if output.output_type == "stream":
            yield output.name, output, "text", output.text
        for mime, value in list(output.get("data", {}).items()):
            if isinstance(value, str):
                yield mime, output["data"], mime, value


# Hooks of pytest


def pytest_collectstart(collector: Any) -> None:
    """Let each notebook's kernel start with an empty LABKIT_HOME of its own."""
    from nbval.plugin import IPyNbFile

    if isinstance(collector, IPyNbFile):
        collector.setup = partial(_setup_in_empty_home, collector, collector.setup)


def pytest_itemcollected(item: Any) -> None:
    from nbval.plugin import IPyNbCell

    if isinstance(item, IPyNbCell):
        item.compare_outputs = partial(compare_outputs, item, item.compare_outputs)


def _setup_in_empty_home(collector: Any, stock: Any) -> None:
    home = tempfile.mkdtemp(prefix="labkit-home-")
    collector.addfinalizer(partial(shutil.rmtree, home, ignore_errors=True))
    before = os.environ.get("LABKIT_HOME")
    os.environ["LABKIT_HOME"] = home
    try:
        stock()
    finally:
        if before is None:
            del os.environ["LABKIT_HOME"]
        else:
            os.environ["LABKIT_HOME"] = before
