"""Published measurements of memory, each with source, unit, meter and assumptions, and what the planner says of each.

The rows are in `measurements.yaml`, which says what a row holds. No number of the planner was fitted to them: where one
is far off, its row says what was run otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from labkit import architectures, memory
from labkit.memory import GB, GIB, Setup, Sizes
from labkit.quantization import bits_per_weight

FILE = Path(__file__).with_suffix(".yaml")


@dataclass(frozen=True)
class Measurement:
    """One published figure. `expected` are the bytes that the planner counts for the same: tensors alone if it was
    `allocated`, otherwise with half of the allocator's reserve.
    """

    model: str
    setup: Setup | None  # None: a model that is loaded
    bits: str  # of a loaded model: "", nf4 or nf4-dq
    measured: float  # bytes
    unit: str
    meter: str
    source: str
    assumed: str
    differs: str
    expected: float
    explained: float | None  # the same, with what was run otherwise, where the planner can count that

    @property
    def ratio(self) -> float:
        """The planner's over what was measured."""
        return self.expected / self.measured


@cache
def published() -> tuple[Measurement, ...]:
    """All rows, in the order of the file."""
    data = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    found = []
    for group in data["groups"]:
        for row in group["rows"]:
            fields = {**group["setup"], **{key: row[key] for key in row if key in Setup.__dataclass_fields__}}
            model, bits = row["model"], row.get("bits", "")
            config = data["models"].get(model) or architectures.read(model)
            sizes, setup, other = memory.sizes(config), None, None
            if fields["method"] != "load":
                setup = _setup(fields)
                other = _setup({**fields, **row["as_if"]}) if "as_if" in row else None
            found.append(
                Measurement(
                    model,
                    setup,
                    bits,
                    row["value"] * (GB if group["unit"] == "GB" else GIB),
                    group["unit"],
                    group["meter"],
                    data["sources"][group["source"]],
                    row.get("assumed", group.get("assumed", "")),
                    row.get("differs", ""),
                    _expected(sizes, setup, bits, group["meter"]),
                    None if other is None else _expected(sizes, other, bits, group["meter"]),
                )
            )
    return tuple(found)


def _setup(fields: dict[str, Any]) -> Setup:
    return Setup(**{**fields, "targets": tuple(fields.get("targets", ("all-linear",)))})


def _expected(model: Sizes, setup: Setup | None, bits: str, meter: str) -> float:
    if setup is None:
        if not bits:
            return 2 * model.parameters
        packed = model.linear_parameters + model.vocabulary * model.width  # litgpt packs the output layer too
        return 2 * (model.parameters - packed) + packed * bits_per_weight(double=bits == "nf4-dq") / 8
    return memory.plan(model, setup).peak * (1 if meter == "allocated" else 1 + memory.RESERVE / 2)
