"""`labkit split FILE`: a file's lines into a training and a test file, and how much of the test is also in training.

By cluster, no near-duplicates are on both sides; by time, the later lines are the test; by random, lines are drawn at
random. In each case the leak is counted: the test's lines that have a near-duplicate in training. The splits come from
`data`, near-duplicates from `dedup`; the file is held in memory, with its texts' shingles.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

from labkit import dedup
from labkit.common import InputError, write_atomically
from labkit.data import MAX_FILE_BYTES, json_object, split_by_cluster, split_by_time
from labkit.dedup_command import check_lines, line_parts, numbered_lines, rejected_row

OUTPUTS = ("train.jsonl", "test.jsonl", "rejected.jsonl")
BY = ("cluster", "time", "random")


def split_file(
    path: Path,
    out: Path,
    by: str,
    share: float = 0.1,
    cutoff: str | None = None,
    seed: int = 0,
    threshold: float = 0.8,
    keys: tuple[str, ...] = (),
) -> dict:
    """Write train.jsonl, test.jsonl, rejected.jsonl and report.json into `out`; return the report.

    Each line of the file is in exactly one of the three, unchanged. The test gets at least `share` of the usable lines
    (by cluster and by time only as many more as keep clusters or days whole); with a `cutoff`, a day, the lines of that
    day or later. Raises `InputError`, also if a side would be empty, and then writes nothing.
    """
    path, out = path.expanduser(), out.expanduser()
    if not 0 < share < 1:
        raise InputError(f"the share of the test is {share}: it must be between 0 and 1")
    if cutoff is not None and by != "time":
        raise InputError(f"--cutoff {cutoff} belongs to --by time, not to --by {by}")
    if there := [name for name in (*OUTPUTS, "report.json") if (out / name).exists()]:
        raise InputError(f"{out}: already holds a {there[0]}; name another folder")
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; name a folder for the results")
    lines, rejected = _read(path, by, keys)
    found = dedup.find([text for _, _, _, text in lines], threshold, reading=dedup.Reading())
    test = _chosen(lines, found.clusters, by, share, cutoff, seed, path)
    if len(test) in (0, len(lines)):
        side = "test" if not test else "training"
        raise InputError(f"{path}: nothing is left for {side}; take another share, cutoff or --by")
    # By cluster, because the search pairs each of many copies with one only.
    leaking = {index for cluster in found.clusters if not test.issuperset(cluster) for index in cluster} & test
    report = {
        "by": by,
        "seed": seed,
        "cutoff": cutoff,
        "lines": len(lines) + len(rejected),
        "train": len(lines) - len(test),
        "test": len(test),
        "rejected": len(rejected),
        "clusters": len(found.clusters),
        "leak": len(leaking),
        "leak_share": len(leaking) / len(test),
        "leak_lines": sorted(lines[index][0] for index in leaking)[:5],
        "threshold": threshold,
    }
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: cannot be made ({error.strerror or error}); name another place") from None
    with (
        write_atomically(out / OUTPUTS[0]) as train_file,
        write_atomically(out / OUTPUTS[1]) as test_file,
        write_atomically(out / OUTPUTS[2]) as rejected_file,
    ):
        for index, (_, raw, _, _) in enumerate(lines):
            (test_file if index in test else train_file).write(raw.decode().strip("\r\n") + "\n")
        for number, raw, size, problem in rejected:
            rejected_file.write(rejected_row(number, problem, size, raw))
    with write_atomically(out / "report.json") as file:
        json.dump(report, file, indent=1)
    return report


def _read(path: Path, by: str, keys: tuple[str, ...]) -> tuple[list, list]:
    """(usable lines as (number, bytes, date, text), rejected ones as (number, bytes, size, problem))."""
    lines, rejected, held = [], [], 0
    try:
        check_lines(path)
        for number, _, size, raw in numbered_lines(path):
            held += size
            if held > MAX_FILE_BYTES:
                raise InputError(
                    f"{path}: is over the limit of {MAX_FILE_BYTES / 1e6:.0f} MB, because it is held in memory"
                )
            try:
                text = line_parts(raw, size, keys)[1]
                date = json_object(raw, "").get("date")
                if by == "time":
                    split_by_time([{"date": date}], "2000-01-01")  # says what is wrong with a date
                lines.append((number, raw, date, text))
            except InputError as error:
                rejected.append((number, raw, size, str(error)))
            except ValueError:
                rejected.append((number, raw, size, f'has the "date" {date!r}; write the day as 2024-06-30'))
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file; check the name and the folder") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    if not lines:
        problem = f"line {rejected[0][0]}: {rejected[0][3]}" if rejected else "the file is empty"
        raise InputError(f"{path}: has no usable line; {problem}")
    return lines, rejected


def _chosen(
    lines: list, clusters: list[list[int]], by: str, share: float, cutoff: str | None, seed: int, path: Path
) -> set[int]:
    """The places of the lines that form the test."""
    count = max(round(share * len(lines)), 1)
    draw = random.Random(seed)
    if by == "random":
        return set(draw.sample(range(len(lines)), count))
    if by == "cluster":
        tied = {index for cluster in clusters for index in cluster}
        groups = [*clusters, *([index] for index in range(len(lines)) if index not in tied)]
        order = draw.sample(range(len(groups)), len(groups))
        return set(
            split_by_cluster(groups, order, count / len(lines))[0]
        )  # its first side is the one with a minimum size
    dated = [{"date": date, "place": place} for place, (_, _, date, _) in enumerate(lines)]
    cutoff = cutoff or sorted((row["date"] for row in dated), reverse=True)[count - 1]
    try:
        return {row["place"] for row in split_by_time(dated, cutoff)[1]}
    except ValueError as error:
        raise InputError(str(error)) from None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "Writes to DIR: train.jsonl and test.jsonl, the lines as they were; rejected.jsonl, lines without text or date,\n"
        "and why; report.json. Each line of FILE is in exactly one of the three. Exit status 1 if lines were rejected, or\n"
        "lines of the test have near-duplicates in training.\n\n"
        "examples:\n  labkit split mine.jsonl --by cluster --test 0.1 --out sides\n"
        "  labkit split posts.jsonl --by time --cutoff 2024-06-30 --out sides"
    )
    parser.add_argument("file", metavar="FILE.jsonl", type=Path, help="one JSON object a line")
    parser.add_argument("--by", choices=BY, default="cluster", help="what decides the side (default %(default)s)")
    parser.add_argument("--test", type=float, default=0.1, metavar="SHARE", help="of the lines (default %(default)s)")
    parser.add_argument(
        "--cutoff", metavar="DATE", help='the test\'s first day, by "date"; default: what gives the share'
    )
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="where the results go")
    parser.add_argument("--seed", type=int, default=0, help="of the draw (default %(default)s)")
    parser.add_argument("--threshold", type=float, default=0.8, help="similarity of near-duplicates (default 0.8)")
    parser.add_argument(
        "--text", action="append", metavar="KEY", help="the key that holds the text, as in labkit dedup"
    )
    parser.add_argument("--json", action="store_true", help="end with one JSON object, the report")


def main(args: argparse.Namespace) -> int:
    keys = tuple(args.text or ())
    report = split_file(args.file, args.out, args.by, args.test, args.cutoff, args.seed, args.threshold, keys)
    print(
        f"{report['lines']:,} lines: {report['train']:,} train, {report['test']:,} test, {report['rejected']:,} rejected"
    )
    such_as = f" (such as lines {', '.join(map(str, report['leak_lines']))})" if report["leak"] else ""
    print(
        f"leak: {report['leak']:,} of the test's lines ({report['leak_share']:.1%}) have a near-duplicate in training{such_as}"
    )
    print(f"{args.out}: {', '.join(OUTPUTS)}, report.json")
    if args.json:
        print(json.dumps(report))
    return 1 if report["rejected"] or report["leak"] else 0
