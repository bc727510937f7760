"""`labkit run NAME`: replay a recorded run in a terminal, or run its recipe now."""

import argparse
import json

from labkit.runs import RECIPES, run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "example: labkit run sft-lab00 --live"
    parser.add_argument("name", metavar="NAME", help=f"a recipe: {', '.join(RECIPES)}")
    parser.add_argument("--live", action="store_true", help="run it now instead of replaying its record")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", metavar="NOTE", help="add it to my runs, with this note")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")


def main(args: argparse.Namespace) -> int:
    result = run(args.name, live=args.live, seed=args.seed)
    print(f"\n{result}")
    for row in result.rows:
        print(
            f"  {row['task']:<24} {row['correct']:>4} of {row['n']:<4} {row['share']:7.1%}  {row['low']:.1%} to "
            f"{row['high']:.1%}"
        )
    if args.keep is not None:
        result.keep(args.keep)
    if args.json:
        print(
            json.dumps(
                {
                    "recipe": args.name,
                    "seed": args.seed,
                    "recorded": result.recorded,
                    **result.outcome.score,
                    "by_task": result.outcome.by_task,
                    "seconds": result.outcome.seconds,
                }
            )
        )
    return 0
