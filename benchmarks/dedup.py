"""Near-duplicates beside datasketch and rensa, from the documents' shingles to the candidate pairs; recall; growth.

All sides get the same sets of shingles, numbers of permutations, bands and rows, and one thread; they take turns, and
times are medians. datasketch runs with `MinHash.bulk`, each document queried and then inserted, which lists a pair
once; and as its documentation shows it, one `update` for each shingle, all inserted, then all queried. In `bulk` it
hashes with crc32 as we do, so its pairs must be ours exactly; `bulk_sha1` is its default. rensa makes its signatures
another way, so its pairs are other ones. text-dedup is left out: it cannot be installed beside the kit (0.4.0 wants
urllib3 up to 2.0, rich before 14, and pyspark), and is a script over whole data sets.

The same documents in a script without spaces, each word a run of Han characters, show what shingles of characters
find, and what they cost for each character from text to candidate pairs, beside shingles of words.

The documents are the almanac's candidates, whose exact copies are gone before, as in any pipeline. For growth `labkit
dedup` goes from file to files over 10,000 candidates, and over more blocks of them, each in an alphabet of its own, so
that each block has the same share of duplicates. Run by itself it takes `--documents`, `--repeats` and `--growth`, or
`--before CHECKOUT`, which instead lets an older state of the kit and this one take turns at the file of each size.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import resource
import statistics
import string
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from zlib import crc32

from labkit import dedup
from labkit.almanac import pool

DOCUMENTS = 50_000
REPEATS = 5
GROWTH = (10_000, 100_000, 1_000_000)
THRESHOLD = 0.8
BINS = (0.8, 0.85, 0.9, 0.95, 1.0)
SMALLEST_POOL = 10_000
CHARACTER_DOCUMENTS = 10_000

Pairs = set[tuple[int, int]]


def main(args) -> dict:
    """Figures for `labkit bench dedup`; a ratio is the peer's time over ours, above 1 is better."""
    documents, repeats = getattr(args, "documents", None) or DOCUMENTS, getattr(args, "repeats", None) or REPEATS
    sets = shingle_sets(documents)
    chosen = dedup.scheme(THRESHOLD)
    figures = speed(sets, chosen, repeats)
    figures |= recall(sets, chosen)
    figures["characters"] = characters(min(documents, CHARACTER_DOCUMENTS), chosen, repeats)
    figures |= growth(getattr(args, "growth", None) or GROWTH, repeats)
    figures["machine"] = f"{platform.machine()}, one thread, Python {platform.python_version()}"
    figures["versions"] = {name: found for name in ("datasketch", "rensa", "numpy") if (found := installed(name))}
    by_characters = figures["characters"]
    figures["ok"] = by_characters["recall"] >= 0.95 and by_characters["times_words"] <= 2
    figures["ok"] &= figures["recall"] >= 0.95 and figures["least_similarity"] >= THRESHOLD and figures["same_pairs"]
    return figures


def shingle_sets(count: int) -> list[set[str]]:
    """The shingles of `count` of the almanac's candidates, no two of the same words."""
    return [dedup.shingles(text, 3) for text in distinct_texts(count)]


