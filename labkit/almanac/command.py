"""`labkit almanac`: look into the invented world: its documents, examples, candidates and facts."""

from __future__ import annotations

import argparse
import itertools
import json
import sys

from labkit.almanac import examples, pool, world
from labkit.almanac.documents import documents
from labkit.common import InputError
from labkit.data import Example, save_examples

KINDS = ("documents", "facts", "short", "long", "fresh", "phrasing", "long tail", "family", "candidates")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "examples:\n  labkit almanac documents --count 5\n  labkit almanac short --count 1000 --out train.jsonl"
    )
    parser.add_argument("what", choices=KINDS, metavar="WHAT", help=", ".join(KINDS))
    parser.add_argument("--count", type=int, default=10, help="how many (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", metavar="FILE.jsonl", help="write examples here, one JSON object a line")


def main(args: argparse.Namespace) -> int:
    if args.count < 1:
        raise InputError(f"--count is {args.count}: give at least 1")
    if args.what in ("documents", "facts"):
        if args.out:
            raise InputError(f"--out writes examples, not {args.what}; send the output to a file instead")
        if args.what == "documents":
            print("\n\n".join(itertools.islice(documents(world.build(), args.seed), args.count)))
        else:
            for fact in world.build().facts[: args.count]:
                print(json.dumps({**vars(fact), "fresh": fact.fresh}))
        return 0
    chosen = drawn(args.what, args.count, args.seed)
    if args.out:
        save_examples(chosen, args.out)
        print(f"{args.out}: {len(chosen)} examples")
    else:
        for example in chosen:
            sys.stdout.write(
                f"[{example.date}, {example.source}, {example.task}]\n{example.prompt}\n{example.completion}\n\n"
            )
    return 0


def drawn(kind: str, count: int, seed: int) -> list[Example]:
    if kind in examples.OUT_OF_DISTRIBUTION:
        return examples.out_of_distribution(kind, count, seed)
    if kind == "fresh":
        return examples.fresh_examples(count, seed)
    if kind == "candidates":
        return pool.candidates(seed=seed)[0][:count]
    return {"short": examples.short_mix, "long": examples.long_mix}[kind](seed, train=count, test=11)[0]
