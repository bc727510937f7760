"""`labkit plan`: what fits a card, each term, when the peak comes, and the cheapest change that would make it fit.

The bytes come from `memory`, the configuration from `architectures`. No model is made and nothing is downloaded.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from labkit import architectures, memory
from labkit.common import InputError, text_table, write_atomically
from labkit.memory import GB, GIB, METHODS, OPTIMIZERS, TERMS, Plan, Setup, Sizes

GIVEN_UP = {
    "full": "nothing",
    "lora": "what a low rank cannot learn",
    "qlora": "the same, and perhaps a little of the base's quality",
}


def plans(model: Sizes, setup: Setup, methods: tuple[str, ...] = METHODS) -> dict[str, Plan]:
    """{method: its plan} for the same rows. Raises `InputError` for a set-up that the model cannot have."""
    import dataclasses

    try:
        return {name: memory.plan(model, dataclasses.replace(setup, method=name)) for name in methods}
    except ValueError as error:
        raise InputError(str(error)) from None


def in_words(size: float) -> str:
    """Bytes in both units: 16.0 GB (14.9 GiB)."""
    return f"{size / GB:.1f} GB ({size / GIB:.1f} GiB)"


def report(name: str, model: Sizes, found: dict[str, Plan], card: float) -> dict:
    """All figures as plain data, bytes throughout."""
    rows = {}
    for method, plan in found.items():
        change = memory.cheapest_change(model, plan.setup, card, keep_method=len(found) > 1)
        low, high = plan.range
        rows[method] = {
            "verdict": plan.verdict(card),
            "low": round(low),
            "high": round(high),
            "peak": round(plan.peak),
            "moment": plan.when,
            "moments": {at: {term: round(size) for term, size in terms.items()} for at, terms in plan.moments.items()},
            "trainable": memory.trainable(model, plan.setup),
            "change": None if change is None else list(change[0]),
            "changed_high": None if change is None else round(change[1].range[1]),
        }
    return {"model": name, "parameters": model.parameters, "card": round(card), "methods": rows}


def terms_table(plan: Plan) -> str:
    """The terms of each moment, in GB."""
    used = [term for term in TERMS if any(terms[term] for terms in plan.moments.values())]
    rows = [["GB", *used, "together"]]
    for at, terms in plan.moments.items():
        mark = " (peak)" if at == plan.when else ""
        cells = [f"{terms[term] / GB:.2f}" for term in used]
        rows.append([at + mark, *cells, f"{plan.totals[at] / GB:.2f}"])
    return text_table(rows)


def choice_table(figures: dict) -> str:
    """One row for each method: its range, whether it fits, what is given up, and what would make it fit."""
    rows = [["method", "on the card, GB", "verdict", "given up", "cheapest change that makes it fit"]]
    for method, row in figures["methods"].items():
        span = f"{row['low'] / GB:.1f} to {row['high'] / GB:.1f}"
        rows.append([method, span, row["verdict"], GIVEN_UP[method], _change(row)])
    return text_table(rows)


def _change(row: dict) -> str:
    if row["change"] is None:
        return "none does"
    return ", ".join(row["change"]) + f" (up to {row['changed_high'] / GB:.1f} GB)" if row["change"] else "–"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    names = ", ".join(architectures.catalogue())
    parser.epilog = (
        "The low end of a range is all tensors at the peak and the card's context (0.5 GB); the high end adds 15% for\n"
        "what the allocator keeps in reserve. It fits if the high end does. 16GB are 16·10⁹ bytes, 16GiB and 16G\n"
        "are 16·2³⁰. Rows are taken as full: `--sequence` is the length of the longest. Without --method all three are\n"
        "compared. Exit status 1 if nothing asked for fits.\n\n"
        f"models by name: {names}\n\n"
        "examples:\n  labkit plan --model Llama-3.1-8B --gpu 24GB --sequence 2048\n"
        "  labkit plan --model Qwen2.5-0.5B --method full --gpu 16GB --batch 8 --checkpointing\n"
        "  labkit plan --model my-model/config.json --method qlora --gpu 8GiB --plot plan.png"
    )
    parser.add_argument(
        "--model", metavar="NAME_OR_CONFIG", required=True, help="a name below, a config.json, a folder"
    )
    parser.add_argument("--gpu", metavar="SIZE", required=True, help="the card's memory: 16GB, 24GiB, 80G")
    parser.add_argument("--method", choices=METHODS, help="only this one, with each term; default: compare all three")
    parser.add_argument("--sequence", type=int, default=1024, metavar="TOKENS", help="of a row (default %(default)s)")
    parser.add_argument("--batch", type=int, default=1, help="rows computed at once (default %(default)s)")
    parser.add_argument("--checkpointing", action="store_true", help="compute activations again in backward")
    parser.add_argument(
        "--optimizer",
        choices=OPTIMIZERS,
        default="adamw",
        help="adamw copies what is trained once in its step, fused does not (default %(default)s)",
    )
    parser.add_argument(
        "--dtype", choices=("bfloat16", "float32"), default="bfloat16", help="of the weights (default %(default)s)"
    )
    parser.add_argument("--rank", type=int, default=16, help="of the adapter (default %(default)s)")
    parser.add_argument(
        "--targets",
        default="all-linear",
        metavar="NAMES",
        help="layers with an adapter, joined by commas (default all)",
    )
    parser.add_argument("--plot", metavar="FILE", type=Path, help="write the stacked picture as PNG, or as SVG")
    parser.add_argument("--json", action="store_true", help="end with one JSON object, in bytes")


def main(args: argparse.Namespace) -> int:
    try:
        card = memory.card_bytes(args.gpu)
        model = memory.sizes(architectures.read(args.model))
        setup = Setup(
            batch=args.batch,
            sequence=args.sequence,
            checkpointing=args.checkpointing,
            optimizer=args.optimizer,
            dtype=args.dtype,
            adapter_dtype="float32",
            rank=args.rank,
            targets=tuple(name.strip() for name in args.targets.split(",") if name.strip()),
        )
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{error}") from None
    found = plans(model, setup, (args.method,) if args.method else METHODS)
    figures = report(args.model, model, found, card)
    print(
        f"{args.model}: {model.parameters:,} parameters; rows of {setup.sequence:,} tokens, {setup.batch} at once; "
        f"the card holds {in_words(card)}"
    )
    if args.method:
        plan, row = found[args.method], figures["methods"][args.method]
        low, high = plan.range
        print(f"{args.method} trains {row['trainable']:,} numbers with {setup.optimizer}\n\n{terms_table(plan)}\n")
        print(f"the peak comes at: {plan.when}, {in_words(plan.peak)} of tensors")
        print(f"on the card: {in_words(low)} to {in_words(high)}: {row['verdict']}")
        if row["verdict"] != "fits":
            print(f"the cheapest change that makes it fit: {_change(row)}")
    else:
        print(f"\n{choice_table(figures)}")
    if args.plot:
        _draw(args.plot, args.model, found, card)
        print(f"{args.plot}: written")
    if args.json:
        print(json.dumps(figures))
    return 0 if any(row["verdict"] == "fits" for row in figures["methods"].values()) else 1


def _draw(path: Path, name: str, found: dict[str, Plan], card: float) -> None:
    from labkit import plots

    if path.suffix.lower() not in (".png", ".svg"):
        raise InputError(f"{path}: name a file that ends in .png or .svg")
    bars = {f"{method} ({plan.when})": plan.moments[plan.when] for method, plan in found.items()}
    if len(found) == 1:
        bars = next(iter(found.values())).moments
    drawn, _ = plots.memory_picture(bars, card, f"{name} on a card of {card / GB:.0f} GB")
    with write_atomically(path, binary=True) as file:
        drawn.savefig(file, format=path.suffix[1:].lower(), dpi=144)
