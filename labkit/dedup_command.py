"""`labkit dedup FILE.jsonl`: near-duplicates of a file of any size.

The file is read three times, a part of it at a time: for the bands' keys, to compare the candidates' texts, to write.
Finished work is kept in `DIR/unfinished`, part by part, so that the same command goes on after an interruption; that
folder is removed at the end. Memory holds a few hundred bytes for each document, whatever its length.

What is compared is what people say in a line: content, reasoning and tool calls; a system prompt, which many lines
share, counts as one word. Lines that ask the same and answer differently are not near-duplicates of each other, and are
counted as conflicts; nor is a conversation one of its own beginning, because rows are often made so, one for each answer. With `--against`, the contents of an evaluation file are removed first.

Edge cases: a line without words, or that is not JSON, or longer than 10 MB, is rejected with the reason; a text of
fewer words than a shingle is one shingle; of copies one stays. Where more than 128 documents share a band, not every
pair of them is compared, and the report counts the others; a cluster of more than half of all documents is reported in
a line.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import hashlib
import json
import shlex
import shutil
import sys
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from zlib import crc32

import numpy as np

from labkit import dedup
from labkit.common import InputError, peak_rss_mb, write_atomically
from labkit.data import (
    MAX_LINE_BYTES,
    check_objects,
    form_of,
    json_object,
    message_texts,
    missing_key,
    opened,
    table_form,
)
from labkit.live import Line

PART_LINES = 10_000  # lines that are processed and saved together
PART_BYTES = 32_000_000
AT_ONCE = 50  # texts whose shingles are made together: they are still in the processor's cache
PART_PAIRS = 200_000
CACHED_SHINGLES = 2_000_000  # about 250 MB of texts that were just compared
SHOWN_BYTES = 10_000  # how much of a line that is too long the rejected file keeps
OUTPUTS = ("kept.jsonl", "removed.jsonl", "rejected.jsonl")
FORMAT = 4  # of the unfinished parts and the report; with another format the work starts over


@dataclass(frozen=True)
class Documents:
    """The usable lines of the file: arrays with an entry for each."""

    line: np.ndarray  # from 1
    offset: np.ndarray  # of the line's first byte
    size: np.ndarray  # bytes of the line
    length: np.ndarray  # characters of the text
    exact: np.ndarray  # (documents, 2) uint64: a hash of the whole text
    asked: np.ndarray  # uint64: a hash of what comes before the completion; 0 if the line has no such parts
    characters: np.ndarray  # whether the shingles are of characters
    rejected: list[tuple[int, str]]  # (line, what is wrong with it)
    lines: int  # of the file, all in all


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE.jsonl", type=Path, help="one JSON object a line")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="where the results go")
    parser.add_argument(
        "--threshold",
        type=float,
        default=0.8,
        help="Jaccard similarity from which two texts count as near-duplicates (default 0.8)",
    )
    parser.add_argument(
        "--shingle", type=int, default=3, metavar="N", help="words, or characters, in a shingle (default %(default)s)"
    )
    parser.add_argument(
        "--shingles",
        choices=dedup.UNITS,
        default="auto",
        help="of words, or of characters; auto: of characters for scripts without spaces (default %(default)s)",
    )
    parser.add_argument(
        "--ignore",
        choices=dedup.IGNORE,
        action="append",
        help="what makes no difference, even for exact copies; repeat it for more than one",
    )
    parser.add_argument(
        "--against", metavar="EVAL.jsonl", type=Path, help="first remove what is in this evaluation file"
    )
    parser.add_argument(
        "--against-text", action="append", metavar="KEY", help="the key that holds the text there, where it is another"
    )
    parser.add_argument(
        "--text",
        action="append",
        metavar="KEY",
        help="the key that holds the text; repeat it for more than one (default: text; or messages; or prompt and "
        "completion)",
    )
    parser.add_argument(
        "--keep", choices=dedup.KEEP, default="first", help="which member of a cluster stays (default first)"
    )
    parser.add_argument(
        "--permutations", type=int, default=128, metavar="N", help="length of a signature (default %(default)s)"
    )
    parser.add_argument(
        "--bands", type=int, metavar="N", help="default: enough to find 95%% of the pairs at the threshold"
    )
    parser.add_argument("--rows", type=int, metavar="N", help="permutations in a band")
    parser.add_argument("--seed", type=int, default=1, help="of the permutations (default %(default)s)")
    parser.add_argument("--overwrite", action="store_true", help="replace other results in DIR")
    parser.add_argument("--json", action="store_true", help="end with one JSON object, the report")
    parser.epilog = (
        "Writes to DIR: kept.jsonl, the lines as they were; removed.jsonl, each with its cluster, its neighbour (a\n"
        "line number), their similarity and the reason; rejected.jsonl, lines without text; report.json. Each line of\n"
        "FILE is in exactly one of the three. Interrupted, the same command goes on. Exit status 1 if lines were\n"
        "rejected.\n\n"
        "examples:\n  labkit dedup candidates.jsonl --threshold 0.8 --out deduplicated\n"
        "  labkit dedup posts.jsonl --text title --text body --keep longest --out deduplicated"
    )


def main(args: argparse.Namespace) -> int:
    chosen = dedup.scheme(args.threshold, args.shingle, args.permutations, args.bands, args.rows, args.seed)
    reading = dedup.Reading(args.shingles, tuple(sorted(set(args.ignore or ()))))
    keys = tuple(args.text or ())
    there = tuple(args.against_text or ())
    if there and args.against is None:
        raise InputError("--against-text belongs to --against EVAL.jsonl")
    report = deduplicate(args.file, args.out, chosen, keys, args.keep, args.overwrite, reading, args.against, there)
    print(table(report, args.out))
    if args.json:
        print(json.dumps(report))
    return 1 if report["rejected"] else 0


def deduplicate(
    path: Path,
    out: Path,
    chosen: dedup.Scheme,
    keys: tuple[str, ...] = (),
    keep: str = "first",
    overwrite: bool = False,
    reading: dedup.Reading = dedup.Reading(),
    against: Path | None = None,
    against_keys: tuple[str, ...] = (),
) -> dict:
    """Write the four files into `out` and return the report; continue where an interrupted call stopped.

    A folder with the results of the same file and settings is left as it is, and its report is returned. Raises
    `InputError` if the file cannot be read or has no usable line, or if the folder holds something else or cannot be
    written.
    """
    path, out = path.expanduser(), out.expanduser()
    against = against and against.expanduser()
    asked = {"format": FORMAT, "file": str(path.resolve()), **_fingerprint(path)}
    asked |= {**dataclasses.asdict(chosen), "text": list(keys), "keep": keep}
    asked |= {"shingles": reading.unit, "ignore": list(reading.ignore), "against": None}
    if against:
        asked["against"] = {"file": str(against.resolve()), **_fingerprint(against), "text": list(against_keys)}
        if against.resolve() == path.resolve():
            raise InputError(f"{against}: is the training file itself; name the evaluation file")
        check_lines(against)
    check_lines(path)
    work, was_there = out / "unfinished", out.exists()
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; name a folder for the results")
    if path.resolve() in [(out / name).resolve() for name in OUTPUTS]:
        raise InputError(f"{path}: would be replaced by its own result; name another folder with --out")
    earlier, there = _read_json(out / "report.json"), [name for name in OUTPUTS if (out / name).exists()]
    if earlier and earlier.get("asked") == asked and len(there) == len(OUTPUTS):
        print(f"{out}: already done, with the same file and settings", file=sys.stderr)
        return earlier
    if (earlier or there) and not overwrite and _read_json(work / "asked.json") != asked:
        raise InputError(f"{out}: holds other results; name another folder, or replace them with --overwrite")
    line = Line()
    try:
        work.mkdir(parents=True, exist_ok=True)
        if _read_json(work / "asked.json") != asked:
            shutil.rmtree(work)
            work.mkdir()
            _write_json(work / "asked.json", asked)
        report = _Run(path, out, work, chosen, keys, keep, line, reading, against, against_keys).report(asked)
        shutil.rmtree(work)
        return report
    except OSError as error:
        raise InputError(
            f"{error.filename or out}: {error.strerror or error}; free space there, or name another place"
        ) from None
    finally:
        line.close()
        if not was_there and out.is_dir() and not any(out.iterdir()):
            out.rmdir()


class _Run:
    """One call's way through the stages; what each has saved is not done again."""

    def __init__(
        self,
        path: Path,
        out: Path,
        work: Path,
        chosen: dedup.Scheme,
        keys: tuple[str, ...],
        keep: str,
        line: Line,
        reading: dedup.Reading,
        against: Path | None,
        against_keys: tuple[str, ...],
    ) -> None:
        self.reading, self.against, self.against_keys = reading, against, against_keys or keys
        self.path, self.out, self.work, self.line = path, out, work, line
        self.chosen, self.keys, self.keep = chosen, keys, keep
        self.seconds: dict[str, float] = {}

    def report(self, asked: dict) -> dict:
        try:
            with self._timed("read"):
                documents = self._documents()
            if not len(documents.line):
                number, problem = documents.rejected[0] if documents.rejected else (1, "the file is empty")
                raise InputError(f"{self.path}: has no usable line; line {number}: {problem}")
            with self._timed("against"):
                evaluation, compared = self._evaluation(documents, self.against) if self.against else ({}, 0)
            if len(evaluation) == len(documents.line):
                raise InputError(f"{self.path}: all of it is in {self.against}, so nothing would be kept")
        except InputError:  # there is nothing to go on from
            shutil.rmtree(self.work)
            raise
        with self._timed("pairs"):
            distinct, pairs, untried = self._pairs(documents)
        with self._timed("verify"):
            similarity = self._similarities(documents, pairs, len(distinct))
        with self._timed("write"):
            copies = len(documents.line) - len(distinct)
            close = similarity >= self.chosen.threshold
            asked_first, asked_second = documents.asked[pairs].T
            close[copies:] &= ~((asked_first == asked_second) & (asked_first != 0))[copies:]  # answers to one prompt
            if evaluation:
                close &= ~np.isin(pairs, list(evaluation)).any(axis=1)
            reasons = ["exact"] * copies + ["near"] * (len(pairs) - copies)
            edges = [
                (i, j, value, reasons[place])
                for place, (i, j), value in zip(
                    np.flatnonzero(close).tolist(), pairs[close].tolist(), similarity[close].tolist(), strict=True
                )
            ]
            prefer = dedup.preference(self.keep, lambda index: int(documents.length[index]))
            groups, removed = dedup.removals(edges, prefer)
            removed = [one for one in removed if one.reason == "exact" or not _one_prompt(documents, one)]
            if asked | _fingerprint(self.path) != asked:
                raise InputError(f"{self.path}: was changed while it was read; start again, and leave it unchanged")
            (self.out / "report.json").unlink(missing_ok=True)
            self._write(documents, removed, evaluation)
        conflicts, such_as = _conflicts(documents)
        exact = sum(removal.reason == "exact" for removal in removed)
        kept = len(documents.line) - len(removed) - len(evaluation)
        rows = dedup.stages(len(documents.line), len(distinct), len(pairs) - copies, int(close[copies:].sum()), kept)
        report = {
            "asked": asked,
            "recall_at_threshold": self.chosen.recall,
            "lines": documents.lines,
            "rejected": len(documents.rejected),
            "documents": len(documents.line),
            "removed": len(removed) + len(evaluation),
            "removed_exact": exact,
            "removed_near": len(removed) - exact,
            "removed_evaluation": len(evaluation),
            "evaluation_documents": compared,
            "conflicts": conflicts,
            "conflicts_such_as": such_as,
            "beginnings": int((similarity < 0).sum()),
            "by_characters": int(documents.characters.sum()),
            "kept": kept,
            "clusters": len(groups),
            "largest_cluster": max(map(len, groups), default=0),
            "least_similarity": min((removal.similarity for removal in removed), default=None),
            "pairs_not_tried": untried,
            "stages": [dataclasses.asdict(row) | {"share": row.share} for row in rows],
            "seconds": {name: round(value, 3) for name, value in self.seconds.items()},
            "peak_rss_mb": peak_rss_mb(),
        }
        _write_json(self.out / "report.json", report)
        return report

    # Stage 1: every line once

    def _documents(self) -> Documents:
        """The file's contents, read part by part; parts that were saved before are not read again."""
        parts = sorted(self.work.glob("part-*.npz"))
        at, number = 0, 0
        if parts:
            with np.load(parts[-1]) as last:
                at, number = int(last["next"][0]), int(last["next"][1])
            print(f"{self.out}: continues after line {number:,}", file=sys.stderr)
        total = self.path.stat().st_size
        factors = dedup.permutation_numbers(self.chosen.permutations, self.chosen.seed)
        for lines in _parts(numbered_lines(self.path, at, number)):
            arrays, (at, number) = self._part(lines, *factors), (lines[-1][1] + lines[-1][2], lines[-1][0])
            target = self.work / f"part-{len(parts):06d}.npz"
            with open(target.with_suffix(".tmp"), "wb") as file:
                np.savez(file, next=np.array([at, number]), **arrays)
            target.with_suffix(".tmp").replace(target)
            parts.append(target)
            self.line.show(f"reading: line {number:,}", at / max(total, 1))

        def column(name: str) -> np.ndarray:
            found = [_member(part, name) for part in parts]
            return np.concatenate(found) if found else np.empty((0, 2) if name == "exact" else 0, np.int64)

        rejected = [tuple(row) for part in parts for row in json.loads(bytes(_member(part, "rejected")))]
        self.parts = parts
        return Documents(
            column("line"),
            column("offset"),
            column("size"),
            column("length"),
            column("exact"),
            column("asked"),
            column("characters"),
            rejected,
            number,
        )

    def _part(self, lines: list[tuple[int, int, int, bytes]], a: np.ndarray, b: np.ndarray) -> dict:
        """The arrays of one part."""
        rows, exact, asked, rejected = [], [], [], []
        texts: list[str] = []
        sets: list[set[str] | np.ndarray] = []
        for number, offset, size, raw in lines:
            try:
                whole, text, prompt = line_parts(raw, size, self.keys)
            except InputError as error:
                rejected.append((number, str(error)))
                continue
            rows.append((number, offset, size, len(whole)))
            exact.append(_hash(self.reading.exact(whole), 16))
            asked.append(_hash(self.reading.exact(prompt), 8) if prompt else bytes(8))
            texts.append(text)
            if len(texts) == AT_ONCE:
                sets += self.reading.numbers(texts, self.chosen.shingle)
                texts = []
        sets += self.reading.numbers(texts, self.chosen.shingle)
        keys = dedup.band_keys(dedup.signatures(sets, a, b), self.chosen.bands, self.chosen.rows)
        columns = np.array(rows, np.int64).reshape(-1, 4).T
        return {
            **dict(zip(("line", "offset"), columns)),
            **{name: column.astype(np.int32) for name, column in zip(("size", "length"), columns[2:])},
            "characters": np.array([isinstance(each, np.ndarray) for each in sets], bool),
            "exact": np.frombuffer(b"".join(exact), np.uint64).reshape(-1, 2),
            "asked": np.frombuffer(b"".join(asked), np.uint64),
            "rejected": np.frombuffer(json.dumps(rejected).encode(), np.uint8),
            **{f"band-{band}": keys[band] for band in range(self.chosen.bands)},
        }

    # Stage 2: what is in the evaluation file

    def _evaluation(self, documents: Documents, against: Path) -> tuple[dict[int, tuple[int, str, float | None]], int]:
        """({document: (line of the evaluation file, why, similarity)}, how many documents that file has).

        A document is removed if it is a copy or a near-duplicate of one there, or asks what one there asks.
        """
        lines, texts = [], []
        exact: dict[bytes, int] = {}
        asked: dict[bytes, int] = {}
        problem, unusable = "the file is empty", 0
        for number, _, size, raw in numbered_lines(against):
            try:
                whole, text, prompt = line_parts(raw, size, self.against_keys)
            except InputError as error:
                problem = f"line {number}: {error}"
                unusable += 1
                continue
            exact.setdefault(_hash(self.reading.exact(whole), 16), number)
            asked.setdefault(_hash(self.reading.exact(prompt or whole), 8), number)  # it may hold questions alone
            lines.append(number)
            texts.append(text)
        if not lines:
            raise InputError(f"{against}: has no usable line; {problem}")
        if unusable:
            print(f"{against}: {unusable} unusable lines left out, such as {problem}", file=sys.stderr)
        found: dict[int, tuple[int, str, float | None]] = {}
        for hashes, table, why in ((documents.exact, exact, "exact"), (documents.asked, asked, "prompt")):
            for index, value in enumerate(hashes):
                if (line := table.get(value.tobytes())) is not None:
                    found.setdefault(index, (line, why, 1.0 if why == "exact" else None))
        factors = dedup.permutation_numbers(self.chosen.permutations, self.chosen.seed)
        signatures = dedup.signatures(self.reading.numbers(texts, self.chosen.shingle), *factors)
        keys = dedup.band_keys(signatures, self.chosen.bands, self.chosen.rows)
        tried: set[tuple[int, int]] = set()
        for band in range(self.chosen.bands):
            here = np.concatenate([_member(part, f"band-{band}") for part in self.parts])
            holders: dict[int, list[int]] = {}
            for place, key in enumerate(keys[band].tolist()):
                holders.setdefault(key, []).append(place)
            for index in np.flatnonzero(np.isin(here, keys[band])).tolist():
                if index not in found:
                    tried.update((index, place) for place in holders[int(here[index])][: dedup.BUCKET_LIMIT])
        with opened(self.path) as file:
            sets = _Sets(file, documents, self.keys, self.chosen.shingle, self.reading)
            for index, place in sorted(tried):
                value = dedup.jaccard(sets[index], self.reading.shingles(texts[place], self.chosen.shingle))
                if value >= self.chosen.threshold and value > (found[index][2] or 0.0 if index in found else 0.0):
                    found[index] = (lines[place], "near", value)
        return found, len(lines)

    # Stage 3: which pairs to compare

    def _pairs(self, documents: Documents) -> tuple[np.ndarray, np.ndarray, int]:
        """(the documents whose words are new, the pairs to compare, how many pairs of the buckets were not tried).

        First come the pairs of each exact copy with the first of its kind, then the candidates among the distinct.
        """
        _, first, which = np.unique(documents.exact, axis=0, return_index=True, return_inverse=True)
        original = first[which.reshape(-1)]
        everything = np.arange(len(original))
        distinct = np.flatnonzero(original == everything)
        copied = np.flatnonzero(original != everything)
        copies = np.stack([original[copied], copied], axis=1)
        self.line.show("finding pairs")
        if not (self.work / "pairs.npz").exists():
            bands = (
                np.concatenate([_member(part, f"band-{band}") for part in self.parts])[distinct]
                for band in range(self.chosen.bands)
            )
            near, untried = dedup.candidate_pairs(bands)
            near = distinct[near]
            if len(near):  # pairs of one connected group come together, so that their texts are in memory together
                members, places = np.unique(near, return_inverse=True)
                places = places.reshape(-1, 2)
                group = np.empty(len(members), np.int64)
                for number, tied in enumerate(dedup.clusters(len(members), [(i, j) for i, j in places.tolist()])):
                    group[tied] = number
                near = near[np.argsort(group[places[:, 0]], kind="stable")]
            with open(self.work / "pairs.tmp", "wb") as file:
                np.savez(file, near=near, untried=untried)
            (self.work / "pairs.tmp").replace(self.work / "pairs.npz")
        near, untried = _member(self.work / "pairs.npz", "near"), int(_member(self.work / "pairs.npz", "untried"))
        copies = copies[np.lexsort((copies[:, 1], copies[:, 0]))]
        return distinct, np.concatenate([copies, near]), untried

    # Stage 4: the texts themselves

    def _similarities(self, documents: Documents, pairs: np.ndarray, distinct: int) -> np.ndarray:
        """The true Jaccard similarity of each pair, from the two texts in the file; below 0, by the same amount, where
        one is the beginning of the other.
        """
        done = []
        with opened(self.path) as file:
            sets = _Sets(file, documents, self.keys, self.chosen.shingle, self.reading)
            for number, start in enumerate(range(0, len(pairs), PART_PAIRS)):
                target = self.work / f"similarity-{number:06d}.npy"
                if not target.exists():
                    part = pairs[start : start + PART_PAIRS].tolist()
                    values = np.array([self._similarity(documents, sets, i, j) for i, j in part])
                    with open(target.with_suffix(".tmp"), "wb") as saved:
                        np.save(saved, values)
                    target.with_suffix(".tmp").replace(target)
                done.append(np.load(target))
                self.line.show(f"comparing: pair {start:,} of {len(pairs):,}", start / len(pairs))
        return np.concatenate([np.empty(0), *done])

    def _similarity(self, documents: Documents, sets: _Sets, i: int, j: int) -> float:
        value = dedup.jaccard(sets[i], sets[j])
        if value >= self.chosen.threshold and 0 != documents.asked[i] != documents.asked[j] != 0:
            shorter, longer = sorted((sets.parts(i), sets.parts(j)), key=lambda parts: len(parts[0]))
            if longer[2].startswith(shorter[0] + "\n"):
                return -value
        return value

    # Stage 5: each line into its file

    def _write(self, documents: Documents, removed: list[dedup.Removal], evaluation: dict) -> None:
        known = {int(documents.line[index]): told for index, told in evaluation.items()}
        problems = dict(documents.rejected)
        gone = {int(documents.line[removal.index]): removal for removal in removed}
        with contextlib.ExitStack() as stack:
            kept, out, rejected = (stack.enter_context(write_atomically(self.out / name)) for name in OUTPUTS)
            for number, _, size, raw in numbered_lines(self.path):
                if number % PART_LINES == 0:
                    self.line.show(f"writing: line {number:,}", number / documents.lines)
                if number in problems:
                    rejected.write(rejected_row(number, problems[number], size, raw))
                elif number in known:
                    there, why, similarity = known[number]
                    row = {
                        "line": number,
                        "reason": "evaluation",
                        "as": why,
                        "similarity": similarity,
                        "against": there,
                    }
                    out.write(f'{json.dumps(row)[:-1]}, "row": {raw.decode().strip()}}}\n')
                elif number in gone:
                    removal = gone[number]
                    row = {
                        "line": number,
                        "reason": removal.reason,
                        "similarity": removal.similarity,
                        "neighbour": int(documents.line[removal.neighbour]),
                        "cluster": removal.cluster,
                        "kept": int(documents.line[removal.kept]),
                    }
                    out.write(f'{json.dumps(row)[:-1]}, "row": {raw.decode().strip()}}}\n')
                else:
                    kept.write(raw.decode().rstrip("\r\n") + "\n")

    @contextlib.contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[stage] = time.perf_counter() - started


