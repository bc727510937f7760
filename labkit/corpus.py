"""`labkit corpus FOLDER`: near-duplicates over the files of a folder, by datatrove, on local processes or on Ray.

Every `*.jsonl` of the folder and the folders in it is read, compressed (gzip, bzip2, xz) or not, in four stages:
signatures, pairs that share a band, clusters, and each line into its file. datatrove finds the duplicates; what counts
as a line's text, and where the line goes, is as in `labkit dedup`. datatrove does not verify candidates by their true
similarity, so what is removed depends on the bands alone: for a file that fits on one machine, `labkit dedup` says
more.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import struct
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from labkit.common import InputError, write_atomically
from labkit.dedup_command import line_text, numbered_lines, rejected_row

ENDINGS = (".jsonl", ".jsonl.gz", ".jsonl.bz2", ".jsonl.xz")
SIDES = ("kept", "removed", "rejected")


def stages(
    folder: Path,
    files: list[str],
    out: Path,
    keys: tuple[str, ...] = (),
    shingle: int = 3,
    bands: int = 14,
    rows: int = 8,
    seed: int = 1,
) -> list[tuple[list, int]]:
    """The four stages, each as (steps, tasks), as datatrove's executors take them; task n reads the n-th of `files`.

    A line is known by its number: lines without a usable text are passed on as empty documents, which have no
    signature.
    """
    from datatrove.data import Document
    from datatrove.pipeline.base import PipelineStep
    from datatrove.pipeline.dedup.minhash import (
        MinhashConfig,
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupSignature,
    )
    from datatrove.utils.hashing import HashConfig
    from datatrove.utils.text import TextNormConfig
    from datatrove.utils.word_tokenizers import WordTokenizer

    class Words(WordTokenizer):
        """Words as `dedup.shingles` splits them: at white space."""

        def word_tokenize(self, text: str) -> list[str]:
            return text.split()

        def sent_tokenize(self, text: str) -> list[str]:
            return [text]

        def span_tokenize(self, text: str) -> list[tuple[int, int]]:
            return [(0, len(text))]

    class Read(PipelineStep):
        """A document for each line of the task's file."""

        type, name = "reader", "lines"

        def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
            for number, _, size, raw in numbered_lines(folder / files[rank]):
                try:
                    text = line_text(raw, size, keys)
                except InputError:
                    text = ""
                yield Document(text=text, id=str(number))

    class Sort(PipelineStep):
        """Each line of the task's file into what is kept, removed or rejected."""

        type, name = "writer", "kept, removed, rejected"

        def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
            sort_lines(folder, files[rank], rank, out, keys)
            yield from ()

    as_it_stands = TextNormConfig(remove_punctuation=False, norm_unicode_diacritics=False, norm_numbers=False)
    config = MinhashConfig(
        n_grams=shingle,
        num_buckets=bands,
        hashes_per_bucket=rows,
        seed=seed,
        norm_config=as_it_stands,
        hash_config=HashConfig(hash_fc="sha1"),  # datatrove 0.10 gives xxhash text, which xxhash 4 refuses
    )
    signatures, pairs, found = (str(out / "unfinished" / name) for name in ("signatures", "pairs", "clusters"))
    return [
        ([Read(), MinhashDedupSignature(signatures, config=config, language=Words())], len(files)),
        ([MinhashDedupBuckets(signatures, pairs, config=config)], bands),
        ([MinhashDedupCluster(pairs, found, config=config, save_cluster_id=True)], 1),
        ([Sort()], len(files)),
    ]


def sort_lines(folder: Path, name: str, rank: int, out: Path, keys: tuple[str, ...]) -> None:
    """Write each line of a file into what is kept, removed or rejected, and how many there were of each."""
    place = unpacked_name(name)
    for side in SIDES:
        (out / side / place).parent.mkdir(parents=True, exist_ok=True)
    removed = set(_numbers(out / "unfinished" / "clusters" / f"{rank:06d}.remove", "<I"))
    cluster = dict(_numbers(out / "unfinished" / "clusters" / f"{rank:06d}.clusters", "<2I"))
    counts: Counter[str] = Counter()
    with (
        write_atomically(out / "kept" / place) as kept,
        write_atomically(out / "removed" / place) as gone,
        write_atomically(out / "rejected" / place) as rejected,
    ):
        for number, _, size, raw in numbered_lines(folder / name):
            try:
                line_text(raw, size, keys)
            except InputError as error:
                rejected.write(rejected_row(number, str(error), size, raw))
                counts["rejected"] += 1
                continue
            line = raw.decode().strip()
            if (number - 1,) in removed:
                gone.write(f'{{"line": {number}, "cluster": {cluster[number - 1]}, "row": {line}}}\n')
                counts["removed"] += 1
            else:
                kept.write(line + "\n")
                counts["kept"] += 1
    with write_atomically(out / "unfinished" / f"{rank:06d}.json") as file:
        json.dump(counts, file)


