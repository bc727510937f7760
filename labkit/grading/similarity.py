"""Near-copies among the exercise cells of learners, and of the public references: a list for a human, never a grade.

Names, comments and layout do not count: a cell becomes the sequence of its tokens, with every name of its own as `x`,
so that renaming hides nothing. Starter code is removed first. Short answers to a narrow question are similar without
any copying, so cells of few tokens are left out, and the list says how long a cell is.
"""

from __future__ import annotations

import ast
import builtins
import csv
import inspect
import io
import json
import keyword
import tokenize
from collections.abc import Iterable
from pathlib import Path

from labkit import dedup
from labkit.common import write_atomically
from labkit.exercises import catalogue, reference_cell

REFERENCE = "(the reference)"
SHINGLE, THRESHOLD, MIN_TOKENS = 8, 0.85, 60
LAYOUT = (
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
)


def normal(source: str) -> list[str]:
    """A cell's tokens without names, comments, layout, docstrings and its first lines up to the `def`'s colon."""
    words: list[str] = []
    try:
        ast.parse(source)  # source that is not Python may take the tokenizer hours
        for token in tokenize.generate_tokens(io.StringIO(inspect.cleandoc("\n" + source)).readline):
            if token.type in LAYOUT:
                continue
            known = keyword.iskeyword(token.string) or hasattr(builtins, token.string)
            after_dot = bool(words) and words[-1] == "."
            is_name = token.type == tokenize.NAME and not known and not after_dot
            is_text = token.type == tokenize.STRING and token.string.startswith(('"""', "'''"))
            if not is_text:
                words.append("x" if is_name else token.string)
    except (tokenize.TokenError, SyntaxError, ValueError, RecursionError, MemoryError):
        words = source.split()
    if "def" in words:  # the starter code: the decorator, and the line that says the arguments
        depth = 0
        for place in range(words.index("def"), len(words)):
            depth += (words[place] in "([{") - (words[place] in ")]}")
            if words[place] == ":" and depth == 0:
                return words[place + 1 :]
    return words


def pairs(cells: Iterable[tuple[str, str, list[str]]]) -> list[tuple[str, str, str, float, int]]:
    """(exercise, one, other, Jaccard similarity, tokens) of cells, given as (exercise, whose, `normal`), that look
    alike.

    Cells that are the same apart from names are listed only with the first of them, and cells that resemble a reference
    only with it and with the first learner's: a hundred copies are two hundred lines, not five thousand.
    """
    by_exercise: dict[str, dict[tuple, list[str]]] = {}
    for exercise, whose, found_words in cells:
        words = tuple(found_words)
        if len(words) >= MIN_TOKENS:
            by_exercise.setdefault(exercise, {}).setdefault(words, []).append(whose)
    chosen, found = dedup.scheme(THRESHOLD), []
    for exercise, same in by_exercise.items():
        for words, (first, *others) in same.items():
            found += [(exercise, first, other, 1.0, len(words)) for other in others]
            if first == REFERENCE:
                found += [(exercise, others[0], other, 1.0, len(words)) for other in others[1:]]
        texts, near = list(same), []
        sets = [dedup.shingles(" ".join(words), SHINGLE) for words in texts]
        for i, j in dedup.candidates(sets, chosen)[0].tolist() if len(sets) > 1 else []:
            similarity = dedup.jaccard(sets[i], sets[j])
            if similarity >= THRESHOLD:
                near.append(
                    (exercise, same[texts[i]][0], same[texts[j]][0], similarity, min(len(texts[i]), len(texts[j])))
                )
        known = [other for _, one, other, *_ in near if one == REFERENCE]
        found += [row for row in near if row[1] in (REFERENCE, *known[:1]) or not {row[1], row[2]} <= set(known)]
    return sorted(found, key=lambda row: (-row[3], row[:3]))


def write(out: Path, keys: list[tuple[str, str]]) -> int:
    """`similar.csv` from the cells that grading kept. How many pairs it lists."""
    from labkit.grading.book import safe

    found = pairs(_cells(out, keys))
    with write_atomically(out / "similar.csv") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["exercise", "one", "other", "similarity", "tokens"])
        for exercise, one, other, similarity, tokens in found:
            writer.writerow([exercise, safe(one), safe(other), f"{similarity:.2f}", tokens])
    return len(found)


def _cells(out: Path, keys: list[tuple[str, str]]) -> Iterable[tuple[str, str, list[str]]]:
    for exercise in catalogue().values():
        yield exercise.id, REFERENCE, normal(reference_cell(exercise))
    for student, lab in keys:
        path = out / "cells" / student / f"{lab}.json"
        if path.exists():
            for exercise, words in json.loads(path.read_text()).items():
                if isinstance(words, list):
                    yield exercise, student, words