class _Sets:
    """The sets of shingles by document, read from the file on demand; the latest are kept in memory."""

    def __init__(
        self, file: BinaryIO, documents: Documents, keys: tuple[str, ...], shingle: int, reading: dedup.Reading
    ) -> None:
        self._reading = reading
        self._file, self._keys, self._shingle = file, keys, shingle
        self._offset, self._size = documents.offset, documents.size
        self._held: OrderedDict[int, set[str]] = OrderedDict()
        self._count = 0

    def __getitem__(self, index: int) -> set[str]:
        if index in self._held:
            self._held.move_to_end(index)
            return self._held[index]
        found = self._reading.shingles(self.parts(index)[1], self._shingle)
        self._held[index] = found
        self._count += len(found)
        while self._count > CACHED_SHINGLES:
            self._count -= len(self._held.popitem(last=False)[1])
        return found

    def parts(self, index: int) -> tuple[str, str, str]:
        """`line_parts` of a document."""
        self._file.seek(int(self._offset[index]))
        size = int(self._size[index])
        return line_parts(self._file.read(size), size, self._keys)


def numbered_lines(path: Path, at: int = 0, number: int = 0) -> Iterator[tuple[int, int, int, bytes]]:
    """(number from 1, offset, size in bytes, its bytes) of each line after the first `number`, which end at `at`.

    For a line over `MAX_LINE_BYTES` only the beginning is given, and its size shows it.
    """
    with opened(path) as file:
        file.seek(at)
        while raw := file.readline(MAX_LINE_BYTES + 1):
            number, size, last = number + 1, len(raw), raw
            while not last.endswith(b"\n") and size > MAX_LINE_BYTES:
                last = file.readline(MAX_LINE_BYTES)
                size += len(last)
                if not last:
                    break
            if at == 0 and raw.startswith(b"\xef\xbb\xbf"):  # the byte order mark that some editors write
                yield number, 3, size - 3, raw[3:]
            else:
                yield number, at, size, raw
            at += size