def distinct_texts(count: int) -> list[str]:
    """So many of the almanac's candidates, no two of the same words, in lower case."""
    distinct: dict[str, None] = {}
    size = max(SMALLEST_POOL, 8 * count // 5)
    for seed in range(100):
        for example in pool.candidates(size, seed)[0]:
            distinct.setdefault(dedup.same_words(text_of(example)))
        if len(distinct) >= count:
            return list(distinct)[:count]
    raise ValueError(f"the almanac has no {count} different candidates")


def text_of(example) -> str:
    return f"{example.prompt}\n{example.completion}"


# Speed


def speed(sets: list[set[str]], chosen: dedup.Scheme, repeats: int) -> dict:
    encoded = [[shingle.encode() for shingle in members] for members in sets]  # what `bulk` takes is given to it ready
    sides: dict[str, Callable[[int], Pairs]] = {
        "ours": lambda count: ours(sets[:count], chosen),
        "ours_verified": lambda count: ours_verified(sets[:count], chosen),
        "bulk": lambda count: bulk(encoded[:count], chosen, hashfunc=crc32),
        "bulk_sha1": lambda count: bulk(encoded[:count], chosen),
        "documented": lambda count: documented(sets[:count], chosen),
    }
    if installed("rensa"):
        sides["rensa"] = lambda count: rensa(sets[:count], chosen)
    for side in sides.values():
        side(100)  # imports and first calls are not timed
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    pairs: dict[str, Pairs] = {}
    for _ in range(repeats):
        for name, side in sides.items():
            started = time.perf_counter()
            pairs[name] = side(len(sets))
            seconds[name].append(time.perf_counter() - started)
    cost = {name: statistics.median(times) / len(sets) * 1e6 for name, times in seconds.items()}
    size = statistics.mean(map(len, sets))
    shape = f"{chosen.bands} bands of {chosen.rows} rows"
    print(f"{len(sets):,} documents of {size:.0f} shingles, {shape}, median of {repeats}")
    for name, each in cost.items():
        print(
            f"{name:<14} {each:8.1f} µs a document, {each / cost['ours']:6.2f} times ours; {len(pairs[name]):,} pairs"
        )
    return {
        **{f"ratio_{name}": cost[name] / cost["ours"] for name in cost if not name.startswith("ours")},
        "ratio_bulk_verified": cost["bulk"]
        / cost["ours_verified"],  # ours with true Jaccard and clusters, the peer without
        "us_per_document": cost,
        "pairs": {name: len(found) for name, found in pairs.items()},
        "same_pairs": pairs["ours"] == pairs["bulk"],
        "documents": len(sets),
        "bands": chosen.bands,
        "rows": chosen.rows,
    }


def ours(sets: list[set[str]], chosen: dedup.Scheme) -> Pairs:
    return set(map(tuple, dedup.candidates(sets, chosen)[0].tolist()))


def ours_verified(sets: list[set[str]], chosen: dedup.Scheme) -> Pairs:
    close = [(i, j, s) for i, j in ours(sets, chosen) if (s := dedup.jaccard(sets[i], sets[j])) >= THRESHOLD]
    dedup.removals((*pair, "near") for pair in close)
    return {pair[:2] for pair in close}


def bulk(encoded: list[list[bytes]], chosen: dedup.Scheme, **options) -> Pairs:
    from datasketch import MinHash, MinHashLSH

    index, pairs = MinHashLSH(num_perm=chosen.permutations, params=(chosen.bands, chosen.rows)), set()
    for j, one in enumerate(MinHash.bulk(encoded, num_perm=chosen.permutations, seed=chosen.seed, **options)):
        pairs.update((i, j) for i in index.query(one))
        index.insert(j, one)
    return pairs


def documented(sets: list[set[str]], chosen: dedup.Scheme) -> Pairs:
    from datasketch import MinHash, MinHashLSH

    made, index = [], MinHashLSH(num_perm=chosen.permutations, params=(chosen.bands, chosen.rows))
    for number, members in enumerate(sets):
        one = MinHash(num_perm=chosen.permutations)
        for shingle in members:
            one.update(shingle.encode("utf8"))
        index.insert(number, one)
        made.append(one)
    return {(i, j) for j, one in enumerate(made) for i in index.query(one) if i < j}


def rensa(sets: list[set[str]], chosen: dedup.Scheme) -> Pairs:
    os.environ.setdefault("RAYON_NUM_THREADS", "1")
    from rensa import RMinHash, RMinHashLSH

    used = chosen.bands * chosen.rows  # its bands must divide the permutations
    made = RMinHash.from_token_sets(list(map(list, sets)), used, chosen.seed)
    index = RMinHashLSH(chosen.threshold, used, chosen.bands)
    index.insert_many(made)
    return {(i, j) for j, found in enumerate(index.query_all(made)) for i in found if i < j}


# Recall


def recall(sets: list[set[str]], chosen: dedup.Scheme) -> dict:
    """Of the pairs that exact search finds, the share that we find, beside the formula's, in all and by bin."""
    exact = list(dedup.exact_pairs(sets, THRESHOLD))
    found = ours(sets, chosen)
    verified = [s for i, j in found if (s := dedup.jaccard(sets[i], sets[j])) >= THRESHOLD]
    rows = {}
    print(f"{'Jaccard':<12} {'pairs':>8} {'found':>8} {'formula':>8}")
    for low, high in zip(BINS, (*BINS[1:], 2)):
        members = [(i, j, s) for i, j, s in exact if low <= s < high]
        if members:
            name = f"{low:.2f}–{high:.2f}" if high <= 1 else "1.00"
            rows[name] = _recall(members, found, chosen)
            print(f"{name:<12} {len(members):>8,} {rows[name]['recall']:>8.4f} {rows[name]['formula']:>8.4f}")
    whole = _recall(exact, found, chosen) if exact else {"recall": 1.0, "formula": 1.0}
    print(f"{'all':<12} {len(exact):>8,} {whole['recall']:>8.4f} {whole['formula']:>8.4f}")
    return {
        "recall": whole["recall"],
        "recall_formula": whole["formula"],
        "recall_by_jaccard": rows,
        "least_similarity": min(verified, default=THRESHOLD),
        "precision_of_candidates": len(verified) / len(found) if found else 1.0,
    }


def _recall(members: list[tuple[int, int, float]], found: Pairs, chosen: dedup.Scheme) -> dict:
    return {
        "pairs": len(members),
        "recall": sum((i, j) in found for i, j, _ in members) / len(members),
        "formula": statistics.mean(dedup.candidate_probability(s, chosen.bands, chosen.rows) for _, _, s in members),
    }


# Characters


def characters(count: int, chosen: dedup.Scheme, repeats: int) -> dict:
    """Recall of pairs at the threshold on shingles of characters, and their cost for each character beside words'."""
    texts = distinct_texts(count)
    unspaced = [in_han(text) for text in texts]
    reading = dedup.Reading()
    assert all(reading.unit_of(text) == "characters" for text in unspaced[:100])
    exact = {pair[:2] for pair in dedup.exact_pairs([reading.shingles(text, 3) for text in unspaced], THRESHOLD)}
    cost: dict[str, list[float]] = {"words": [], "characters": []}
    found: Pairs = set()
    for _ in range(repeats):
        for name, documents in (("words", texts), ("characters", unspaced)):
            started = time.process_time()
            found = ours(reading.numbers(documents, 3), chosen)
            cost[name].append((time.process_time() - started) / sum(map(len, documents)) * 1e9)
    each = {name: statistics.median(values) for name, values in cost.items()}
    share = len(found & exact) / len(exact)
    print(
        f"{count:,} documents without spaces: {share:.4f} of {len(exact):,} pairs at J ≥ {THRESHOLD} found by characters; "
        f"{each['characters']:.0f} ns a character, by words {each['words']:.0f}: {each['characters'] / each['words']:.2f} times"
    )
    return {
        "documents": count,
        "pairs": len(exact),
        "recall": share,
        "ns_per_character": each,
        "times_words": each["characters"] / each["words"],
    }


def in_han(text: str) -> str:
    """The text in Han characters without spaces: two for each word, and one for each digit, always the same ones."""
    han = lambda number: chr(0x4E00 + number % 6000)
    runs = ([*word] if word.isdigit() else [word[: len(word) // 2], word[len(word) // 2 :]] for word in text.split())
    return "".join(han(crc32(part.encode())) for parts in runs for part in parts)


# Growth


def growth(sizes: tuple[int, ...], repeats: int) -> dict:
    """`labkit dedup` over files of these many documents: its own time for each, and the most memory it held."""
    block = [text_of(example) for example in pool.candidates(SMALLEST_POOL)[0][: min(sizes)]]
    rows = {}
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "documents.jsonl"
            write(path, block, size)
            # the smallest is over in a second, so it is taken several times; the largest is long enough to be even
            runs = [run(path, Path(folder) / f"out-{number}") for number in range(repeats if size == min(sizes) else 1)]
        rows[str(size)] = {
            "us_per_document": statistics.median(sum(report["seconds"].values()) for report in runs) / size * 1e6,
            "peak_rss_mb": max(report["peak_rss_mb"] for report in runs),
            "kept_share": runs[0]["kept"] / size,
        }
        row = rows[str(size)]
        print(
            f"{size:>10,} documents from file to files: {row['us_per_document']:6.1f} µs a document, "
            f"{row['peak_rss_mb']:,.0f} MB, {row['kept_share']:.1%} kept"
        )
    costs = [row["us_per_document"] for row in rows.values()]
    return {"growth": rows, "growth_ratio": max(costs) / min(costs)}


def beside(checkout: Path, sizes: tuple[int, ...], repeats: int) -> dict:
    """`labkit dedup` of another checkout and of this one, in turn: medians of the CPU time and of the peak memory."""
    block = [text_of(example) for example in pool.candidates(SMALLEST_POOL)[0][: min(sizes)]]
    sides = {"before": checkout, "now": Path(__file__).parents[1]}
    figures = {}
    for size in sizes:
        cpu: dict[str, list[float]] = {side: [] for side in sides}
        peak: dict[str, list[float]] = {side: [] for side in sides}
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "documents.jsonl"
            write(path, block, size)
            for number in range(repeats):
                for side, at in sides.items():
                    start = resource.getrusage(resource.RUSAGE_CHILDREN)
                    report = run(path, Path(folder) / f"{side}-{number}", at)
                    end = resource.getrusage(resource.RUSAGE_CHILDREN)
                    cpu[side].append(end.ru_utime + end.ru_stime - start.ru_utime - start.ru_stime)
                    peak[side].append(report["peak_rss_mb"])
        row = {f"cpu_{side}": round(statistics.median(cpu[side]), 2) for side in sides}
        row |= {f"peak_mb_{side}": round(statistics.median(peak[side])) for side in sides}
        figures[str(size)] = row | {"ratio": round(row["cpu_now"] / row["cpu_before"], 3)}
        print(f"{size:>10,} documents: {figures[str(size)]}", flush=True)
    return figures


def write(path: Path, block: list[str], size: int) -> None:
    with open(path, "w", encoding="utf-8") as file:
        for number in range(0, size, len(block)):
            letters = list(string.ascii_lowercase)
            random.Random(number).shuffle(letters)
            other = "".join(letters)
            table = str.maketrans(string.ascii_letters + string.digits, other + other.upper() + string.digits)
            digits = (
                f"{number // len(block):03d}x"  # digits have no other alphabet: they get the block's number in front
            )
            for text in block[: size - number]:
                words = [f"{digits}{word}" if word[0].isdigit() else word for word in text.split()]
                file.write(json.dumps({"text": " ".join(words).translate(table)}) + "\n")


def run(path: Path, out: Path, checkout: Path = Path(__file__).parents[1]) -> dict:
    command = [sys.executable, "-m", "labkit.cli", "dedup", str(path), "--out", str(out), "--json"]
    env = os.environ | {"PYTHONPATH": str(checkout)}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=env, cwd=path.parent)
    return json.loads(done.stdout.splitlines()[-1])


def installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int)
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--growth", type=lambda text: tuple(map(int, text.split(","))), metavar="N,N,…")
    parser.add_argument("--before", type=Path, metavar="CHECKOUT")
    chosen = parser.parse_args()
    older = chosen.before and beside(chosen.before.resolve(), chosen.growth or GROWTH[1:], chosen.repeats or 3)
    print(json.dumps(older or main(chosen)))
