"""`labkit runs`: list the recipes, show a record, make records again."""

from __future__ import annotations

import argparse
import json
import sys
from statistics import mean

from labkit.common import InputError
from labkit.runs.compare import share
from labkit.runs.execution import best_rates, rebuild_all
from labkit.runs.recipe import Recipe
from labkit.runs.recipes import RECIPES, matching, named
from labkit.runs.record import Record, recorded, stale
from labkit.runs.show import told


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "examples:\n  labkit runs list\n  labkit runs show sft-short\n  labkit runs rebuild sft-short --seeds 8\n"
        "  labkit runs rebuild 'modules-*' --screen 2    # each rate on 2 seeds, then the best rates on all"
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="list | show | rebuild")
    listing = actions.add_parser("list", help="the recipes, and which are recorded")
    show = actions.add_parser("show", help="one record: its seeds, scores, machine and date")
    show.add_argument("name", metavar="NAME")
    again = actions.add_parser(
        "rebuild", help="record a recipe, or all that there are; goes on where it was interrupted"
    )
    again.add_argument("name", metavar="NAME", nargs="*", help="recipes; * stands for anything")
    again.add_argument("--seeds", type=int, default=8, help="record the seeds 0 … SEEDS−1 (8)")
    again.add_argument(
        "--screen",
        type=int,
        metavar="N",
        help="of recipes that differ in nothing but the learning rate, record N seeds each, and all SEEDS only for the "
        "one with the lowest held-out loss",
    )
    again.add_argument("--again", action="store_true", help="also what is recorded already")
    again.add_argument("--workers", type=int, help="how many runs at once (one for each core)")
    again.add_argument("--cluster", metavar="ADDRESS", help="run on this Ray cluster: auto, or HOST:PORT")
    for action in (listing, show, again):
        action.add_argument("--json", action="store_true", help="print one JSON object as the last line")


def main(args: argparse.Namespace) -> int:
    if args.action == "list":
        return _list(args)
    if args.action == "show":
        named(args.name)
        record = Record.load(args.name)
        _print_record(record)
        if args.json:
            print(json.dumps(_summary(record)))
        return 0
    return _rebuild(args)


def _list(args: argparse.Namespace) -> int:
    rows = {}
    for name in sorted({*RECIPES, *recorded()}):
        state = "not recorded"
        if name in recorded():
            record = Record.load(name)
            state = (
                stale(name) or f"recorded, {len(record.outcomes)} seeds, mean {mean(record.shares.values()):.1%} right"
            )
        rows[name] = state.removeprefix(f"{name}: ")
        print(f"{name:<24} {rows[name]}")
    if args.json:
        print(json.dumps(rows))
    return 0


def _rebuild(args: argparse.Namespace) -> int:
    for option, value in (("--seeds", args.seeds), ("--screen", args.screen)):
        if value is not None and value < 1:
            raise InputError(f"{option} is {value}: at least 1 is needed")
    chosen = [recipe for name in args.name for recipe in matching(name)] if args.name else list(RECIPES.values())

    def recorded_now(recipes: list[Recipe], seeds: int) -> list[Record]:
        print(f"{len(recipes)} recipes, {seeds} seeds: {', '.join(each.name for each in recipes)}", file=sys.stderr)
        return rebuild_all(
            [(recipe, seeds) for recipe in recipes],
            again=args.again,
            cluster_address=args.cluster,
            workers=args.workers,
            on_seed=lambda outcome: print(
                f"  seed {outcome.seed}: {told(outcome.score)}, {outcome.seconds:.0f} s", file=sys.stderr
            ),
        )

    if args.screen is not None:
        recorded_now(chosen, args.screen)
        chosen = best_rates(chosen)
    summaries = {}
    for record in recorded_now(chosen, args.seeds):
        _print_record(record)
        summaries[record.name] = _summary(record)
    if args.json:
        print(json.dumps(summaries))
    return 0


def _summary(record: Record) -> dict:
    summary: dict = {"shares": record.shares, "mean": mean(record.shares.values()), "hash": record.hash}
    if len(record.outcomes) > 1:
        over_seeds = share(record)
        summary |= {"low": over_seeds.low, "high": over_seeds.high}
    return summary


def _print_record(record: Record) -> None:
    summary = _summary(record)
    over_seeds = f", 95% interval over seeds {summary['low']:.1%} to {summary['high']:.1%}" if "low" in summary else ""
    print(f"{record.name}: mean {summary['mean']:.1%} right{over_seeds}")
    for outcome in record.outcomes:
        print(
            f"  seed {outcome.seed}: {told(outcome.score)}; {outcome.seconds:.0f} s, {outcome.date}, {outcome.machine}"
        )