def rejected_row(number: int, problem: str, size: int, raw: bytes) -> str:
    """The line of rejected.jsonl for a line of the file; for one that is too long it holds the beginning."""
    text = raw[: SHOWN_BYTES if size > MAX_LINE_BYTES else None].decode("utf-8", "backslashreplace")
    return json.dumps({"line": number, "problem": problem, "bytes": size, "text": text}, ensure_ascii=False) + "\n"


def _parts(lines: Iterable[tuple[int, int, int, bytes]]) -> Iterator[list[tuple[int, int, int, bytes]]]:
    """The lines in lists, each of a size that is processed together."""
    part, held = [], 0
    for line in lines:
        part.append(line)
        held += len(line[3])
        if len(part) == PART_LINES or held > PART_BYTES:
            yield part
            part, held = [], 0
    if part:
        yield part


def line_text(raw: bytes, size: int, keys: tuple[str, ...]) -> str:
    """The whole text of a line. Raises `InputError` with what is wrong, but not where."""
    return line_parts(raw, size, keys)[0]


def line_parts(raw: bytes, size: int, keys: tuple[str, ...]) -> tuple[str, str, str]:
    """(the whole text of a line, the part that is compared, what comes before the completion or the empty string).

    In the part that is compared a system prompt is one word, so that a long shared one does not make lines similar.
    Raises `InputError` with what is wrong, but not where.
    """
    if size > MAX_LINE_BYTES:
        raise InputError(f"longer than {MAX_LINE_BYTES / 1e6:.0f} MB; split the document")
    if not raw.strip():
        raise InputError("the line is blank")
    row = json_object(raw, 'write one object a line, like {"text": …}')
    if not keys and isinstance(text := row.get("text"), str):  # most lines of most files
        dedup.check_text(text, '"text"')
        return text, text, ""
    chosen = keys or _keys(row)
    pieces: list[tuple[str, str, str]] = []  # (key, role, text)
    for key in chosen:
        if key not in row:
            raise missing_key(row, key, "say with --text where the text is")
        value = row[key]
        for piece in value if isinstance(value, list) else [value]:
            if isinstance(piece, str):
                pieces.append((key, key, piece))
                continue
            try:
                texts = message_texts(piece) if isinstance(piece, dict) else None
            except InputError as error:
                raise InputError(f'"{key}" {error}') from None
            if texts is None or not ("content" in piece or "value" in piece or texts):
                raise InputError(f'"{key}" holds a value of type {type(piece).__name__}, not text or messages')
            role = str(piece.get("role", piece.get("from", key)))
            pieces += [(key, role, text) for text in texts]
    whole = "\n".join(text for _, _, text in pieces)
    dedup.check_text(whole, " and ".join(f'"{key}"' for key in chosen))
    asked = ""
    if not keys and len(chosen) > 1:
        asked = "\n".join(text for key, _, text in pieces if key != chosen[-1])
    elif not keys and chosen != ("text",) and (last := pieces[-1][1]) in ("assistant", "gpt"):
        answered = next((place for place in range(len(pieces), 0, -1) if pieces[place - 1][1] != last), 0)
        asked = "\n".join(text for _, _, text in pieces[:answered])
    if any(role == "system" for _, role, _ in pieces):
        compared = "\n".join(f"system{crc32(text.encode())}" if role == "system" else text for _, role, text in pieces)
        return whole, compared, asked
    return whole, whole, asked


