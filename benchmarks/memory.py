"""The planner beside a trace of the step, beside published measurements, and beside real tensors on this machine.

The trace makes each of ten architectures in full depth, without weights: full, LoRA and QLoRA, with and without
checkpointing; 2 rows of 1,024 tokens. `ratio` is the planner's peak over the trace's. The published rows are those of
`labkit/measurements.yaml`. On real tensors, the kit's base makes one step under the same meter.
"""

from __future__ import annotations

import dataclasses
import time
from statistics import median

from labkit import architectures, measurements, memory, models, runs
from labkit.common import text_table
from labkit.memory import GB, METHODS, Setup

WITHIN, OF_THE_WORLD = 0.10, 0.20


def main(args) -> dict:
    """Figures for `labkit bench memory`."""
    figures = {"trace": against_the_trace(), "world": against_the_world(), "real": on_real_tensors()}
    return {**figures, "machine": runs.machine()}


def against_the_trace() -> dict:
    from labkit import trace

    rows, found = [["architecture", "method", "checkpointing", "trace, GB", "planner, GB", "ratio", "moment", "s"]], []
    for name in architectures.catalogue():
        config, sizes = architectures.config(name), memory.sizes(architectures.read(name))
        for method in METHODS:
            for checkpointing in (False, True):
                setup = Setup(method, 2, 1024, checkpointing)
                started = time.perf_counter()
                traced = trace.trace(config, setup).peak
                seconds = time.perf_counter() - started
                plan = memory.plan(sizes, setup)
                found.append(plan.peak / traced)
                cells = [f"{traced / GB:.2f}", f"{plan.peak / GB:.2f}", f"{found[-1]:.3f}", plan.when, f"{seconds:.0f}"]
                rows.append([name, method, "yes" if checkpointing else "no", *cells])
    print(text_table(rows))
    print(
        f"\n{len(found)} set-ups: planner over trace {min(found):.3f} to {max(found):.3f}, middle {median(found):.3f}\n"
    )
    return {
        "set_ups": len(found),
        "lowest": min(found),
        "highest": max(found),
        "ok": all(abs(ratio - 1) <= WITHIN for ratio in found),
    }


def against_the_world() -> dict:
    """The goal is 20%; a row that misses it has to say what was run otherwise."""
    rows = [["model", "method", "rows", "measured, GB", "planner, GB", "error", "counted as run", "run otherwise"]]
    inside, unexplained = 0, 0
    published = measurements.published()
    for row in published:
        near = abs(row.ratio - 1) <= OF_THE_WORLD
        inside += near
        unexplained += not near and not row.differs
        setup = row.setup
        rows.append(
            [
                row.model,
                f"load {row.bits}".strip() if setup is None else setup.method + " ✓" * setup.checkpointing,
                "" if setup is None else f"{setup.sequence} × {setup.batch}",
                f"{row.measured / GB:.2f}",
                f"{row.expected / GB:.2f}",
                f"{row.ratio - 1:+.0%}",
                "" if row.explained is None else f"{row.explained / row.measured - 1:+.0%}",
                row.differs,
            ]
        )
    print(text_table(rows))
    same = [row for row in published if not row.differs]
    print(
        f"\n{inside} of {len(published)} published rows within {OF_THE_WORLD:.0%}; of the {len(same)} that ran what the "
        f"planner counts, {sum(abs(row.ratio - 1) <= OF_THE_WORLD for row in same)} (✓: with checkpointing)\n"
    )
    return {
        "rows": len(published),
        "within_20_percent": inside,
        "same_set_up": len(same),
        "same_within_20_percent": sum(abs(row.ratio - 1) <= OF_THE_WORLD for row in same),
        "largest_error_of_the_same": max(abs(row.ratio - 1) for row in same),
        "ok": unexplained == 0,
    }


def on_real_tensors() -> dict:
    """One step of the base on 16 rows of 128 tokens, in float32: planned and measured."""
    found = {method: real_step(method) for method in METHODS}
    rows = [["the base", "measured, MB", "planner, MB", "ratio"]]
    for method, (measured, planned) in found.items():
        rows.append([method, f"{measured / 1e6:.1f}", f"{planned / 1e6:.1f}", f"{planned / measured:.3f}"])
    print(text_table(rows))
    full, lora, qlora = (measured for measured, _ in found.values())
    print(f"QLoRA over LoRA: {qlora / lora:.2f}; over full {qlora / full:.2f}")
    return {
        **{f"{method}_ratio": planned / measured for method, (measured, planned) in found.items()},
        "qlora_over_lora": qlora / lora,
        "qlora_over_full": qlora / full,
        "ok": all(abs(planned / measured - 1) <= WITHIN for measured, planned in found.values()),
    }


def real_step(method: str, batch: int = 16, sequence: int = 128) -> tuple[int, float]:
    """(measured, planned) peak bytes of the kit's base."""
    import torch

    from labkit import trace

    model, _ = models.load(device="cpu", quantize="nf4" if method == "qlora" else None)
    if method != "full":
        model = models.add_lora(model)
    ids = torch.randint(0, 1000, (batch, sequence), generator=torch.Generator().manual_seed(0))
    measured = trace.measure(model.train(), ids).peak
    setup = dataclasses.replace(Setup(method, batch, sequence), dtype="float32")
    return measured, memory.plan(memory.sizes(architectures.read(models.BASE)), setup).peak
