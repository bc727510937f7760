"""Corpora beyond one machine: datatrove's MinHash pipeline with this kit's shingles, on local processes or on Ray.

`python -m labkit.corpus FOLDER --out OUT` reads every `*.jsonl` of a folder (`{"text": …}` a line) in four stages:
signatures, pairs that share a band, clusters, and what is kept. The work is datatrove's; here it is only put together.
It verifies no candidate by its true similarity, so what it removes depends on the bands alone: `labkit dedup` says more
about files that fit on one machine.
"""

from __future__ import annotations

import argparse
import struct
from collections import defaultdict
from pathlib import Path

from labkit.common import InputError


def stages(folder: Path, out: Path, files: int, shingle: int = 3, bands: int = 14, rows: int = 8, seed: int = 1):
    """The four stages, each as (steps, tasks), as datatrove's executors take them; `files`: how many there are."""
    from datatrove.pipeline.dedup.minhash import (
        MinhashConfig,
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers import JsonlWriter
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

    as_it_stands = TextNormConfig(remove_punctuation=False, norm_unicode_diacritics=False, norm_numbers=False)
    config = MinhashConfig(
        n_grams=shingle,
        num_buckets=bands,
        hashes_per_bucket=rows,
        seed=seed,
        norm_config=as_it_stands,
        hash_config=HashConfig(hash_fc="sha1"),  # datatrove 0.10 gives xxhash text, which xxhash 4 refuses
    )
    signatures, pairs, removed, kept = (str(out / name) for name in ("signatures", "pairs", "removed", "kept"))
    read = JsonlReader(str(folder), glob_pattern="*.jsonl")
    return [
        ([read, MinhashDedupSignature(signatures, config=config, language=Words())], files),
        ([MinhashDedupBuckets(signatures, pairs, config=config)], bands),
        ([MinhashDedupCluster(pairs, removed, config=config, save_cluster_id=True)], 1),
        ([read, MinhashDedupFilter(removed), JsonlWriter(kept, compression=None)], files),
    ]


def deduplicate(folder: str | Path, out: str | Path, ray: bool = False, workers: int = 1, **options) -> list[list[int]]:
    """Run the pipeline; `out/kept` holds what is kept. Returns the clusters of at least two.

    Members are numbered over all files in the order of their names. With `ray`, the tasks run on the cluster that
    `ray.init` finds. Texts of fewer words than a shingle have no signature and are kept. Raises `InputError`.
    """
    folder, out = Path(folder), Path(out)
    files = sorted(folder.glob("*.jsonl"))
    if not files:
        raise InputError(f"{folder}: holds no *.jsonl files; name a folder of JSON lines with a \"text\"")
    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out}: is not empty; name a new folder")
    try:
        from datatrove.executor import LocalPipelineExecutor, RayPipelineExecutor
    except ImportError:
        raise InputError("datatrove is not installed; `pip install datatrove orjson`") from None
    for number, (steps, tasks) in enumerate(stages(folder, out, len(files), **options)):
        place = {"logging_dir": str(out / "logs" / str(number)), "tasks": tasks}
        if ray:
            RayPipelineExecutor(steps, workers=workers, **place).run()
        else:
            LocalPipelineExecutor(steps, workers=workers, **place).run()
    return clusters(files, out / "removed")


def clusters(files: list[Path], removed: Path) -> list[list[int]]:
    """The clusters in datatrove's files: pairs of numbers, a document's place in its file and its cluster."""
    found: dict[int, list[int]] = defaultdict(list)
    first = 0
    for number, file in enumerate(files):
        told = removed / f"{number:06d}.clusters"
        if told.is_file():
            for place, cluster in struct.iter_unpack("<2I", told.read_bytes()):
                found[cluster].append(first + place)
        with open(file, "rb") as lines:
            first += sum(1 for line in lines if line.strip())
    return sorted(sorted(members) for members in found.values())


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m labkit.corpus",
        description="Deduplicate a folder of JSON lines with datatrove.",
        epilog="example: python -m labkit.corpus shards --out cleaned --workers 8; on a cluster add --ray",
    )
    parser.add_argument("folder", type=Path, help='*.jsonl files, {"text": …} a line')
    parser.add_argument("--out", type=Path, required=True, help="a new folder, for what is kept and how it was found")
    parser.add_argument("--workers", type=int, default=1, help="tasks at once (1)")
    parser.add_argument("--ray", action="store_true", help="on the Ray cluster that this machine belongs to")
    args = parser.parse_args()
    try:
        found = deduplicate(args.folder, args.out, ray=args.ray, workers=args.workers)
    except InputError as error:
        raise SystemExit(f"labkit.corpus: {error}") from None
    gone = sum(map(len, found)) - len(found)
    print(f"{len(found)} clusters, {gone} documents removed; {args.out / 'kept'} holds the rest")


if __name__ == "__main__":
    main()