def _keys(row: dict) -> tuple[str, ...]:
    """Where the text is in a row of one of the common forms."""
    form = form_of(row)
    if form == "instruction":
        return ("instruction", "input", "output") if row.get("input") else ("instruction", "output")
    return ("text",) if "text" in row else ("prompt", "completion") if form == "prompt" else (form,)


def _units(report: dict) -> str:
    """What the shingles are made of, in words."""
    unit, count = report["asked"]["shingles"], report["by_characters"]
    if unit == "auto":
        more = f" ({count:,} documents in scripts without spaces: shingles of characters)" if count else ""
        return f"words{more}"
    return unit


def check_lines(path: Path) -> None:
    """Raise `InputError` for a file that is not JSON lines, with the command that converts it."""
    form = table_form(path)
    with opened(path) as file:
        first = file.read(1000).removeprefix(b"\xef\xbb\xbf").lstrip()
    check_objects(path, first)
    if form is None and not (first.startswith(b"[") and first[1:].lstrip().startswith(b"{")):
        return
    kind = form or "json"
    what = {"json": "one JSON array", "csv": "a CSV table", "parquet": "a parquet table"}[kind]
    target = path.with_suffix(".lines.jsonl" if path.suffix == ".jsonl" else ".jsonl")
    call = shlex.join(["python", "-m", "labkit.data", str(path), str(target)])
    raise InputError(f"{path}: is {what}, and this command needs one JSON object a line; make them with `{call}`")


