"""The minute that is promised: `labkit demo` on a quiet machine and beside a busy loop on each core, and one step's time.

A step (32 rows, rank 16) is timed in fresh processes: in the format that `auto` takes, in float32 and in bfloat16; and
beside busy neighbours with threads that spin for a moment while they wait, as the kit sets them, and for as long as
torch comes with. `ratio` is the second over the first: above 1, the kit's way is better.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

from labkit.runs import machine

STEPS = 8
GOALS = {"seconds": 90, "after": 0.95, "peak_rss_mb": 1536}


def main(args) -> dict:
    """Figures for `labkit bench demo`."""
    figures: dict = {"machine": machine()}
    figures["step_seconds"] = {name: step(name) for name in ("auto", "float32", "bfloat16")}
    print("a step: " + ", ".join(f"{name} {each:.2f} s" for name, each in figures["step_seconds"].items()))
    figures["quiet"] = demo()
    told("quiet", figures["quiet"])
    with neighbours():
        ours, peer = step("auto"), step("auto", GOMP_SPINCOUNT="300000")
        figures["busy_step_seconds"] = {"ours": ours, "peer": peer}
        print(f"beside a busy loop on each core a step takes {ours:.2f} s, with threads as torch comes {peer:.2f} s")
        figures["busy"] = demo()
        told("busy", figures["busy"])
    figures["ratio"] = peer / ours
    quiet = figures["quiet"]
    reached = quiet["seconds"] <= GOALS["seconds"] and quiet["peak_rss_mb"] <= GOALS["peak_rss_mb"]
    figures["ok"] = reached and min(quiet["after"], figures["busy"]["after"]) >= GOALS["after"]
    return figures


def step(number_format: str, **environment: str) -> float:
    """The median time of a training step in a fresh process."""
    code = f"from benchmarks.demo import timed; print(timed({number_format!r}))"
    return float(_run([sys.executable, "-c", code], **environment))


def timed(number_format: str) -> float:
    from labkit import models, training
    from labkit.almanac.examples import short_mix
    from labkit.masking import render

    model, tokenizer = models.load(device="cpu")
    model = models.add_lora(model, rank=16, alpha=32)
    rows = [render(example, tokenizer) for example in short_mix(seed=0, train=32 * STEPS)[0]]
    settings = training.Settings(steps=STEPS, batch_size=32, lr=3e-3, number_format=number_format)
    ends = training.fit(model, rows, settings, pad=tokenizer.pad_token_id).seconds
    return median(after - before for before, after in zip(ends, ends[1:]))


def demo() -> dict:
    """What `labkit demo --json` reports, and how long all of it took."""
    started = time.perf_counter()
    last = _run([sys.executable, "-m", "labkit.cli", "demo", "--json"]).splitlines()[-1]
    report = json.loads(last)
    kept = {name: report[name] for name in ("before", "after", "n", "train_seconds", "peak_rss_mb")}
    return {"seconds": round(time.perf_counter() - started, 1), **kept}


def told(name: str, report: dict) -> None:
    print(
        f"labkit demo, {name}: {report['seconds']:.0f} s in all ({report['train_seconds']:.0f} s training), "
        f"{report['after']:.1%} of {report['n']} right, {report['peak_rss_mb']:.0f} MB"
    )


@contextmanager
def neighbours() -> Iterator[None]:
    """A process for each core that never rests, at the priority of ours."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def _run(command: list[str], **environment: str) -> str:
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    told = os.environ | {"PYTHONPATH": root} | environment
    return subprocess.run(command, env=told, cwd=root, capture_output=True, text=True, check=True).stdout
