"""What the form of the options gives away: rules that somebody can follow without knowing the subject, and how often
each finds the right option. A bank is even when no rule does better than guessing.

The rules are the rank of an option's length, whether it gives a reason or holds a comma, a negation or a number, and
the words that mark right options in the other questions (a naive Bayes over words, each question predicted from the
rest: cross-validated by leaving one question out).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain

from labkit.quizzes.answers import put
from labkit.quizzes.markup import to_plain
from labkit.quizzes.schema import Question

ROOM = 0.10  # a rule may be right this much more often than guessing
FEWEST = 4  # choices of a bank that is judged
RANKS = ("longest", "second longest", "third longest", "fourth longest", "fifth longest")
SIGNS = {
    "gives a reason": re.compile(r"\b(because|since|for|as|so that|so)\b", re.IGNORECASE),
    "holds a comma": re.compile(r","),
    "holds a negation": re.compile(r"\b(no|not|none|nothing|neither|never|nor|without|cannot)\b|n't\b", re.IGNORECASE),
    "holds a number": re.compile(r"\d"),
}
WORDS = re.compile(r"[a-z]+|\d+|[,:;`]")


@dataclass(frozen=True)
class Rule:
    """How a rule of form does: `right` of `asked` choices (an expectation where it leaves several options), and what
    guessing would get.
    """

    name: str
    right: float
    asked: int
    chance: float

    @property
    def gain(self) -> float:
        """How much more often than guessing it is right, as a share of the questions."""
        return (self.right - self.chance) / self.asked

    @property
    def tells(self) -> bool:
        """Whether it gains more than it may."""
        return self.gain > ROOM + 1e-9


Options = tuple[list[str], int]  # the options of a choice, and the place of the right one


def rules(questions: Sequence[Question]) -> list[Rule]:
    """How each rule does on the choices among these questions, the best first; none if they are fewer than four."""
    asked = [_options(question) for question in questions if question.kind == "choice"]
    if len(asked) < FEWEST:
        return []
    chance = sum(1 / len(texts) for texts, _ in asked)

    def tried(name: str, pick: Callable[[list[str]], list[int]]) -> Rule:
        picked = [(pick(texts), right) for texts, right in asked]
        return Rule(name, sum((right in places) / len(places) for places, right in picked), len(asked), chance)

    found = [tried(f"is the {rank}", partial(_of_rank, at=at)) for at, rank in enumerate(RANKS)]
    found.append(tried("is the shortest", lambda texts: _of_rank(texts, len(texts) - 1)))
    for name, sign in SIGNS.items():
        found.append(tried(name, partial(_having, sign=sign, wanted=True)))
        found.append(tried(f"not: {name}", partial(_having, sign=sign, wanted=False)))
    found.append(Rule("has the words of right options", _by_words(asked), len(asked), chance))
    return sorted(found, key=lambda rule: -rule.gain)


def _options(question: Question) -> Options:
    asked = put(question)
    return [to_plain(text) for text in asked.offered], asked.offered.index(asked.right)


def _of_rank(texts: list[str], at: int) -> list[int]:
    """The options whose length has this rank; all options where there is no such rank, so that one must guess."""
    lengths = sorted(map(len, texts), reverse=True)
    return [n for n, text in enumerate(texts) if at < len(texts) and len(text) == lengths[at]] or list(
        range(len(texts))
    )


def _having(texts: list[str], sign: re.Pattern, wanted: bool) -> list[int]:
    return [n for n, text in enumerate(texts) if bool(sign.search(text)) == wanted] or list(range(len(texts)))


def _by_words(asked: Sequence[Options]) -> float:
    """How many right options a naive Bayes over words finds, each question predicted from all the others."""
    words = [[set(WORDS.findall(text.lower())) for text in texts] for texts, _ in asked]
    right, wrong = Counter[str](), Counter[str]()
    for options, (_, place) in zip(words, asked):
        for n, own in enumerate(options):
            (right if n == place else wrong).update(own)
    options_in_all = sum(map(len, words))
    found = 0.0
    for options, (_, place) in zip(words, asked):
        others_right = right - Counter(options[place])
        others_wrong = wrong - Counter(chain.from_iterable(own for n, own in enumerate(options) if n != place))
        rights = len(asked) - 1
        wrongs = options_in_all - len(asked) - (len(options) - 1)
        scores = [
            sum(
                math.log((others_right[word] + 1) / (rights + 2)) - math.log((others_wrong[word] + 1) / (wrongs + 2))
                for word in sorted(own)
                if others_right[word] + others_wrong[word] >= 2  # others say nothing about further questions
            )
            for own in options
        ]
        best = [n for n, score in enumerate(scores) if score > max(scores) - 1e-9]
        found += (place in best) / len(best)
    return found