def _hash(text: str, size: int) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=size).digest()


def _one_prompt(documents: Documents, removal: dedup.Removal) -> bool:
    """Whether the document to remove asks exactly what the one that stays asks, and so answers it differently."""
    asked = documents.asked[removal.index]
    return bool(asked) and asked == documents.asked[removal.kept]


def _conflicts(documents: Documents) -> tuple[int, list[list[int]]]:
    """(how many prompts are answered in more than one way, the first lines of five of them)."""
    order = np.lexsort((documents.line, documents.asked))
    asked, exact = documents.asked[order], documents.exact[order]
    starts = np.flatnonzero(np.r_[True, asked[1:] != asked[:-1]]) if len(asked) else np.empty(0, np.int64)
    ends = np.r_[starts[1:], len(asked)]
    found = []
    for start, end in zip(starts.tolist(), ends.tolist()):
        if asked[start] and end - start > 1 and (exact[start:end] != exact[start]).any():
            found.append(documents.line[order[start:end]].tolist())
    return len(found), sorted(lines[:5] for lines in found)[:5]


def _member(path: Path, name: str) -> np.ndarray:
    with np.load(path) as arrays:
        return arrays[name]


def _fingerprint(path: Path) -> dict:
    """What shows whether a file is still the same."""
    try:
        if not path.is_file():
            problem = "is not a file of JSON lines" if path.exists() else "there is no such file"
            raise InputError(f"{path}: {problem}; name a real file, because it is read more than once")
        with open(path, "rb"):
            stat = path.stat()
            return {"bytes": stat.st_size, "modified": stat.st_mtime_ns}
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None


