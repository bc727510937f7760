"""Near-duplicates in a collection of texts: shingles, MinHash, bands, true Jaccard, clusters.

First come the plain functions, one idea each. Then the same in bulk: `find` takes texts in memory through the whole
pipeline and keeps what every stage found. For files of any size there is `labkit dedup` (`dedup_command`), made of the
same parts. All of this compares words: a text repeated in other words is not found.

The numbers behind a signature: a shingle becomes the crc32 of its UTF-8 bytes, which the last steps of MurmurHash3 mix
(different numbers stay different); permutation k takes x to (a_k·x + b_k) mod 2^32 with an odd a_k (different numbers
stay different again). This is what `minhash` gives for the modulus 2^32, and the scheme "affine32" of datasketch with
`hashfunc=crc32`, seed for seed. A shingle of characters becomes a polynomial of its code points instead, mixed the same
way. It is measured, not proven, that such permutations estimate Jaccard well.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import lru_cache
from itertools import chain
from typing import Any
from zlib import crc32

import numpy as np

from labkit.common import InputError

RECALL = 0.95  # the target for the bands: the share of the pairs at the threshold that become candidates
BUCKET_LIMIT = 128  # in a larger bucket not every pair is tried: there would be too many
WINDOW = 8  # then a member is tried against this many before it, and against the bucket's first
PERMUTATIONS = 4096  # at most: a part's signatures then take 164 MB
BATCH = 1000  # documents whose numbers are processed together: what fits into the processor's cache
KEEP = ("first", "last", "longest")


# The plain functions


def shingles(text: str, n: int) -> set[str]:
    """The runs of n words, as a set: lower case, split at white space, joined by one space.

    A text of fewer than n words is one shingle; a text without words has none. Broder 1997, "On the resemblance and
    containment of documents", section 2.
    """
    words = text.lower().split()
    if not words:
        return set()
    return {" ".join(words[start : start + n]) for start in range(max(len(words) - n + 1, 1))}


def jaccard(a: set[str], b: set[str]) -> float:
    """The elements in both over the elements in either, from 0 to 1; two empty sets: 1.0."""
    if not a and not b:
        return 1.0
    shared = len(a & b)
    return shared / (len(a) + len(b) - shared)


def minhash(ids: list[int], a: list[int], b: list[int], prime: int) -> list[int]:
    """For each pair (a, b) the smallest (a·x + b) mod prime over the ids x: a signature as long as `a`.

    Two sets agree in a place of their signatures with about the probability of their Jaccard similarity. Raises
    ValueError without ids. Broder 1997, section 3.
    """
    if not ids:
        raise ValueError("there are no ids: an empty set has no smallest hash")
    return [min((factor * x + shift) % prime for x in ids) for factor, shift in zip(a, b)]


def candidate_probability(s: float, bands: int, rows: int) -> float:
    """The probability that two sets of similarity s agree in all rows of at least one band: 1 − (1 − s^rows)^bands.

    Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets", section 3.4.2.
    """
    return 1 - (1 - s**rows) ** bands


def clusters(n: int, pairs: list[tuple[int, int]]) -> list[list[int]]:
    """The groups that the pairs join 0…n−1 into, directly or through others; a number that no pair names is a group of
    its own.
    """
    parent = list(range(n))

    def root(member: int) -> int:
        while parent[member] != member:
            parent[member] = parent[parent[member]]
            member = parent[member]
        return member

    for i, j in pairs:
        low, high = sorted((root(i), root(j)))
        parent[high] = low
    groups: dict[int, list[int]] = {}
    for member in range(n):
        groups.setdefault(root(member), []).append(member)
    return list(groups.values())


# The same in bulk


@dataclass(frozen=True)
class Scheme:
    """What decides which pairs are found: made by `scheme`, which checks it."""

    threshold: float
    shingle: int
    permutations: int
    bands: int
    rows: int
    seed: int

    @property
    def recall(self) -> float:
        """The probability that a pair at the threshold becomes a candidate."""
        return candidate_probability(self.threshold, self.bands, self.rows)


@dataclass(frozen=True)
class Reading:
    """How texts of any kind are read before they are compared; the plain functions read them as the labs teach.

    Shingles are of words, or of characters if most letters are from a script without spaces between words; either way
    in lower case and composed form (NFC), without the punctuation of prose. Exact copies have the same text except for
    line ends, trailing white space and what `ignore` names: letter case and indentation count.
    """

    unit: str = "auto"  # or "words", "characters"
    ignore: tuple[str, ...] = ()  # of IGNORE

    def shingles(self, text: str, n: int) -> set[str]:
        """The text's shingles of n words or n characters; at least one for a text that `check_text` accepts."""
        if text.isascii() and self.unit == "auto" and not self.ignore:  # the same, faster
            return shingles(text.encode().translate(_PROSE_BYTES).decode(), n) or shingles(text, n)
        if not self._by_characters([text])[0]:
            return self._words(text, n)
        codes, _ = self._characters([text])
        kept = codes.tobytes().decode("utf-32-le")
        return {kept[start : start + n] for start in range(max(len(kept) - n + 1, 1))}

    def _words(self, text: str, n: int) -> set[str]:
        return shingles(self.plain(text), n) or {text}

    def unit_of(self, text: str) -> str:
        """What the text's shingles are made of: "words" or "characters"."""
        return "characters" if self._by_characters([text])[0] else "words"

    def numbers(self, texts: Sequence[str], n: int) -> list[set[str] | np.ndarray]:
        """The texts' shingles as `signatures` takes them: those of characters as their numbers (uint32), many texts at
        once, which is many times faster than making the strings. A number may occur more than once.
        """
        fast = self.unit == "auto"  # then a text in ASCII is of words
        found: list[Any] = [self.shingles(text, n) if fast and text.isascii() else None for text in texts]
        others = [place for place, each in enumerate(found) if each is None]
        for start in range(0, len(others), BATCH):
            part = others[start : start + BATCH]
            chosen = self._by_characters([texts[place] for place in part])
            arrays = iter(self._character_numbers([texts[place] for place, yes in zip(part, chosen) if yes], n))
            for place, yes in zip(part, chosen):
                found[place] = next(arrays) if yes else self._words(texts[place], n)
        return found

    def _by_characters(self, texts: Sequence[str]) -> list[bool]:
        """Whether the shingles of each text are of characters."""
        if self.unit != "auto":
            return [self.unit == "characters"] * len(texts)
        mixed = [not text.isascii() and _UNSPACED.search(text) is not None for text in texts]
        asked = [text for text, yes in zip(texts, mixed) if yes]
        if not asked:
            return mixed
        kinds = _kinds(_codes("".join(asked)))
        sizes = np.fromiter(map(len, asked), np.int64, len(asked))
        mostly = iter((_sums(kinds & 2 != 0, sizes) * 2 > _sums(kinds & 1 != 0, sizes)).tolist())
        return [yes and next(mostly) for yes in mixed]

    def _characters(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """(the code points that shingles of characters compare, text after text, uint32; how many of each, int64).

        They are without white space, and without the punctuation of prose unless a text has nothing else.
        """
        composed = [text if text.isascii() else unicodedata.normalize("NFC", text) for text in texts]
        if self.ignore:
            composed = [self._ignoring(text) or text for text in composed]
        lower = [text.lower() for text in composed]
        codes = _codes("".join(lower))
        sizes = np.fromiter(map(len, lower), np.int64, len(lower))
        kinds = _kinds(codes)
        kept = kinds & 12 == 0
        counts = _sums(kept, sizes)
        if not counts.all():
            kept |= (np.repeat(counts, sizes) == 0) & (kinds & 4 == 0)
            counts = _sums(kept, sizes)
        return codes[kept], counts

    def _character_numbers(self, texts: Sequence[str], n: int) -> list[np.ndarray]:
        if not texts:
            return []
        codes, counts = self._characters(texts)
        ends = np.cumsum(counts)
        padded = np.concatenate([codes, np.zeros(n, np.uint32)])
        numbers = np.zeros(len(codes), np.uint32)
        for place in range(n):  # a polynomial of the n code points that begin here
            numbers = numbers * _FACTOR + padded[place : place + len(codes)]
        left = np.repeat(ends, counts) - np.arange(len(codes))  # characters of its text, from here on
        short = np.repeat(counts < n, counts)
        for place in np.flatnonzero(
            short & (left == np.repeat(counts, counts))
        ).tolist():  # one shingle, of the whole text
            numbers[place] = crc32(codes[place : place + int(left[place])].tobytes())
        whole = np.where(short, left == np.repeat(counts, counts), left >= n)
        return np.split(_mixed(numbers[whole]), np.cumsum(np.maximum(counts - n + 1, 1))[:-1])

    def plain(self, text: str) -> str:
        """The text without what shingles never compare, and without what `ignore` names."""
        text = text if text.isascii() else unicodedata.normalize("NFC", text)
        if self.ignore:
            text = self._ignoring(text)
        spaced = text.translate(_PROSE)
        return text if spaced.isspace() or not spaced else spaced

    def exact(self, text: str) -> str:
        """What exact copies have in common."""
        text = text if text.isascii() else unicodedata.normalize("NFC", text)
        if self.ignore:
            text = self._ignoring(text).strip() or text
        return (
            "\n".join(map(str.rstrip, text.strip("\n").splitlines())) if "\n" in text or "\r" in text else text.strip()
        )

    def _ignoring(self, text: str) -> str:
        if "case" in self.ignore:
            text = text.casefold()
        if "urls" in self.ignore:
            text = _URL.sub("", text)
        if "digits" in self.ignore:
            text = _DIGITS.sub("0", text)
        if "punctuation" in self.ignore:
            text = " ".join(_PUNCTUATION.sub(" ", text).split())
        return text


IGNORE = ("case", "digits", "punctuation", "urls")
UNITS = ("auto", "words", "characters")
_PROSE = str.maketrans(dict.fromkeys(".,;:!?\"'“”‘’„«»…、。，；：！？「」『』،؛؟۔।॥¿¡", " "))
_PROSE_BYTES = bytes(ord(chr(byte).translate(_PROSE)) for byte in range(128)) + bytes(range(128, 256))
_PUNCTUATION, _DIGITS, _URL = re.compile(r"[^\w\s]|_"), re.compile(r"\d+"), re.compile(r"\b(?:https?://|www\.)\S+")
_RANGES = (  # scripts without spaces: Thai, Lao; Tibetan; Myanmar; Khmer; kana; Han
    (0x0E00, 0x0EFF), (0x0F00, 0x0FFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3040, 0x30FF), (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF),
)  # fmt: skip
_UNSPACED = re.compile(f"[{''.join(f'{chr(first)}-{chr(last)}' for first, last in _RANGES)}]")
_FACTOR = np.uint32(0x9E3779B1)


def _codes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le"), np.uint32)


def _sums(found: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """How many are true in each run of so many places."""
    ends = np.cumsum(sizes)
    total = np.concatenate([np.zeros(1, np.int64), np.cumsum(found)])
    return total[ends] - total[ends - sizes]


def _kinds(codes: np.ndarray) -> np.ndarray:
    """What each code point is, as a sum: 1 a letter, 2 of a script without spaces, 4 white space, 8 punctuation of
    prose.
    """
    table = _kind_table()
    return table[np.minimum(codes, len(table) - 1)]


@lru_cache(maxsize=1)
def _kind_table() -> np.ndarray:
    """The kinds of all code points that have one; the last entry is for those beyond."""
    table = np.array([chr(code).isalpha() + 4 * chr(code).isspace() for code in range(0x40000)] + [0], np.uint8)
    table[[0x200B, 0x2060, 0xFEFF]] |= 4  # spaces of no width, which some writers put between words
    table[list(_PROSE)] |= 8
    for first, last in _RANGES:
        table[first : last + 1] |= 2
    return table


def scheme(
    threshold: float = 0.8,
    shingle: int = 3,
    permutations: int = 128,
    bands: int | None = None,
    rows: int | None = None,
    seed: int = 1,
) -> Scheme:
    """A scheme; without bands and rows, the one with the fewest false candidates that finds 95% at the threshold.

    If one of the two is given, the other uses all the permutations. Raises `InputError`.
    """
    if not 0 < threshold <= 1:
        raise InputError(f"the threshold is {threshold}: a Jaccard similarity above 0 and up to 1 is needed")
    for name, value in (("shingle", shingle), ("permutations", permutations), ("bands", bands), ("rows", rows)):
        if value is not None and value < 1:
            raise InputError(f"{name} is {value}: at least 1 is needed")
    if permutations > PERMUTATIONS:
        raise InputError(f"permutations is {permutations:,}: at most {PERMUTATIONS:,} are possible")
    if not 0 <= seed < 2**32:
        raise InputError(f"the seed is {seed}: give one from 0 to {2**32 - 1}")
    if rows is None:
        if bands is None:
            return _longest_rows(threshold, shingle, permutations, seed)
        rows = max(permutations // bands, 1)
    if bands is None:
        bands = max(permutations // rows, 1)
    if bands * rows > permutations:
        raise InputError(
            f"{bands} bands of {rows} rows need {bands * rows} permutations, and there are {permutations}; "
            "take fewer bands or rows, or more permutations"
        )
    return Scheme(threshold, shingle, permutations, bands, rows, seed)


def _longest_rows(threshold: float, shingle: int, permutations: int, seed: int) -> Scheme:
    """The scheme with the longest rows whose recall is high enough."""
    possible = [
        Scheme(threshold, shingle, permutations, permutations // count, count, seed)
        for count in range(permutations, 0, -1)
    ]
    for chosen in possible:
        if chosen.recall >= RECALL:
            return chosen
    raise InputError(
        f"no bands of {permutations} permutations find {RECALL:.0%} of the pairs at {threshold:g} "
        f"(at best {possible[-1].recall:.0%}); take more permutations, or a higher threshold"
    )


def permutation_numbers(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(a, b): uint32 arrays of length `count`, every a odd; the ones datasketch draws for that seed."""
    draw = np.random.RandomState(seed)
    a = draw.randint(0, 2**31, count, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
    return a, draw.randint(0, 2**32, count, dtype=np.uint32)


def shingle_ids(shingle_sets: Sequence[Collection[str] | np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(the shingles' numbers, set after set, uint32; the sets' sizes, int64). Arrays are numbers already."""
    sizes = np.fromiter(map(len, shingle_sets), np.int64, len(shingle_sets))
    if ready := [each for each in shingle_sets if isinstance(each, np.ndarray)]:
        is_ready = np.repeat([isinstance(each, np.ndarray) for each in shingle_sets], sizes)
        ids = np.empty(len(is_ready), np.uint32)
        ids[is_ready] = np.concatenate(ready)
        ids[~is_ready] = shingle_ids([each for each in shingle_sets if not isinstance(each, np.ndarray)])[0]
        return ids, sizes
    raw = map(crc32, map(str.encode, chain.from_iterable(shingle_sets)))
    return _mixed(np.fromiter(raw, np.uint32, int(sizes.sum()))), sizes


def _mixed(x: np.ndarray) -> np.ndarray:
    """The finalizer of MurmurHash3 for 32 bits: crc32 is linear, so without it the numbers of similar shingles would
    stay related.
    """
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    x = (x ^ (x >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return x ^ (x >> np.uint32(16))


def signatures(shingle_sets: Sequence[Collection[str] | np.ndarray], a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """uint32 of shape (sets, permutations): the MinHash of each set. Raises ValueError if a set is empty."""
    result = np.empty((len(a), len(shingle_sets)), np.uint32)
    for start in range(0, len(shingle_sets), BATCH):
        ids, sizes = shingle_ids(shingle_sets[start : start + BATCH])
        if not sizes.all():
            raise ValueError("there is a set without shingles: it has no smallest hash")
        starts = np.cumsum(sizes) - sizes
        for k in range(len(a)):
            np.minimum.reduceat(ids * a[k] + b[k], starts, out=result[k, start : start + BATCH])
    return result.T


def band_keys(signature: np.ndarray, bands: int, rows: int) -> np.ndarray:
    """uint64 of shape (bands, sets): equal where two sets agree in all rows of the band.

    Sets that differ there have the same key with a probability of about 2^-64, which costs one useless comparison.
    """
    draw = np.random.RandomState(0)
    factors = draw.randint(0, 2**63, rows, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    keys = np.zeros((bands, len(signature)), np.uint64)
    for band in range(bands):
        for row in range(rows):
            keys[band] = (keys[band] ^ signature[:, band * rows + row]) * factors[row]
            keys[band] ^= keys[band] >> np.uint64(32)
    return keys


def candidate_pairs(keys: Iterable[np.ndarray], limit: int = BUCKET_LIMIT) -> tuple[np.ndarray, int]:
    """(int64 of shape (pairs, 2): each pair i < j with an equal key in some band, once, in order; how many were not
    tried).

    `keys` gives one band at a time. The members of a bucket (one band's equal keys) are all paired, up to `limit`
    members. In a larger bucket a member is paired with the `WINDOW` members before it and with the first; the other
    pairs count as not tried, in each band again.
    """
    found, untried = np.empty(0, np.uint64), 0
    waiting: list[np.ndarray] = []
    for column in keys:
        first, second, missed = _bucket_pairs(np.asarray(column), limit)
        waiting.append(first.astype(np.uint64) << np.uint64(32) | second.astype(np.uint64))
        untried += missed
        if sum(map(len, waiting)) > 10_000_000:  # bounds the memory; most pairs come back in other bands
            found, waiting = np.unique(np.concatenate([found, *waiting])), []
    found = np.unique(np.concatenate([found, *waiting]))
    pairs = np.stack([found >> np.uint64(32), found & np.uint64(2**32 - 1)], axis=1)
    return pairs.astype(np.int64), untried


def _bucket_pairs(column: np.ndarray, limit: int) -> tuple[np.ndarray, np.ndarray, int]:
    """(i, j, pairs not tried) of one band, i < j."""
    order = np.argsort(column, kind="stable")  # stable: within a bucket the members keep their order
    column = column[order]
    starts = np.flatnonzero(np.r_[True, column[1:] != column[:-1]]) if len(column) else np.empty(0, np.int64)
    sizes = np.diff(np.r_[starts, len(column)])
    size = np.repeat(sizes, sizes)  # of the bucket that a place is in
    place = np.arange(len(column)) - np.repeat(starts, sizes)  # in its bucket
    reach = np.where(size > limit, WINDOW, limit)
    first, second = [], []
    at, distance = np.flatnonzero(place), 1
    while len(at):
        first.append(order[at - distance])
        second.append(order[at])
        distance += 1
        at = at[(place[at] >= distance) & (distance <= reach[at])]
    far = np.flatnonzero((size > limit) & (place > WINDOW))
    first.append(order[far - place[far]])
    second.append(order[far])
    tried = sum(map(len, first))
    return np.concatenate(first), np.concatenate(second), int((sizes * (sizes - 1) // 2).sum()) - tried


def candidates(shingle_sets: Sequence[Collection[str] | np.ndarray], chosen: Scheme) -> tuple[np.ndarray, int]:
    """`candidate_pairs` of sets of shingles, none of them empty."""
    a, b = permutation_numbers(chosen.permutations, chosen.seed)
    keys = [
        band_keys(signatures(shingle_sets[start : start + 10 * BATCH], a, b), chosen.bands, chosen.rows)
        for start in range(0, len(shingle_sets), 10 * BATCH)
    ]
    return candidate_pairs(np.concatenate(keys, axis=1) if keys else np.empty((chosen.bands, 0), np.uint64))


# From pairs to what is removed


@dataclass(frozen=True)
class Removal:
    """A document to remove, with its similarity to its neighbour, another member of its cluster.

    The neighbours lead to the member that is kept, to which it may be less similar than the threshold.
    """

    index: int
    cluster: int
    neighbour: int
    similarity: float
    reason: str  # "exact": the same words; "near": similar enough
    kept: int


def removals(
    edges: Iterable[tuple[int, int, float, str]], prefer: Callable[[int], Any] = lambda index: index
) -> tuple[list[list[int]], list[Removal]]:
    """(the clusters of at least two, the documents to remove), both by their first index.

    `edges` are verified pairs with similarity and reason. The member with the smallest `prefer` is kept. The neighbour
    is the most similar of those that are one step nearer to that member.
    """
    edges = list(edges)
    members = sorted({index for edge in edges for index in edge[:2]})
    place = {index: position for position, index in enumerate(members)}
    groups = clusters(len(members), [(place[i], place[j]) for i, j, _, _ in edges])
    groups = [[members[position] for position in group] for group in groups]
    ties: dict[int, list[tuple[int, float, str]]] = {index: [] for index in members}
    for i, j, similarity, reason in edges:
        ties[i].append((j, similarity, reason))
        ties[j].append((i, similarity, reason))
    removed = []
    for number, group in enumerate(groups):
        kept = min(group, key=prefer)
        reached, frontier = {kept}, [kept]
        while frontier:
            best: dict[int, tuple[float, int, str]] = {}
            for neighbour in frontier:
                for index, similarity, reason in ties[neighbour]:
                    if index not in reached and (index not in best or similarity > best[index][0]):
                        best[index] = (similarity, neighbour, reason)
            removed += [
                Removal(index, number, neighbour, similarity, reason, kept)
                for index, (similarity, neighbour, reason) in best.items()
            ]
            frontier = list(best)
            reached.update(frontier)
    return groups, sorted(removed, key=lambda removal: removal.index)


@dataclass(frozen=True)
class Stage:
    """How many a stage let through, and of how many."""

    name: str
    count: int
    of: int
    unit: str

    @property
    def share(self) -> float:
        return self.count / self.of if self.of else 0.0


def stages(documents: int, distinct: int, tried: int, close: int, kept: int) -> list[Stage]:
    """The pipeline in numbers, each with its denominator."""
    return [
        Stage("exact hash", distinct, documents, "documents stay"),
        Stage("MinHash and bands", tried, distinct * (distinct - 1) // 2, "pairs are candidates"),
        Stage("true Jaccard", close, tried, "candidates are verified"),
        Stage("clusters", kept, distinct, "documents stay"),
        Stage("in all", kept, documents, "documents stay"),
    ]


def stage_table(rows: Iterable[Stage]) -> str:
    """The stages as lines of text."""
    return "\n".join(
        f"{row.name:<18} {row.count:>12,} of {row.of:>16,} {row.unit:<24} {share_text(row.share):>9}" for row in rows
    )


def share_text(share: float) -> str:
    """A share in percent, with enough digits that a small one does not read as zero."""
    return f"{share:.1%}" if share >= 0.001 or share == 0 else f"{share:.1g}".replace("e-0", "e-")


@dataclass(frozen=True)
class Found:
    """What `find` found, stage by stage. Indices count the given texts."""

    scheme: Scheme
    stages: list[Stage]
    candidates: list[tuple[int, int, float]]  # pairs that share a band, with their true Jaccard
    pairs: list[tuple[int, int, float]]  # those at or above the threshold, and each exact copy with its first
    clusters: list[list[int]]  # of at least two
    removed: list[Removal]
    kept: list[int]

    def borderline(self, count: int = 5) -> list[tuple[int, int, float]]:
        """The candidates nearest to the threshold, above and below it, most similar first.

        A person decides these; `difference` shows two texts as one.
        """
        nearest = sorted(self.candidates, key=lambda pair: abs(pair[2] - self.scheme.threshold))[:count]
        return sorted(nearest, key=lambda pair: -pair[2])

    def table(self) -> str:
        """The stages as lines of text."""
        return stage_table(self.stages)


def find(
    texts: Sequence[str],
    threshold: float = 0.8,
    shingle: int = 3,
    permutations: int = 128,
    bands: int | None = None,
    rows: int | None = None,
    seed: int = 1,
    keep: str = "first",
    reading: Reading | None = None,
) -> Found:
    """The near-duplicates among texts: exact copies (the same words), then MinHash, bands, true Jaccard, clusters.

    `keep` says which member of a cluster stays: the first, the last, or the longest. Without a `reading`, texts are
    words at white space in lower case, for exact copies too. Raises `InputError`, also for a
    text without words.
    """
    chosen = scheme(threshold, shingle, permutations, bands, rows, seed)
    prefer = preference(keep, lambda index: len(texts[index]))
    first: dict[str, int] = {}
    edges: list[tuple[int, int, float, str]] = []
    for index, text in enumerate(texts):
        check_text(text, f"text {index}")
        original = first.setdefault(reading.exact(text) if reading else same_words(text), index)
        if original != index:
            edges.append((original, index, 1.0, "exact"))
    distinct = list(first.values())
    sets = [(reading.shingles if reading else shingles)(texts[index], shingle) for index in distinct]
    numbers = reading.numbers([texts[index] for index in distinct], shingle) if reading else sets
    tried = [(distinct[i], distinct[j], jaccard(sets[i], sets[j])) for i, j in candidates(numbers, chosen)[0].tolist()]
    close = [pair for pair in tried if pair[2] >= threshold]
    edges += [(*pair, "near") for pair in close]
    groups, removed = removals(edges, prefer)
    gone = {removal.index for removal in removed}
    kept = [index for index in range(len(texts)) if index not in gone]
    return Found(
        chosen,
        stages(len(texts), len(distinct), len(tried), len(close), len(kept)),
        tried,
        sorted(edge[:3] for edge in edges),
        groups,
        removed,
        kept,
    )


def difference(a: str, b: str) -> str:
    """Both texts as one: [-what only a has-] and {+what only b has+}, word by word."""
    mine, theirs = a.split(), b.split()
    shown: list[str] = []
    for kind, start, end, other_start, other_end in SequenceMatcher(None, mine, theirs, autojunk=False).get_opcodes():
        if kind == "equal":
            shown += mine[start:end]
            continue
        if start < end:
            shown.append(f"[-{' '.join(mine[start:end])}-]")
        if other_start < other_end:
            shown.append(f"{{+{' '.join(theirs[other_start:other_end])}+}}")
    return " ".join(shown)


def same_words(text: str) -> str:
    """What exact copies have in common: the words in lower case, one space between them."""
    return " ".join(text.lower().split())


def check_text(text: object, name: str) -> None:
    """Raise an `InputError` that begins with `name` for a text that has no words or cannot be written as UTF-8."""
    if not isinstance(text, str):
        raise InputError(f"{name} is of type {type(text).__name__}, not text; put it in quotes")
    if not text.strip():
        raise InputError(f"{name} has no words; remove it")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(f"{name} holds half of a surrogate pair; write the whole character") from None


def preference(keep: str, length: Callable[[int], int]) -> Callable[[int], object]:
    """The key by which the smallest member of a cluster is the one to keep."""
    keys = {
        "first": lambda index: index,
        "last": lambda index: -index,
        "longest": lambda index: (-length(index), index),
    }
    if keep not in keys:
        raise InputError(f"keep is {keep!r}: choose one of {', '.join(KEEP)}")
    return keys[keep]


def exact_pairs(sets: Sequence[set[str]], threshold: float) -> Iterator[tuple[int, int, float]]:
    """Every pair at or above the threshold with its Jaccard similarity, by an exact search: what recall is measured
    against.

    Only pairs that share one of their rarest shingles are compared: two sets of similarity t share at least
    t·max(sizes) elements, so they meet among the rarest size − ceil(t·size) + 1 of each (Bayardo, Ma and Srikant
    2007, "Scaling up all pairs similarity search", section 4).
    """
    counts: dict[str, int] = {}
    for shingle in chain.from_iterable(sets):
        counts[shingle] = counts.get(shingle, 0) + 1
    index: dict[str, list[int]] = {}
    for j, members in enumerate(sets):
        rarest = sorted(members, key=lambda shingle: (counts[shingle], shingle))
        prefix = rarest[: len(rarest) - int(np.ceil(threshold * len(rarest) - 1e-9)) + 1]
        for i in sorted({i for shingle in prefix for i in index.get(shingle, ())}):
            smaller, larger = sorted((len(sets[i]), len(members)))
            if smaller >= threshold * larger - 1e-9 and (similarity := jaccard(sets[i], members)) >= threshold:
                yield i, j, similarity
        for shingle in prefix:
            index.setdefault(shingle, []).append(j)
