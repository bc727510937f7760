"""Reading what people type: numbers, sums and ratios with or without a unit, words, formulas, letters.

What cannot be read is answered in words and asked again; it never counts as a wrong answer.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence

from labkit.quizzes import expressions

BYTES = {
    "byte": 1.0, "kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12, "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
}  # fmt: skip
SIZES = {"k": 1e3, "thousand": 1e3, "m": 1e6, "mio": 1e6, "million": 1e6, "b": 1e9, "bn": 1e9, "billion": 1e9,
         "trillion": 1e12, "hundred": 1e2, "dozen": 12.0}  # fmt: skip
SAME = {  # a unit's other names, in the singular, lower case
    "gigabyte": "gb", "gig": "gb", "g": "gb", "megabyte": "mb", "meg": "mb", "kilobyte": "kb", "terabyte": "tb",
    "gibibyte": "gib", "mebibyte": "mib", "percent": "%", "per cent": "%", "pct": "%", "percentage point": "point",
    "pp": "point", "pt": "point", "param": "parameter", "tok": "token", "h": "hour", "hr": "hour", "update": "step",
    "example": "row",
}  # fmt: skip
NUMBERS = dict(zip(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty".split(), range(21),
)) | dict(zip("thirty forty fifty sixty seventy eighty ninety".split(), range(30, 100, 10)))  # fmt: skip
PARTS = {"half": "1/2", "third": "1/3", "quarter": "1/4", "fifth": "1/5", "tenth": "1/10"}
FRACTIONS = {"½": "1/2", "¼": "1/4", "¾": "3/4", "⅓": "1/3", "⅔": "2/3", "⅕": "1/5", "⅛": "1/8"}
RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")
HEDGES = re.compile(
    r"^(?:about|around|roughly|approximately|approx\.?|circa|ca\.|nearly|almost|some|it is|it's|is|[~≈=])\s*",
    re.IGNORECASE,
)
TIMES = re.compile(r"(?:x|×|times(?: .*)?|-?fold)")
LONGEST = 60  # characters of a number


def read_number(typed: str, unit: str = "", nouns: Collection[str] = ()) -> tuple[float, str]:
    """(the number that was typed, "") or (NaN, what is wrong with it), asked for in `unit`.

    Accepted are `0.22`, `.22`, `0,22`, `1,234.5`, `2e-1`, `2·10^-1`, `40k`, `1/4`, `1 in 4`, `seven`, sums such as
    `ln 2048` or `1 - 0.2^3`, `22%` (a share, unless the unit is %), and `about` before it. After it may come the unit,
    one of its other names, or, where there is none, `x`, `times`, or a noun of the question. Bytes may come in another
    size: `3500 MB` if GB is asked.
    """
    text = _plain(typed)
    example = f"Type a number, such as {with_unit(0.22, unit)}."
    found = re.match(r"(.*[\d)])\s*([^\d()]*)$", text)
    if len(text) > LONGEST or not found or re.search(r"--|\+\+|\b0[xob]|_", found[1]):
        return math.nan, example
    try:
        value = expressions.evaluate(_expression(found[1]), {})
    except ValueError as error:
        return math.nan, "That divides by zero." if "zero" in str(error) else example
    factor = _factor(found[2].strip().rstrip(".").lower(), unit, nouns)
    if factor is None:
        wanted = f"in {unit}" if unit else "as a number without a unit"
        return math.nan, f"The answer should be {wanted}; {found[2].strip()!r} is something else."
    value *= factor
    return (value, "") if math.isfinite(value) else (math.nan, example)


def with_unit(value: float, unit: str) -> str:
    """A number and its unit, as they are printed."""
    return f"{expressions.written(value)}{'' if unit in ('', '%') else ' '}{unit}"


def digits(typed: str) -> int:
    """How many significant digits the first number of a typed answer has, at least 1."""
    found = re.search(r"\d[\d.,]*", typed)
    return max(1, len(re.sub(r"\D", "", found[0].lstrip("0.,")))) if found else 1


def read_letters(typed: str, offered: str, count: int) -> list[int] | None:
    """The places of so many letters: `b`, `(B)`, `A-B-C`, `a > c > b`, `1B 2A 3C`; None if it is something else."""
    text = re.sub(r"\b(?:options?|answers?|letters?|is)\b", " ", typed, flags=re.IGNORECASE).upper()
    if pairs := re.findall(r"(\d+)[\W_]*([A-Z])", text):
        text = "".join(letter for _, letter in sorted(pairs, key=lambda pair: int(pair[0])))
        if sorted(int(number) for number, _ in pairs) != list(range(1, count + 1)):
            return None
    letters = re.sub(r"[\W\d_]+", "", text)
    return (
        [offered.index(letter) for letter in letters]
        if len(letters) == count and set(letters) <= set(offered)
        else None
    )


def word(text: str) -> str:
    """A word or formula for comparison: without case, article, spaces, brackets, quotes, and signs that multiply."""
    text = re.sub(r"^(?:the|an?)\s+", "", text.replace("−", "-").strip().casefold())
    bare = re.sub(r"[\s\-‐-―`'\"“”()\[\]{},.@*·⋅×_]+", "", text)
    return bare.removesuffix("s") if len(bare) > 4 and bare.isalpha() else bare or text


def _plain(typed: str) -> str:
    """The text with one sign for each thing, and without what stands before the number."""
    text = str(typed).strip().strip("`$'\"").strip()
    text = re.sub(r"[−–‐‑]", "-", text).replace("\u2009", " ").replace("\u00a0", " ").replace("’", "'")
    text = re.sub("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺]+", lambda power: f"^{power[0].translate(RAISED)}", text)
    for sign, written in FRACTIONS.items():
        text = text.replace(sign, written)
    text = text.rpartition("=")[2].strip() if re.search(r"=.*\d", text) else text
    text = re.sub(r"^[A-Za-z ]{2,20}:\s*(?=[-+\d.])", "", text)
    while hedge := HEDGES.match(text):
        text = text[hedge.end() :]
    text = re.sub(r"^[x×]\s*(?=\d)", "", text)
    text = re.sub(r"^(?:minus|negative)\s+", "-", text, flags=re.IGNORECASE)
    text = re.sub(r"^([-+])\s+", r"\1", re.sub(r"^plus\s+", "", text, flags=re.IGNORECASE))
    text = _without_words(text)
    text = re.sub(r"(?<=\d)[ _'](?=\d{3}(?!\d))", "", text)  # 12 345
    if re.match(r"[-+]?\d{1,3}(?:\.\d{3})+,\d", text):  # 1.234,5
        text = text.replace(".", "")
    text = re.sub(r"(?<=\d),(?=\d{3}(?:\D|$))(?<![\D]0,)(?<!^0,)", "", text)  # 12,345, but not 0,345
    text = text.replace(",", ".")
    return re.sub(r"(\d)\s*(?::|\b(?:in|out of|of)\b)\s*(?=\d)", r"\1/", text)


def _without_words(text: str) -> str:
    """The text with `seven`, `twenty-five`, `a half` and `two thirds` as numbers."""
    tens = "|".join(name for name, value in NUMBERS.items() if value >= 20)
    ones = "|".join(name for name, value in NUMBERS.items() if 0 < value < 10)

    def number(found: re.Match) -> str:
        return str(sum(NUMBERS[part] for part in re.split(r"[- ]", found[0].lower())))

    text = re.sub(rf"\b(?:{tens})[- ](?:{ones})\b", number, text, flags=re.IGNORECASE)
    text = re.sub(rf"\b(?:{'|'.join(NUMBERS)})\b", number, text, flags=re.IGNORECASE)
    parts = "|".join(PARTS)
    text = re.sub(
        rf"\b(\d+)[- ](?:({parts})s?)\b", lambda f: f"{f[1]}*{PARTS[f[2].lower()]}", text, flags=re.IGNORECASE
    )
    text = re.sub(rf"^(?:an? |one )?({parts})$", lambda f: PARTS[f[1].lower()], text, flags=re.IGNORECASE)
    return re.sub(r"^an? (?=hundred|thousand|million|billion|dozen)", "1 ", text, flags=re.IGNORECASE)


def _expression(text: str) -> str:
    """What was typed as an expression of the banks."""
    text = re.sub(r"(?<=\d)\s*[·×]\s*|(?<=\d)\s+x\s+(?=\d)|(?<=\d)x(?=10\^)|(?<=\d)x(?=10\*\*)", "*", text)
    text = re.sub(r"(?<=\d) +(?=e[-+]?\d)", "", text, flags=re.IGNORECASE)
    text = re.sub(r"\blog_?2\s*(?=\()", "LB", text)
    text = re.sub(r"\be\s*(?:\^|\*\*)\s*\(?(-?[\d.]+)\)?", r"exp(\1)", text)
    text = re.sub(r"√\s*", "sqrt ", text)
    text = re.sub(r"\b(ln|log|exp|sqrt)\s*(-?\d[\d.]*)", r"\1(\2)", text, flags=re.IGNORECASE)
    text = re.sub(r"\bln\b", "log", text, flags=re.IGNORECASE)
    text = re.sub(r"(\d|\))\s*(?=\()", r"\1*", text).replace("LB", "log2")
    return re.sub(r"\b(log|exp|sqrt)\s+\(", r"\1(", text).replace("^", "**")


def _factor(rest: str, unit: str, nouns: Collection[str]) -> float | None:
    """By what to multiply a number for what follows it, to have it in `unit`; None if that is something else."""
    wanted = _unit(unit)
    if (scale := _scale(rest, wanted, nouns)) is not None:
        return scale
    sized = re.match(rf"({'|'.join(SIZES)})(?:\s+(.*))?$", rest)
    if not sized or (wanted in BYTES and len(sized[1]) == 1):
        return None
    scale = _scale(sized[2] or "", wanted, nouns)
    return None if scale is None else SIZES[sized[1]] * scale


def _scale(rest: str, wanted: str, nouns: Collection[str]) -> float | None:
    own = _unit(re.split(r"\s*/\s*|\s+per\s+(?!cent)", rest)[0])
    if not rest or own == wanted or own.split(" ")[0] == wanted:
        return 1.0
    if own == "%":
        return 1.0 if wanted in ("%", "point") else 0.01
    if own in BYTES and wanted in BYTES:
        return BYTES[own] / BYTES[wanted]
    if not wanted and (TIMES.fullmatch(rest) or _is_noun(rest, nouns)):
        return 1.0
    return None


def _is_noun(rest: str, nouns: Collection[str]) -> bool:
    """Whether these are words of the question, or their beginnings: `params`."""
    words = re.findall(r"[a-z]+", rest)
    return (
        bool(words)
        and rest.replace(" ", "").isalpha()
        and all(len(own) > 2 and any(noun.startswith(own.rstrip("s")) for noun in nouns) for own in words)
    )


def _unit(unit: str) -> str:
    bare = unit.lower().strip()
    bare = bare if "%" in bare else bare.removesuffix("s")
    return SAME.get(bare, bare)


def nouns(text: str) -> frozenset[str]:
    """The words of a question that may follow its number."""
    return frozenset(re.findall(r"[a-z]{3,}", text.lower()))


def nearly(typed: str, accepted: Sequence[str]) -> bool:
    """Whether a word is one of these but for a slip of the fingers."""
    from difflib import SequenceMatcher

    own = word(typed)
    return any(
        len(own) > 4 and not own.endswith(other) and SequenceMatcher(None, own, other).ratio() >= 0.85
        for other in map(word, accepted)
    )  # `infrequent` is no slip for `frequent`