def _read_json(path: Path) -> dict | None:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _write_json(path: Path, value: dict) -> None:
    with write_atomically(path) as file:
        json.dump(value, file, indent=1)
        file.write("\n")


def table(report: dict, out: Path) -> str:
    """The report as lines of text."""
    asked = report["asked"]
    rows = [dedup.Stage(row["name"], row["count"], row["of"], row["unit"]) for row in report["stages"]]
    lines = [
        f"{report['lines']:,} lines, {report['rejected']:,} rejected",
        f"threshold {asked['threshold']:g}, shingles of {asked['shingle']} {_units(report)}, {asked['bands']} bands of "
        + f"{asked['rows']} rows: finds {report['recall_at_threshold']:.1%} of the pairs at the threshold",
        dedup.stage_table(rows),
        f"{report['removed'] - report['removed_evaluation']:,} removed: {report['removed_exact']:,} exact copies and {report['removed_near']:,} "
        + f"near-duplicates; {report['clusters']:,} clusters, the largest of {report['largest_cluster']:,}",
    ]
    if asked["against"]:
        lines.append(
            f"{report['removed_evaluation']:,} more are in {asked['against']['file']} "
            f"({report['evaluation_documents']:,} documents), or ask what one there asks"
        )
    if report["conflicts"]:
        such_as = "; ".join(", ".join(map(str, group)) for group in report["conflicts_such_as"])
        lines.append(
            f"{report['conflicts']:,} {'prompt' if report['conflicts'] == 1 else 'prompts'} with different completions (such as lines {such_as}): they stay; decide "
            "which is right"
        )
    if report["beginnings"]:
        lines.append(
            f"pairs of a conversation and its beginning: {report['beginnings']:,}; they stay, because each ends with an "
            "answer of its own"
        )
    if report["recall_at_threshold"] < dedup.RECALL:
        lines.append(
            f"Fewer than {dedup.RECALL:.0%} of the pairs at the threshold are found this way; take more bands or fewer rows."
        )
    if report["pairs_not_tried"]:
        lines.append(
            f"{report['pairs_not_tried']:,} pairs of buckets over {dedup.BUCKET_LIMIT} members were not tried "
            "(a pair counts once for each such band)."
        )
    if report["largest_cluster"] > max(report["documents"] / 2, 2):
        lines.append("One cluster holds more than half of all documents: look at it, and at the threshold.")
    kept, removed, rejected = OUTPUTS
    lines.append(
        f"written to {out}: {kept} with {report['documents'] - report['removed']:,} lines, {removed} with "
        f"{report['removed']:,}, {rejected} with {report['rejected']:,}, and report.json"
    )
    return "\n".join(lines)
