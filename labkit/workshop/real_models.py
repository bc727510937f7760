"""`docs/real-models.md`: how the labs' numbers move with real models. The table in it is computed here, from the shapes
of the models alone: nothing is loaded and nothing is trained. `python -m labkit.workshop.real_models` writes it.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

from labkit import architectures, memory, quantization
from labkit.common import write_between
from labkit.models import BASE
from labkit.sft import fitted_rate

PAGE = Path(__file__).parents[2] / "docs" / "real-models.md"
BEGIN, END = "<!-- models:begin -->", "<!-- models:end -->"
MODELS = ("SmolLM2-135M", "Qwen3-0.6B", "Llama-3.2-1B")
RANK, BATCH, SEQUENCE = 16, 8, 512


def column(name: str) -> dict[str, str]:
    """What each row of the table says of a model."""
    sizes = memory.sizes(architectures.read(BASE if name == "base" else name))
    total, linear = sizes.parameters, sizes.linear_parameters
    adapter = memory.trainable(sizes, memory.Setup("lora", rank=RANK))
    bits = quantization.bits_per_weight(64, double=True)
    rate = fitted_rate(sizes.width)
    rates = "–" if name.startswith("Qwen") else f"{rate:.1g} / {10 * rate:.1g}"
    rows = {
        "parameters": f"{total / 1e6:,.1f} million" if total < 1e8 else f"{total / 1e6:,.0f} million",
        "width, layers": f"{sizes.width:,}, {sizes.layers}",
        "tokens in the vocabulary (lab 02)": f"{sizes.vocabulary:,}",
        "loss of a model that knows nothing, ln V (lab 03)": f"{math.log(sizes.vocabulary):.2f} nats",
        "best rate by the fit, all weights / LoRA (lab 05)": rates,
        f"share trained, all linear layers, r = {RANK} (lab 06)": f"{adapter / (adapter + total):.2%}",
        "times smaller in NF4 than in bf16 (lab 07)": f"{16 * total / (bits * linear + 16 * (total - linear)):.2f}",
    }
    for method in memory.METHODS:
        setup = memory.Setup(method, batch=BATCH, sequence=SEQUENCE, rank=RANK)
        peak = memory.plan(sizes, setup).peak
        rows[f"peak of a step, {method}, {BATCH} × {SEQUENCE:,} tokens (lab 07)"] = f"{peak / 1e9:.2f} GB"
    return rows


def table() -> str:
    columns = {name: column(name) for name in ("base", *MODELS)}
    head = ["", "this kit's base", *MODELS]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for row in columns["base"]:
        lines.append(f"| {row} | {' | '.join(found[row] for found in columns.values())} |")
    return "\n".join(lines)


def main() -> int:
    changed = write_between(PAGE, BEGIN, END, table())
    print(f"{PAGE.name}: {'written' if changed else 'is as it should be'}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