def deduplicate(
    folder: str | Path, out: str | Path, keys: tuple[str, ...] = (), ray: bool = False, workers: int = 1, **options: int
) -> tuple[list[list[tuple[str, int]]], dict]:
    """(the clusters of at least two, each as (file, line) pairs with the one that stays first; the report).

    `out` then holds kept/, removed/ and rejected/ with a file for each that was read: each of its lines is in exactly
    one of them; and clusters.jsonl and report.json. With `ray`, the tasks run on the cluster that `ray.init` finds,
    whose machines share the folders. Texts with fewer words than a shingle have no signature and are kept. Raises
    `InputError`, and then leaves `out` as it was.
    """
    folder, out = Path(folder).expanduser(), Path(out).expanduser()
    files, others = listed(folder)
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise InputError(f"{out}: is not empty; name a new folder")
    try:
        from datatrove.executor import LocalPipelineExecutor, RayPipelineExecutor
    except ImportError:
        raise InputError("datatrove is not installed; `pip install datatrove orjson`") from None
    lines = [_checked(folder / file) for file in files]
    was_there = out.exists()
    try:
        (out / "unfinished").mkdir(parents=True)
        for number, (steps, tasks) in enumerate(stages(folder, files, out, keys, **options)):
            place = {"logging_dir": str(out / "unfinished" / "logs" / str(number)), "tasks": tasks}
            executor = RayPipelineExecutor if ray else LocalPipelineExecutor
            with _stderr_in(out / "unfinished" / "log"):
                executor(steps, workers=workers, **place).run()
        told = [json.loads((out / "unfinished" / f"{rank:06d}.json").read_text()) for rank in range(len(files))]
        report = {side: sum(counts.get(side, 0) for counts in told) for side in SIDES}
        if report["rejected"] == sum(lines):
            raise InputError(f"{folder}: no usable line in it; {_first_problem(folder, files, keys)}")
        if [sum(counts.values()) for counts in told] != lines:
            raise InputError(f"{folder}: was changed while it was read; start again, and leave it unchanged")
        found = clusters(files, out / "unfinished" / "clusters")
        with write_atomically(out / "clusters.jsonl") as file:
            for number, (kept, *gone) in enumerate(found):
                file.write(json.dumps({"cluster": number, "kept": kept, "removed": gone}, ensure_ascii=False) + "\n")
        report = {"files": len(files), "lines": sum(lines)} | report | {"clusters": len(found), "left_out": others}
        with write_atomically(out / "report.json") as file:
            json.dump(report, file, indent=1)
        shutil.rmtree(out / "unfinished")
        return found, report
    except BaseException as error:
        for path in out.iterdir() if out.is_dir() else ():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        if not was_there and out.is_dir():
            out.rmdir()
        if isinstance(error, OSError):
            raise InputError(f"{error.filename or out}: {error.strerror or error}; free space there") from None
        raise


def listed(folder: Path) -> tuple[list[str], list[str]]:
    """(the files to read, the others), as paths within the folder, in order.

    Raises `InputError` if there are none to read, or two that would be written to one name.
    """
    if not folder.is_dir():
        raise InputError(
            f"{folder}: is not a folder; name one with files of JSON lines, or use `labkit dedup` for a file"
        )
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    files = [name for name in names if name.endswith(ENDINGS)]
    if not files:
        raise InputError(
            f"{folder}: holds no {' or '.join('*' + ending for ending in ENDINGS[:2])} files; "
            "`python -m labkit.data FILE OUT.jsonl` makes one of a table or a JSON array"
        )
    seen: dict[str, str] = {}
    for name in files:
        other = seen.setdefault(unpacked_name(name), name)
        if other != name:
            raise InputError(
                f"{folder}: {other} and {name} would both become {unpacked_name(name)}; rename one of them"
            )
    return files, [name for name in names if name not in seen.values()]


def unpacked_name(name: str) -> str:
    """A file's name without the ending that says how it is compressed."""
    return name[: name.rindex(".jsonl")] + ".jsonl"


def clusters(files: list[str], found: Path) -> list[list[tuple[str, int]]]:
    """The clusters in datatrove's files, the member that stays first: (place in its file, cluster), and the places to
    remove.
    """
    stay: dict[int, tuple[str, int]] = {}
    go: dict[int, list[tuple[str, int]]] = defaultdict(list)
    for rank, file in enumerate(files):
        removed = set(_numbers(found / f"{rank:06d}.remove", "<I"))
        for place, cluster in _numbers(found / f"{rank:06d}.clusters", "<2I"):
            if (place,) in removed:
                go[cluster].append((file, place + 1))
            else:
                stay[cluster] = (file, place + 1)
    return [[stay[cluster], *go[cluster]] for cluster in sorted(stay)]


@contextlib.contextmanager
def _stderr_in(path: Path) -> Iterator[None]:
    """Send to a file what this process and those it starts write to stderr: datatrove writes a page for each task."""
    from loguru import logger

    there = os.dup(2)
    try:
        with open(path, "a", encoding="utf-8") as file, contextlib.redirect_stderr(file):
            os.dup2(file.fileno(), 2)
            yield
    finally:
        os.dup2(there, 2)
        os.close(there)
        logger.remove()  # datatrove's, which writes to the file that is closed now


def _numbers(path: Path, form: str) -> list[Any]:
    return list(struct.iter_unpack(form, path.read_bytes())) if path.is_file() else []


def _checked(path: Path) -> int:
    """How many lines a file has. Counting them shows, before anything is written, that the file can be read to its end."""
    try:
        return sum(1 for _ in numbered_lines(path))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None


def _first_problem(folder: Path, files: list[str], keys: tuple[str, ...]) -> str:
    for file in files:
        for number, _, size, raw in numbered_lines(folder / file):
            try:
                line_text(raw, size, keys)
            except InputError as error:
                return f"{file}, line {number}: {error}"
    return "the files are empty"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "Writes to OUT: kept/, the lines as they were; removed/, each with its cluster; rejected/, lines without text, and\n"
        "why; clusters.jsonl, for each cluster the line kept and those removed; report.json. Each line is in exactly\n"
        "one of the three. Exit status 1 if lines were rejected or files left out.\n\n"
        "examples:\n  labkit corpus shards --out cleaned --workers 8\n"
        "  labkit corpus shards --out cleaned --text body --ray"
    )
    parser.add_argument("folder", type=Path, help="with files of JSON lines: *.jsonl, or compressed, *.jsonl.gz")
    parser.add_argument("--out", type=Path, required=True, help="a new folder, for what is kept and what is not")
    parser.add_argument(
        "--text", action="append", metavar="KEY", help="the key that holds the text, as in labkit dedup"
    )
    parser.add_argument("--workers", type=int, default=1, help="how many tasks at once (1)")
    parser.add_argument("--ray", action="store_true", help="on the Ray cluster that this machine belongs to")
    parser.add_argument("--json", action="store_true", help="end with one JSON object, the report")


def main(args: argparse.Namespace) -> int:
    if args.workers < 1:
        raise InputError(f"--workers is {args.workers}: give at least 1")
    _, report = deduplicate(args.folder, args.out, tuple(args.text or ()), ray=args.ray, workers=args.workers)
    print(
        f"{report['lines']:,} lines in {report['files']:,} files: {report['kept']:,} kept, {report['removed']:,} removed "
        f"({report['clusters']:,} clusters), {report['rejected']:,} rejected"
    )
    if report["left_out"]:
        print(f"left out, no JSON lines: {', '.join(report['left_out'])}")
    print(f"{args.out}: {', '.join(side + '/' for side in SIDES)}, clusters.jsonl, report.json")
    if args.json:
        print(json.dumps(report))
    return 1 if report["rejected"] or report["left_out"] else 0


if __name__ == "__main__":
    from labkit import cli

    sys.exit(cli.main(["corpus", *sys.argv[1:]]))
